"""A conversation by ``POST /api/ai/stream``, and how what fails before the first token is told."""

import json
from http import HTTPStatus
from typing import Any

import pytest
import trio
from grpclib.const import Status
from trio.testing import wait_all_tasks_blocked

from harness.clock import on_mock_clock
from relay_proto.ai import ListModelsResponse, Role
from relay_proto.ai import Model as ModelOfService
from tests.support.asgi import Client, Exchange
from tests.support.event_stream import texts
from tests.support.gateways import ASK, STREAM, gateway_to
from tests.support.models import SECRET, Model, fails

pytestmark = pytest.mark.trio(run=on_mock_clock)

HI = {"role": "user", "content": "hi"}
MODELS = ListModelsResponse([ModelOfService("a")])


async def ask(client: Client, **fields: Any) -> Exchange:
    return await client.send(STREAM, method="POST", body=json.dumps(fields).encode())


def problem_of(exchange: Exchange) -> dict[str, Any]:
    headers = dict(exchange.headers)
    assert headers["content-type"] == "application/problem+json"
    assert headers["access-control-allow-origin"] == "*"
    problem: dict[str, Any] = json.loads(exchange.body)
    assert problem["status"] == exchange.status
    assert SECRET not in problem["detail"]
    return problem


async def test_messages_reach_the_model() -> None:
    model = Model(["x"], models=MODELS)
    messages = [HI, {"role": "assistant", "content": "Hello."}, {**HI, "name": "ann"}]
    async with gateway_to(model) as client:
        exchange = await ask(client, messages=messages, session_id="s", model="a", top_p=0.5)
    assert texts(exchange.body) == ["x"]
    (request,) = model.requests
    assert (request.prompt, request.session_id, request.model) == ("", "s", "a")
    assert [message.role for message in request.messages] == [
        Role.USER,
        Role.ASSISTANT,
        Role.USER,
    ]
    assert request.messages[2].name == "ann"
    assert request.parameters.top_p == 0.5


async def test_a_prompt_may_have_parameters() -> None:
    model = Model(["x"], models=MODELS)
    async with gateway_to(model) as client:
        await ask(client, prompt="hi", max_tokens=5)
    (request,) = model.requests
    assert (request.prompt, request.messages) == ("hi", [])
    assert request.parameters.max_tokens == 5


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"prompt": "hi", "messages": [HI]}, "prompt"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"content": "hi"}]}, "messages[0].role"),
        ({"messages": [HI], "stop": 5}, "stop"),
        ({"messages": "hi"}, "messages"),
    ],
)
async def test_what_makes_no_sense_is_refused_by_name(fields: dict[str, Any], field: str) -> None:
    model = Model(["x"], models=MODELS)
    async with gateway_to(model) as client:
        exchange = await ask(client, **fields)
    assert exchange.status == HTTPStatus.BAD_REQUEST
    assert problem_of(exchange)["field"] == field
    assert model.requests == []


async def test_what_an_old_service_would_drop_is_refused() -> None:
    model = Model(["x"])
    async with gateway_to(model) as client:
        exchange = await ask(client, prompt="hi", temperature=0.5)
    assert problem_of(exchange)["field"] == "temperature"
    assert model.requests == []


async def test_a_service_that_cannot_be_asked_for_its_models_is_unavailable() -> None:
    class Broken(Model):
        async def list_models(self, list_models_request: Any) -> Any:
            del list_models_request
            await trio.lowlevel.checkpoint()
            raise fails(Status.UNAVAILABLE)

    async with gateway_to(Broken(["x"])) as client:
        exchange = await ask(client, messages=[HI, HI])
    assert problem_of(exchange)["cause"] == "model_unavailable"
    assert dict(exchange.headers)["retry-after"] == "1"


@pytest.mark.parametrize(
    ("status", "http", "cause"),
    [
        (Status.UNAVAILABLE, HTTPStatus.SERVICE_UNAVAILABLE, "model_unavailable"),
        (Status.INVALID_ARGUMENT, HTTPStatus.BAD_REQUEST, "model_error"),
        (Status.INTERNAL, HTTPStatus.BAD_GATEWAY, "model_error"),
    ],
)
async def test_a_failure_before_the_first_token_of_a_post_is_a_problem(
    status: Status, http: HTTPStatus, cause: str
) -> None:
    async with gateway_to(Model([fails(status)])) as client:
        exchange = await ask(client, prompt="hi")
        metrics = await client.metrics()
    problem = problem_of(exchange)
    assert (exchange.status, problem["cause"], problem["code"]) == (http, cause, status.name)
    assert metrics[f'relay_requests_total{{cause="{cause}"}}'] == 1


async def test_headers_of_a_get_never_wait() -> None:
    async with gateway_to(Model([0.5, fails(Status.INTERNAL)])) as client:
        exchange = await client.send(ASK)
    assert exchange.status == HTTPStatus.OK
    assert exchange.body.startswith(b"event: error\n")


async def test_a_client_that_leaves_during_the_hold_stops_the_model() -> None:
    model = Model([float("inf")])
    async with gateway_to(model) as client:
        exchange = client.start(STREAM, method="POST", body=b'{"prompt": "hi"}')
        await wait_all_tasks_blocked()
        exchange.leave()
        await wait_all_tasks_blocked()
        assert len(model.ended) == 1
        metrics = await client.metrics()
    assert exchange.status == 0
    assert metrics['relay_requests_total{cause="client_disconnect"}'] == 1


async def test_a_gateway_that_stops_during_the_hold_says_so() -> None:
    model = Model([float("inf")])
    async with gateway_to(model, hold_seconds=60.0) as client:
        exchange = client.start(STREAM, method="POST", body=b'{"prompt": "hi"}')
        await wait_all_tasks_blocked()
    assert exchange.status == HTTPStatus.SERVICE_UNAVAILABLE
    assert problem_of(exchange)["cause"] == "shutdown"
