"""What ``/openapi.json`` says is so: every route is described, and each response can be had.

Each whole response of any test of the application is compared with the description, too: see
``tests.support.asgi.Client.send``.
"""

import json
import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, cast

import pytest
import trio
from google.rpc.error_details_pb2 import BadRequest
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from openapi_spec_validator import OpenAPIV31SpecValidator

from harness.clock import on_mock_clock
from relay_gateway.settings import GatewaySettings
from relay_gateway.web.access import LocalAccess
from relay_gateway.web.asgi import create_app
from relay_gateway.web.metrics import Metrics
from relay_proto.ai import (
    FinishReason,
    GenerateResponse,
    ListModelsRequest,
    ListModelsResponse,
    ToolCallDelta,
    Usage,
)
from relay_proto.ai import Model as ModelOfService
from tests.support.asgi import Client
from tests.support.described import check_response, described, operation_at, validator
from tests.support.gateways import ASK, STREAM, gateway_to, stopping
from tests.support.models import SECRET, Model, Step, fails

ON_MOCK_CLOCK = pytest.mark.trio(run=on_mock_clock)

CHAT = "/v1/chat/completions"
PROMPT = {"prompt": "hi"}
HI = {"messages": [{"role": "user", "content": "hi"}]}
FOREVER = float("inf")
#: Pages, and what they need, are no part of the interface.
PAGES = {"/", "/docs", "/static/<path:filename>"}

EVERY_PIECE: list[Step] = [
    GenerateResponse(reasoning="Hm"),
    GenerateResponse(tool_call=ToolCallDelta(0, "1", "time", "{")),
    GenerateResponse(tool_call=ToolCallDelta(0, arguments="}")),
    GenerateResponse(refusal="No."),
    "Hi",
    20.0,
]
WHOLE = GenerateResponse(
    done=True,
    finish_reason=FinishReason.try_value(FinishReason.TOOL_CALLS),
    usage=Usage(7, 5, cached_tokens=3, reasoning_tokens=2),
)
ONE_MODEL = ListModelsResponse([ModelOfService("a", "us", created=1)])
VIOLATION = BadRequest.FieldViolation(field="tools", description="tools: not with this model")
REFUSES = GRPCError(Status.INVALID_ARGUMENT, SECRET, [BadRequest(field_violations=[VIOLATION])])


class Unlisted(Model):
    """A model service that cannot say which models it has."""

    def __init__(self, status: Status) -> None:
        super().__init__(["x"])
        self._status = status

    async def list_models(self, list_models_request: ListModelsRequest) -> ListModelsResponse:
        del list_models_request
        await trio.lowlevel.checkpoint()
        raise GRPCError(self._status, SECRET)


# -- the document itself ---------------------------------------------------------------------------


def test_it_is_openapi() -> None:
    document = json.loads(json.dumps(described()))
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []


@ON_MOCK_CLOCK
async def test_it_is_served_as_it_is() -> None:
    async with gateway_to(Model([])) as client:
        exchange = await client.send("/openapi.json")
    headers = dict(exchange.headers)
    assert headers["content-type"] == "application/json"
    assert headers["access-control-allow-origin"] == "*"
    assert json.loads(exchange.body)["paths"] == described()["paths"]


def test_every_route_is_described() -> None:
    application = create_app(GatewaySettings())
    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in application.url_map.iter_rules()
        if rule.rule not in PAGES
        for method in cast("set[str]", rule.methods) - {"HEAD", "OPTIONS"}
    }
    paths = described()["paths"]
    assert routes == {(path, method) for path, methods in paths.items() for method in methods}


def _contents() -> Iterable[Any]:
    for methods in described()["paths"].values():
        for operation in methods.values():
            bodies = [operation["requestBody"]] if "requestBody" in operation else []
            for each in [*bodies, *operation["responses"].values()]:
                yield from each.get("content", {}).values()


def test_examples_are_what_they_are_examples_of() -> None:
    checked = 0
    for content in _contents():
        reference = content["schema"].get("$ref", "")
        for example in content.get("examples", {}).values():
            if reference:
                validator(reference.rpartition("/")[2]).validate(example["value"])
                checked += 1
    assert checked > 20


def test_examples_of_streams_are_described() -> None:
    for path in (STREAM, CHAT):
        operation = cast("dict[str, Any]", operation_at("POST", path))
        content = operation["responses"]["200"]["content"]["text/event-stream"]
        headers = {"content-type": "text/event-stream"}
        for name, example in content["examples"].items():
            body = example["value"].encode()
            is_json = path == CHAT or name == "json"
            check_response(operation, 200, headers, body, is_json=is_json)


