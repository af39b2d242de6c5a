"""What the application does when its worker is told to stop, to the moment."""

import json
from functools import partial
from http import HTTPStatus
from typing import Any

import pytest
import trio
from h2.errors import ErrorCodes
from trio.testing import wait_all_tasks_blocked

from harness.clock import on_mock_clock
from relay_gateway.relay.outcome import STOPPED
from tests.support.event_stream import DONE, Event
from tests.support.gateways import ASK, causes, gateway_in_worker, gateway_to
from tests.support.models import Model, Wire

pytestmark = pytest.mark.trio(run=on_mock_clock)

FOREVER = float("inf")
DRAIN = 7.0
TELLS = Event(STOPPED.message, "error")


drained_by_a_worker = partial(gateway_in_worker, drain_seconds=DRAIN)


@pytest.mark.parametrize("script", [[FOREVER], ["x", FOREVER]], ids=["thinking", "mid-stream"])
async def test_stream_is_told_and_ends_at_once(script: list[Any], logs: list[Any]) -> None:
    """And so does the drain."""
    wire, model = Wire(), Model(script)
    async with drained_by_a_worker(model, wire) as (client, worker):
        exchanges = [client.start(ASK), client.start(ASK)]
        await wait_all_tasks_blocked()
        start = trio.current_time()
        await worker.drain()
        assert trio.current_time() == start
        for exchange in exchanges:
            assert exchange.is_complete
            assert exchange.events == [*(Event(token) for token in script[:-1]), TELLS]
    assert wire.resets == [(start, ErrorCodes.CANCEL)] * 2
    assert model.ended == [start] * 2
    assert causes(logs) == ["shutdown"] * 2


async def test_stream_is_told_in_json() -> None:
    async with drained_by_a_worker(Model([FOREVER])) as (client, worker):
        exchange = client.start(f"{ASK}&format=json")
        await wait_all_tasks_blocked()
        await worker.drain()
        (event,) = exchange.events
        assert '"code": "UNAVAILABLE"' in event.data
        assert '"cause": "shutdown"' in event.data


async def test_model_is_stopped_though_the_browser_reads_nothing(logs: list[Any]) -> None:
    wire, model = Wire(), Model([*["x"] * 1000, FOREVER])
    async with drained_by_a_worker(model, wire) as (client, worker):
        exchange = client.start(ASK, takes=1)
        await wait_all_tasks_blocked()
        start = trio.current_time()
        await worker.drain()
        assert trio.current_time() == start + DRAIN
        assert wire.resets == [(start, ErrorCodes.CANCEL)]
        exchange.leave()
    assert causes(logs) == ["shutdown"]


async def test_answer_that_is_done_stays_done(logs: list[Any]) -> None:
    """It has ended by itself, and waits for its browser."""
    model = Model(["x"])
    async with drained_by_a_worker(model) as (client, worker):
        exchange = client.start(ASK, pause=1.0)
        await model.until(lambda: model.reached_end == 1)
        await wait_all_tasks_blocked()
        await worker.drain()
        assert exchange.events == [Event("x"), DONE]
    assert causes(logs) == ["done"]


async def test_request_whose_body_comes_late_is_told(logs: list[Any]) -> None:
    """It was accepted, and is answered as one that was open."""
    body = trio.Event()
    async with drained_by_a_worker(Model([FOREVER])) as (client, worker):
        exchange = client.start(ASK, method="POST", body=b'{"prompt": "hi"}', after=body)
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.drain)
            await wait_all_tasks_blocked()
            body.set()
        assert exchange.status == HTTPStatus.SERVICE_UNAVAILABLE
        assert json.loads(exchange.body)["cause"] == "shutdown"
    assert causes(logs) == ["shutdown"]


async def test_requests_are_refused_from_then_on(logs: list[Any]) -> None:
    async with drained_by_a_worker(Model(["x"])) as (client, worker):
        assert (await client.send("/readyz")).status == HTTPStatus.OK
        await worker.drain()
        for target in (ASK, "/", "/nothing", "/readyz"):
            exchange = await client.send(target)
            assert exchange.status == HTTPStatus.SERVICE_UNAVAILABLE
            assert dict(exchange.headers)["retry-after"] == "7"
            assert b"the gateway is being restarted" in exchange.body
        for target in ("/healthz", "/metrics"):
            assert (await client.send(target)).status == HTTPStatus.OK
    assert causes(logs) == []


async def test_server_that_only_ends_the_lifespan_tells_streams_as_well(logs: list[Any]) -> None:
    """Not that a server should: by then it has waited for all requests."""
    async with gateway_to(Model([FOREVER])) as client:
        exchange = client.start(ASK)
        await wait_all_tasks_blocked()
    assert exchange.events == [TELLS]
    assert causes(logs) == ["shutdown"]
