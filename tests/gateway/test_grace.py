"""The grace of a stop, to the moment: answers may end in it, and then they are told.

Three things end it: the last answer, the time, and a second order to stop.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from typing import Any

import pytest
import trio
from h2.errors import ErrorCodes
from trio.testing import wait_all_tasks_blocked

from harness.clock import on_mock_clock
from relay_gateway.relay.outcome import LATE, STOPPED
from relay_gateway.server.worker import Worker
from tests.support.asgi import Client, Exchange
from tests.support.event_stream import DONE, Event
from tests.support.gateways import ASK, causes, gateway_in_worker
from tests.support.models import Model, Wire

pytestmark = pytest.mark.trio(run=on_mock_clock)

FOREVER = float("inf")
GRACE, DRAIN = 30.0, 7.0
TELLS = Event(STOPPED.message, "error")

gateway = partial(gateway_in_worker, shutdown_grace_seconds=GRACE, drain_seconds=DRAIN)


class Stopping:
    """A drain, and the seconds that it took."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.seconds = FOREVER

    async def run(self) -> None:
        start = trio.current_time()
        await self._worker.drain()
        self.seconds = trio.current_time() - start


@asynccontextmanager
async def stopping(worker: Worker) -> AsyncGenerator[Stopping]:
    """Stop a worker, beside what the block does, and wait until it has drained."""
    drain = Stopping(worker)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain.run)
        await wait_all_tasks_blocked()
        yield drain


async def test_answers_end_in_the_grace_and_so_does_it(logs: list[Any]) -> None:
    wire, model = Wire(), Model(["x", 5.0, "y"])
    async with gateway(model, wire) as (client, worker):
        exchanges = [client.start(ASK), client.start(ASK)]
        await wait_all_tasks_blocked()
        async with stopping(worker) as drain:
            pass
        assert drain.seconds == 5
        for exchange in exchanges:
            assert exchange.events == [Event("x"), Event("y"), DONE]
    assert wire.resets == []
    assert causes(logs) == ["done"] * 2


async def test_answers_are_told_when_the_grace_is_over(logs: list[Any]) -> None:
    wire, model = Wire(), Model(["x", FOREVER])
    async with gateway(model, wire) as (client, worker):
        exchange = client.start(ASK)
        await wait_all_tasks_blocked()
        start = trio.current_time()
        async with stopping(worker) as drain:
            pass
        assert drain.seconds == GRACE
        assert exchange.events == [Event("x"), TELLS]
    assert wire.resets == [(start + GRACE, ErrorCodes.CANCEL)]
    assert causes(logs) == ["shutdown"]


async def test_second_order_ends_the_grace(logs: list[Any]) -> None:
    wire, model = Wire(), Model(["x", FOREVER])
    async with gateway(model, wire) as (client, worker):
        exchange = client.start(ASK)
        await wait_all_tasks_blocked()
        start = trio.current_time()
        async with stopping(worker) as drain:
            await trio.sleep(3)
            worker.skip()
        assert drain.seconds == 3
        await wait_all_tasks_blocked()
        assert exchange.events == [Event("x"), TELLS]
    assert wire.resets == [(start + 3, ErrorCodes.CANCEL)]
    assert causes(logs) == ["shutdown"]


async def test_second_order_ends_the_drain() -> None:
    async with gateway(Model([*["x"] * 1000, FOREVER])) as (client, worker):
        exchange = client.start(ASK, takes=1)
        await wait_all_tasks_blocked()
        async with stopping(worker) as drain:
            await trio.sleep(GRACE + 2)
            worker.skip()
        assert drain.seconds == GRACE + 2
        exchange.leave()


async def test_second_order_before_the_first_has_run_is_kept() -> None:
    """Though a browser that does not read could be waited for."""
    async with gateway(Model([*["x"] * 1000, FOREVER])) as (client, worker):
        exchange = client.start(ASK, takes=1)
        await wait_all_tasks_blocked()
        worker.skip()
        async with stopping(worker) as drain:
            pass
        assert drain.seconds == 0
        exchange.leave()