# -- the responses ---------------------------------------------------------------------------------


class Sent(dict[tuple[str, str], set[str]]):
    """The names of the headers of what was sent, by operation and status."""

    async def send(self, client: Client, requests: Iterable[tuple[str, str, Any]]) -> None:
        """Send requests and note their responses."""
        for method, target, request in requests:
            exchange = await client.send(target, **request)
            operation = operation_at(method, target.partition("?")[0])
            assert operation is not None
            names = {name.lower() for name, _ in exchange.headers}
            key = (operation["operationId"], str(exchange.status))
            self.setdefault(key, set()).update(names)


def post(target: str, fields: Any) -> tuple[str, str, dict[str, Any]]:
    return "POST", target, {"method": "POST", "body": json.dumps(fields).encode()}


def get(target: str) -> tuple[str, str, dict[str, Any]]:
    return "GET", target, {}


ASKED_BY_POST = [post(STREAM, PROMPT), post(CHAT, HI)]
MODELS = [get("/v1/models"), get("/v1/models/a")]
ALL = [
    get(ASK),
    get(f"{ASK}&format=json"),
    *ASKED_BY_POST,
    post(STREAM, {**PROMPT, "format": "json"}),
    post(CHAT, {**HI, "stream": True, "stream_options": {"include_usage": True}}),
    *MODELS,
    get("/healthz"),
    get("/readyz"),
    get("/metrics"),
    get("/openapi.json"),
]
REFUSED = [
    get(STREAM),
    get(f"{STREAM}?prompt={'x' * 99}"),
    post(STREAM, {}),
    post(STREAM, {"prompt": "x" * 99}),
    post(STREAM, {**PROMPT, "model": "b"}),
    post(CHAT, {}),
    post(CHAT, {"messages": [{"role": "user", "content": "x" * 99}]}),
    post(CHAT, {**HI, "model": "b"}),
    get("/v1/models/b"),
]
STATUSES = [
    Status.INVALID_ARGUMENT,
    Status.NOT_FOUND,
    Status.RESOURCE_EXHAUSTED,
    Status.UNAVAILABLE,
    Status.INTERNAL,
    Status.DEADLINE_EXCEEDED,
]


async def _send_all(sent: Sent) -> None:
    async with gateway_to(Model(EVERY_PIECE, last=WHOLE, models=ONE_MODEL)) as client:
        await sent.send(client, ALL)
    async with gateway_to(Model(["x"]), max_prompt_bytes=9) as client:
        await sent.send(client, REFUSED)
    async with gateway_to(Model(["x", fails(Status.INTERNAL)])) as client:
        await sent.send(client, ALL[:6])
    async with gateway_to(Model([REFUSES])) as client:
        await sent.send(client, ASKED_BY_POST)
    for status in STATUSES:
        async with gateway_to(Model([fails(status)])) as client:
            await sent.send(client, ASKED_BY_POST)
        async with gateway_to(Unlisted(status)) as client:
            await sent.send(client, MODELS)
    async with gateway_to(Model(["x"])) as client:
        silent = {"method": "POST", "body": b"{", "is_whole": False}
        await sent.send(client, [("POST", path, silent) for path in (STREAM, CHAT)])
    async with gateway_to(Model(["x"]), access=LocalAccess("127.0.0.1")) as client:
        await sent.send(client, ALL)
    async with stopping(Model([FOREVER])) as client:
        await sent.send(client, ALL)


@ON_MOCK_CLOCK
async def test_every_response_that_is_described_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = Sent()
    await _send_all(sent)
    async with gateway_to(Model([])) as client:
        monkeypatch.setattr(Metrics, "exposition", _too_slow)
        await sent.send(client, [get("/metrics")])
    promised = {
        (operation["operationId"], status): {name.lower() for name in reply.get("headers", ())}
        for methods in described()["paths"].values()
        for operation in methods.values()
        for status, reply in operation["responses"].items()
    }
    assert sent.keys() == promised.keys()
    assert {key: names - sent[key] for key, names in promised.items() if names - sent[key]} == {}


async def _too_slow(_: Metrics) -> bytes:
    await trio.lowlevel.checkpoint()
    raise trio.TooSlowError


@ON_MOCK_CLOCK
@pytest.mark.parametrize("status", [Status.INVALID_ARGUMENT, Status.NOT_FOUND])
async def test_a_list_that_the_model_service_refuses_is_not_the_callers_fault(
    status: Status,
) -> None:
    async with gateway_to(Unlisted(status)) as client:
        exchange = await client.send("/v1/models")
    assert exchange.status == HTTPStatus.BAD_GATEWAY
    assert SECRET not in exchange.body.decode()
