"""Bodies that a careful client does not send: refused by name or taken, and never a bug of ours."""

import json
from http import HTTPStatus
from typing import Any

import pytest

from harness.clock import on_mock_clock
from relay_proto.ai import ListModelsResponse
from relay_proto.ai import Model as ModelOfService
from tests.support.asgi import Exchange
from tests.support.gateways import STREAM, gateway_to
from tests.support.models import Model

pytestmark = pytest.mark.trio(run=on_mock_clock)

CHAT = "/v1/chat/completions"
HI = [{"role": "user", "content": "hi"}]
_HI = json.dumps(HI).encode()
APIS = pytest.mark.parametrize("path", [CHAT, STREAM])


async def ask(path: str, body: Any, query: str = "") -> tuple[Exchange, Model]:
    model = Model(["x"], models=ListModelsResponse([ModelOfService("demo")]))
    async with gateway_to(model) as client:
        data = body if isinstance(body, bytes) else json.dumps({"messages": HI, **body}).encode()
        return await client.send(f"{path}{query}", method="POST", body=data), model


async def assert_refused(path: str, body: Any, field: str | None) -> None:
    """See that a body is refused with the name of a field, and that no model is asked."""
    exchange, model = await ask(path, body)
    assert exchange.status == HTTPStatus.BAD_REQUEST
    said = json.loads(exchange.body)
    assert said.get("field", said.get("error", {}).get("param")) == field
    assert model.requests == []


#: Where something tells the kind of what it is in, and bodies with a place for it.
KINDS = {
    "messages[0].role": '{"messages": [{"role": %s, "content": "x"}]}',
    "messages[0].content[0].type": '{"messages": [{"role": "tool", "content": [{"type": %s}]}]}',
    "messages[1].content[0].type": '{"messages": [{"role": "user", "content": "x"},'
    ' {"role": "user", "content": [{"type": %s}]}]}',
    "response_format.type": '{"messages": [], "prompt": "x", "response_format": {"type": %s}}',
}


@APIS
@pytest.mark.parametrize("kind", ["{}", "[]", '["text"]', "null", "5", "true"])
@pytest.mark.parametrize("field", KINDS)
async def test_what_tells_the_kind_is_no_text(path: str, kind: str, field: str) -> None:
    body = KINDS[field].replace("%s", kind)
    if path == CHAT:
        body = body.replace('"messages": [], "prompt": "x"', f'"messages": {_HI.decode()}')
    await assert_refused(path, body.encode(), field)


@APIS
@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "top_k", "seed"])
async def test_a_whole_number_may_be_written_with_a_point(path: str, name: str) -> None:
    """JSON has one kind of number, and so have Lua, R and JavaScript."""
    _, model = await ask(path, b'{"messages": %s, "%s": 5.0}' % (_HI, name.encode()))
    (request,) = model.requests
    parameters = request.parameters
    assert {parameters.max_tokens, parameters.top_k, parameters.seed} == {5, None}


@APIS
@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "top_k", "seed"])
@pytest.mark.parametrize("number", ["5.5", "true", '"5"', "1e308", "-1e30", "[5]"])
async def test_a_number_that_is_not_whole_is_refused(path: str, name: str, number: str) -> None:
    await assert_refused(
        path, b'{"messages": %s, "%s": %s}' % (_HI, name.encode(), number.encode()), name
    )


@APIS
@pytest.mark.parametrize("number", ["1e400", "-1e400", "1" + "0" * 400 + ".0"])
async def test_a_number_that_no_double_holds_is_refused(path: str, number: str) -> None:
    """It would be null in the schema that the model gets."""
    function = b'{"name": "f", "parameters": {"maximum": %s}}' % number.encode()
    tool = b'{"type": "function", "function": %s}' % function
    body = b'{"messages": %s, "tools": [%s]}' % (_HI, tool)
    await assert_refused(path, body, None)


@APIS
@pytest.mark.parametrize("name", ["temperature", "top_p", "frequency_penalty"])
async def test_a_number_that_is_far_too_large_is_refused(path: str, name: str) -> None:
    body = b'{"messages": %s, "%s": 1%s}' % (_HI, name.encode(), b"0" * 400)
    await assert_refused(path, body, name)


@pytest.mark.parametrize(
    ("name", "value"), [("n", True), ("logprobs", 0), ("logprobs", 0.0), ("modalities", "text")]
)
async def test_what_only_looks_like_what_is_done_anyway_is_refused(name: str, value: Any) -> None:
    await assert_refused(CHAT, {name: value}, name)


async def test_a_wrong_format_in_the_query_is_refused_also_if_the_body_has_another() -> None:
    exchange, model = await ask(STREAM, {"format": "json"}, "?format=xml")
    assert exchange.status == HTTPStatus.BAD_REQUEST
    assert json.loads(exchange.body)["field"] == "format"
    assert model.requests == []
    exchange, _ = await ask(STREAM, {"format": "json"}, "?format=text")
    assert exchange.body.startswith(b'data: {"token": "x"}')