async def test_browser_that_reads_nothing_is_waited_for_after_the_grace() -> None:
    async with gateway(Model([*["x"] * 1000, FOREVER])) as (client, worker):
        exchange = client.start(ASK, takes=1)
        await wait_all_tasks_blocked()
        async with stopping(worker) as drain:
            pass
        assert drain.seconds == GRACE + DRAIN
        exchange.leave()


async def test_browser_that_leaves_ends_the_grace(logs: list[Any]) -> None:
    async with gateway(Model([FOREVER])) as (client, worker):
        exchange = client.start(ASK)
        await wait_all_tasks_blocked()
        async with stopping(worker) as drain:
            await trio.sleep(4)
            exchange.leave()
        assert drain.seconds == 4
    assert causes(logs) == ["client_disconnect"]


async def test_deadline_ends_an_answer_in_the_grace(logs: list[Any]) -> None:
    async with gateway(Model([FOREVER]), deadline_seconds=6) as (client, worker):
        exchange = client.start(ASK)
        await wait_all_tasks_blocked()
        async with stopping(worker) as drain:
            pass
        assert drain.seconds == 6
        assert exchange.events == [Event(LATE.message, "error")]
    assert causes(logs) == ["deadline"]


@pytest.mark.parametrize("seconds", [GRACE - 1, GRACE + 1])
async def test_request_whose_body_comes_late_has_what_is_left_of_the_grace(seconds: float) -> None:
    """It was accepted. After the grace it is told, as one that was open."""
    body = trio.Event()
    async with gateway(Model(["x"])) as (client, worker):
        exchange = client.start(ASK, method="POST", body=b'{"prompt": "hi"}', after=body)
        await wait_all_tasks_blocked()
        async with stopping(worker):
            await trio.sleep(seconds)
            body.set()
        is_in_time = seconds < GRACE
        assert exchange.status == (HTTPStatus.OK if is_in_time else HTTPStatus.SERVICE_UNAVAILABLE)
        if is_in_time:
            assert exchange.events == [Event("x"), DONE]


async def refused(client: Client, target: str) -> Exchange:
    exchange = await client.send(target)
    assert exchange.status == HTTPStatus.SERVICE_UNAVAILABLE
    return exchange


async def test_requests_are_refused_in_the_grace_and_their_connections_closed() -> None:
    async with gateway(Model([FOREVER])) as (client, worker):
        client.start(ASK)
        await wait_all_tasks_blocked()
        async with stopping(worker) as drain:
            for target in (ASK, "/", "/readyz", "/v1/models", "/nothing"):
                headers = dict((await refused(client, target)).headers)
                assert (headers["retry-after"], headers["connection"]) == ("37", "close")
            alive = await client.send("/healthz")
            assert (alive.status, dict(alive.headers)["connection"]) == (HTTPStatus.OK, "close")
        assert drain.seconds == GRACE


async def test_refused_requests_do_not_make_the_grace_longer() -> None:
    """Though one is always open: a steady load is refused until the last answer has ended."""
    async with gateway(Model([5.0, "x"])) as (client, worker):
        client.start(ASK)
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:

            async def ask(offset: float) -> None:
                await trio.sleep(offset)
                while True:
                    exchange = Exchange(ASK, pause=1.0)
                    await exchange.run(client.application)
                    assert exchange.status == HTTPStatus.SERVICE_UNAVAILABLE

            async with stopping(worker) as drain:
                for offset in (0, 0.5):
                    nursery.start_soon(ask, offset)
            assert drain.seconds == 5
            nursery.cancel_scope.cancel()


async def test_without_a_grace_answers_are_told_at_once() -> None:
    async with gateway_in_worker(Model([FOREVER]), drain_seconds=DRAIN) as (client, worker):
        exchange = client.start(ASK)
        await wait_all_tasks_blocked()
        async with stopping(worker) as drain:
            pass
        assert drain.seconds == 0
        assert exchange.events == [TELLS]
