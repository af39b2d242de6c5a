"""The list of models when the service is slow to give it, fails to, or its askers leave."""

import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

import pytest
import trio
from grpclib.const import Status
from h2.errors import ErrorCodes
from trio.testing import wait_all_tasks_blocked

from harness.clock import on_mock_clock
from relay_gateway.web.conversation import DEFAULT_MODEL, ConversationRequest
from relay_proto.ai import ListModelsRequest, ListModelsResponse
from relay_proto.ai import Model as ModelOfService
from tests.support.asgi import Client, Exchange
from tests.support.gateways import STREAM, gateway_to
from tests.support.models import Model, Wire, fails

pytestmark = pytest.mark.trio(run=on_mock_clock)

CHAT, MODELS = "/v1/chat/completions", "/v1/models"
HI = [{"role": "user", "content": "hi"}]
TIMEOUT = 5.0
#: Something that a service which knows nothing but prompts would drop.
MORE = {"temperature": 0.5}


class Listing(Model):
    """Lists its models as a function of the test's own says."""

    def __init__(self, behave: Callable[[], Awaitable[None]]) -> None:
        super().__init__(["x"])
        self.times_asked = 0
        self._behave = behave

    async def list_models(self, list_models_request: ListModelsRequest) -> ListModelsResponse:
        del list_models_request
        self.times_asked += 1
        await self._behave()
        return ListModelsResponse([ModelOfService("a")])


def asking(client: Client) -> list[Exchange]:
    """Ask for the list in each way in which it may be needed."""
    whole = json.dumps({"messages": HI, **MORE}).encode()
    streamed = json.dumps({"messages": HI, "stream": True, **MORE}).encode()
    native = json.dumps({"prompt": "hi", **MORE}).encode()
    return [
        client.start(MODELS),
        client.start(f"{MODELS}/a"),
        client.start(CHAT, method="POST", body=whole),
        client.start(CHAT, method="POST", body=streamed),
        client.start(STREAM, method="POST", body=native),
    ]


async def test_all_callers_of_a_service_that_hangs_are_told_in_time() -> None:
    """None waits for those before it: each has its own few seconds, and no more."""
    model, wire = Listing(trio.sleep_forever), Wire()
    async with gateway_to(model, wire) as client:
        started = trio.current_time()
        first = asking(client)
        await trio.sleep(2.0)
        later = asking(client)
        await trio.sleep_until(started + TIMEOUT - 0.001)
        await wait_all_tasks_blocked()
        assert {exchange.status for exchange in first} == {0}
        await trio.sleep_until(started + TIMEOUT)
        await wait_all_tasks_blocked()
        assert {exchange.status for exchange in first} == {HTTPStatus.GATEWAY_TIMEOUT}
        assert {exchange.status for exchange in later} == {0}
        await trio.sleep_until(started + 2.0 + TIMEOUT)
        await wait_all_tasks_blocked()
        assert {exchange.status for exchange in later} == {HTTPStatus.GATEWAY_TIMEOUT}
        metrics = await client.metrics()
    assert model.requests == []
    assert {dict(exchange.headers)["x-should-retry"] for exchange in first + later} == {"false"}
    # No request for an answer had begun.
    assert sum(n for name, n in metrics.items() if name.startswith("relay_requests_total")) == 0
    assert wire.after_resets == []
    assert {code for _, code in wire.resets} == {ErrorCodes.CANCEL}


async def test_callers_of_a_service_that_is_slow_share_one_question() -> None:
    async def be_slow() -> None:
        await trio.sleep(4.0)

    model = Listing(be_slow)
    async with gateway_to(model) as client:
        started = trio.current_time()
        exchanges = asking(client)
        await trio.sleep_until(started + 4.0)
        await wait_all_tasks_blocked()
    assert {exchange.status for exchange in exchanges} == {HTTPStatus.OK}
    assert model.times_asked == 1


async def test_who_leaves_while_it_asks_takes_nobody_along() -> None:
    model, wire = Listing(trio.sleep_forever), Wire()
    async with gateway_to(model, wire) as client:
        first = client.start(MODELS)
        await wait_all_tasks_blocked()
        second = client.start(MODELS)
        await trio.sleep(1.0)
        left = trio.current_time()
        first.leave()
        await wait_all_tasks_blocked()
        assert (model.times_asked, wire.resets) == (2, [(left, ErrorCodes.CANCEL)])
        await trio.sleep_until(left - 1.0 + TIMEOUT)
        await wait_all_tasks_blocked()
        assert (first.status, second.status) == (0, HTTPStatus.GATEWAY_TIMEOUT)


async def test_who_leaves_while_it_waits_for_another_asks_nothing() -> None:
    go = trio.Event()
    model, wire = Listing(go.wait), Wire()
    async with gateway_to(model, wire) as client:
        first = client.start(MODELS)
        await wait_all_tasks_blocked()
        second = client.start(MODELS)
        await wait_all_tasks_blocked()
        second.leave()
        await wait_all_tasks_blocked()
        go.set()
        await wait_all_tasks_blocked()
    assert (first.status, second.status) == (HTTPStatus.OK, 0)
    assert (model.times_asked, wire.resets) == (1, [])


@pytest.mark.parametrize(
    ("status", "http"),
    [
        (Status.UNAVAILABLE, HTTPStatus.SERVICE_UNAVAILABLE),
        (Status.RESOURCE_EXHAUSTED, HTTPStatus.TOO_MANY_REQUESTS),
        (Status.INTERNAL, HTTPStatus.BAD_GATEWAY),
    ],
)
async def test_a_service_that_cannot_list_its_models_is_asked_again(
    status: Status, http: HTTPStatus
) -> None:
    """A failure is told, and is not remembered as an answer."""
    failures = [fails(status)]

    async def fail_once() -> None:
        await trio.lowlevel.checkpoint()
        if failures:
            raise failures.pop()

    async with gateway_to(Listing(fail_once)) as client:
        failed, listed = await client.send(MODELS), await client.send(MODELS)
    assert (failed.status, listed.status) == (http, HTTPStatus.OK)


async def test_a_list_is_trusted_for_ten_seconds() -> None:
    model = Listing(trio.lowlevel.checkpoint)
    async with gateway_to(model) as client:
        started = trio.current_time()
        for seconds, times in ((0, 1), (10.0, 1), (10.001, 2)):
            await trio.sleep_until(started + seconds)
            await client.send(MODELS)
            assert model.times_asked == times


async def test_nobody_asks_for_the_list_without_need() -> None:
    model = Listing(trio.sleep_forever)
    async with gateway_to(model) as client:
        bodies: list[dict[str, Any]] = [{"messages": HI}, {"messages": HI, "model": DEFAULT_MODEL}]
        for fields in bodies:
            exchange = await client.send(CHAT, method="POST", body=json.dumps(fields).encode())
            assert exchange.status == HTTPStatus.OK
    assert model.times_asked == 0


@pytest.mark.parametrize(("name", "given"), [("", ""), (DEFAULT_MODEL, ""), ("a", "a")])
async def test_the_default_model_has_no_name_in_the_contract(name: str, given: str) -> None:
    await trio.lowlevel.checkpoint()
    assert ConversationRequest(model=name).to_contract().model == given
