"""OpenAI's API as its clients see it: whole and streamed answers, errors, models."""

import json
from http import HTTPStatus
from typing import Any

import pytest
import trio
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from trio.testing import wait_all_tasks_blocked

from harness.ai import GenerateRequest as OldRequest
from harness.clock import on_mock_clock
from relay_proto.ai import (
    FinishReason,
    GenerateResponse,
    ListModelsResponse,
    Role,
    ToolCallDelta,
    Usage,
)
from relay_proto.ai import Model as ModelOfService
from tests.support.asgi import Client, Exchange
from tests.support.event_stream import comments, parse
from tests.support.gateways import gateway_to
from tests.support.models import SECRET, Model, fails

pytestmark = pytest.mark.trio(run=on_mock_clock)

CHAT = "/v1/chat/completions"
HI = [{"role": "user", "content": "hi"}]
TEXT = {"type": "text", "text": "hi"}
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
TOOL = {"type": "function", "function": {"name": "time"}}
FOREVER = float("inf")
LENGTH = GenerateResponse(
    done=True,
    finish_reason=FinishReason.try_value(FinishReason.LENGTH),
    usage=Usage(7, 5, cached_tokens=3, reasoning_tokens=0),
)
TWO_MODELS = ListModelsResponse([ModelOfService("a", "us", created=1), ModelOfService("b")])


def body(**fields: Any) -> bytes:
    return json.dumps({"messages": HI, **fields}).encode()


async def ask(client: Client, **fields: Any) -> Exchange:
    return await client.send(CHAT, method="POST", body=body(**fields))


def error_of(exchange: Exchange) -> dict[str, Any]:
    """Give the error of a response, which has nothing else and is in OpenAI's shape."""
    assert dict(exchange.headers)["content-type"] == "application/json"
    ((name, error),) = json.loads(exchange.body).items()
    assert name == "error"
    assert error.keys() == {"message", "type", "param", "code"}
    assert SECRET not in error["message"]
    return dict(error)


def chunks_of(exchange: Exchange) -> list[dict[str, Any]]:
    """Give the chunks of a complete stream."""
    *chunks, last = parse(exchange.body)
    assert last.data == "[DONE]"
    assert {event.type for event in [*chunks, last]} == {"message"}
    return [json.loads(event.data) for event in chunks]


# -- whole answers ---------------------------------------------------------------------------------


async def test_a_whole_answer() -> None:
    model = Model(["Hel", 1.0, "lo"], last=LENGTH)
    async with gateway_to(model) as client:
        exchange = await ask(client)
    assert exchange.status == HTTPStatus.OK
    answer = json.loads(exchange.body)
    assert answer.pop("id").startswith("chatcmpl-")
    assert answer.pop("created") > 0
    assert answer == {
        "object": "chat.completion",
        "model": "default",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", "refusal": None},
                "logprobs": None,
                "finish_reason": "length",
            }
        ],
        "usage": {
            "prompt_tokens": 7,
            "completion_tokens": 5,
            "total_tokens": 12,
            "prompt_tokens_details": {"cached_tokens": 3},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    }


async def test_the_pieces_of_a_whole_answer_are_joined() -> None:
    pieces = [
        GenerateResponse(reasoning="Let me "),
        GenerateResponse(reasoning="think."),
        GenerateResponse(tool_call=ToolCallDelta(0, "1", "time", '{"zo')),
        GenerateResponse(tool_call=ToolCallDelta(1, "2", "date")),
        GenerateResponse(tool_call=ToolCallDelta(0, arguments='ne": 1}')),
    ]
    reason = FinishReason.try_value(FinishReason.TOOL_CALLS)
    model = Model(pieces, last=GenerateResponse(done=True, finish_reason=reason))
    async with gateway_to(model) as client:
        (choice,) = json.loads((await ask(client)).body)["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"] == {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "reasoning_content": "Let me think.",
        "tool_calls": [
            {"id": "1", "type": "function", "function": _function("time", '{"zone": 1}')},
            {"id": "2", "type": "function", "function": _function("date", "")},
        ],
    }


def _function(name: str, arguments: str) -> dict[str, str]:
    return {"name": name, "arguments": arguments}


async def test_an_empty_answer_has_empty_content() -> None:
    async with gateway_to(Model([])) as client:
        (choice,) = json.loads((await ask(client)).body)["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("", "stop")


async def test_an_answer_that_is_too_long_to_keep_is_an_error_and_stops_the_model() -> None:
    model = Model(["x" * 600, "y" * 600, FOREVER])
    async with gateway_to(model, max_answer_characters=1000) as client:
        exchange = await ask(client)
        await wait_all_tasks_blocked()
        assert len(model.ended) == 1
    assert exchange.status == HTTPStatus.BAD_GATEWAY
    assert "Ask for a stream" in error_of(exchange)["message"]


@pytest.mark.parametrize("script", [[FOREVER], ["x", FOREVER]], ids=["thinking", "answering"])
@pytest.mark.parametrize("stream", [False, True])
async def test_who_leaves_stops_the_model(script: list[Any], *, stream: bool) -> None:
    model = Model(script)
    async with gateway_to(model) as client:
        exchange = client.start(CHAT, method="POST", body=body(stream=stream))
        await wait_all_tasks_blocked()
        exchange.leave()
        before = trio.current_time()
        await wait_all_tasks_blocked()
        assert model.ended == [before]
        metrics = await client.metrics()
    assert metrics['relay_requests_total{cause="client_disconnect"}'] == 1
    assert metrics["relay_requests_in_progress"] == 0


# -- streams ---------------------------------------------------------------------------------------


async def test_a_stream() -> None:
    model = Model(["Hel", 1.0, "lo\r\n\u2028\u00e9"], last=LENGTH)
    async with gateway_to(model) as client:
        exchange = await ask(client, stream=True)
    assert exchange.status == HTTPStatus.OK
    assert dict(exchange.headers)["content-type"] == "text/event-stream"
    chunks = chunks_of(exchange)
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert [chunk["choices"][0]["delta"] for chunk in chunks] == [
        {"role": "assistant", "content": "Hel"},
        {"content": "lo\r\n\u2028\u00e9"},
        {},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, "length"]
    assert not [chunk for chunk in chunks if "usage" in chunk]


async def test_a_stream_with_usage() -> None:
    async with gateway_to(Model(["x"], last=LENGTH)) as client:
        exchange = await ask(client, stream=True, stream_options={"include_usage": True})
    *chunks, last = chunks_of(exchange)
    assert [chunk["usage"] for chunk in chunks] == [None] * len(chunks)
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 12


async def test_a_stream_of_other_pieces() -> None:
    pieces = [
        GenerateResponse(reasoning="Hm"),
        GenerateResponse(tool_call=ToolCallDelta(0, "1", "time", "{")),
        GenerateResponse(tool_call=ToolCallDelta(0, arguments="}")),
        GenerateResponse(refusal="No."),
    ]
    async with gateway_to(Model(pieces)) as client:
        chunks = chunks_of(await ask(client, stream=True))
    assert [chunk["choices"][0]["delta"] for chunk in chunks] == [
        {"role": "assistant", "reasoning_content": "Hm"},
        {
            "tool_calls": [
                {
                    "index": 0,
                    "id": "1",
                    "type": "function",
                    "function": {"name": "time", "arguments": "{"},
                }
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]},
        {"refusal": "No."},
        {},
    ]


async def test_pings_are_comments() -> None:
    async with gateway_to(Model(["x", 20.0, "y"]), heartbeat_seconds=15.0) as client:
        exchange = await ask(client, stream=True)
    assert comments(exchange.body) == [" ping"]
    assert len(chunks_of(exchange)) == 3


async def test_a_stream_that_breaks_ends_with_an_error_and_no_done() -> None:
    async with gateway_to(Model(["x", fails(Status.UNAVAILABLE)])) as client:
        exchange = await ask(client, stream=True)
    *_, last = parse(exchange.body)
    assert json.loads(last.data)["error"]["code"] == "model_unavailable"
    assert b"[DONE]" not in exchange.body


# -- what fails before the first token -------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "http", "code"),
    [
        (Status.UNAVAILABLE, HTTPStatus.SERVICE_UNAVAILABLE, "model_unavailable"),
        (Status.RESOURCE_EXHAUSTED, HTTPStatus.TOO_MANY_REQUESTS, "rate_limit_exceeded"),
        (Status.INVALID_ARGUMENT, HTTPStatus.BAD_REQUEST, None),
        (Status.NOT_FOUND, HTTPStatus.NOT_FOUND, "model_not_found"),
        (Status.INTERNAL, HTTPStatus.BAD_GATEWAY, "model_error"),
        (Status.UNAUTHENTICATED, HTTPStatus.BAD_GATEWAY, "model_error"),
    ],
)
async def test_a_failure_before_the_first_token_is_a_status(
    status: Status, http: HTTPStatus, code: str | None, *, stream: bool
) -> None:
    async with gateway_to(Model([0.5, fails(status)])) as client:
        exchange = await ask(client, stream=stream)
    assert (exchange.status, error_of(exchange)["code"]) == (http, code)
    headers = dict(exchange.headers)
    assert headers["access-control-allow-origin"] == "*"
    if http in {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS}:
        assert headers["retry-after"] == "1"
        assert "x-should-retry" not in headers
    else:
        assert headers["x-should-retry"] == "false"


async def test_an_answer_that_takes_too_long_is_not_to_be_asked_for_again() -> None:
    async with gateway_to(Model([FOREVER]), deadline_seconds=5.0) as client:
        exchange = await ask(client)
    assert exchange.status == HTTPStatus.GATEWAY_TIMEOUT
    assert dict(exchange.headers)["x-should-retry"] == "false"
    assert error_of(exchange)["code"] == "timeout"


async def test_after_the_hold_a_failure_is_an_event() -> None:
    async with gateway_to(Model([2.0, fails(Status.INTERNAL)]), hold_seconds=1.0) as client:
        started = trio.current_time()
        exchange = client.start(CHAT, method="POST", body=body(stream=True))
        await wait_all_tasks_blocked()
        assert exchange.status == 0
        await trio.sleep_until(started + 1.0)
        await wait_all_tasks_blocked()
        assert exchange.status == HTTPStatus.OK
        await trio.sleep_until(started + 2.0)
        await wait_all_tasks_blocked()
    (event,) = parse(exchange.body)
    assert json.loads(event.data)["error"]["code"] == "model_error"


async def test_the_first_token_ends_the_hold() -> None:
    async with gateway_to(Model([0.25, "x", 5.0])) as client:
        started = trio.current_time()
        exchange = await ask(client, stream=True)
    assert exchange.chunks[0][0] == started + 0.25


async def test_the_model_service_says_what_is_wrong_and_when_to_come_back() -> None:
    violation = BadRequest.FieldViolation(field="tools", description="tools: not with this model")
    retry = RetryInfo()
    retry.retry_delay.FromMilliseconds(2500)
    scripts = [
        [GRPCError(Status.INVALID_ARGUMENT, SECRET, [BadRequest(field_violations=[violation])])],
        [GRPCError(Status.RESOURCE_EXHAUSTED, SECRET, [retry])],
    ]
    async with gateway_to(Model(*scripts)) as client:
        refused, busy = await ask(client), await ask(client)
    error = error_of(refused)
    assert (error["param"], error["message"]) == ("tools", "tools: not with this model")
    assert dict(busy.headers)["retry-after"] == "3"


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"logit_bias": {}}, "logit_bias"),
        ({"nonsense": 1}, "nonsense"),
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": [{"role": "usr", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [*HI, {"role": "user"}]}, "messages[1].content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "file"}]}]},
            "messages[0].content[0].type",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]},
            "messages[0].content[0].text",
        ),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"temperature": 2.5}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"stop": ["x", 5]}, "stop[1]"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
    ],
)
async def test_a_request_that_makes_no_sense_is_refused_by_name(
    fields: dict[str, Any], param: str
) -> None:
    model = Model(["x"])
    async with gateway_to(model) as client:
        exchange = await ask(client, **fields)
    assert exchange.status == HTTPStatus.BAD_REQUEST
    error = error_of(exchange)
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert param in error["message"]
    assert model.requests == []


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b'{"a": NaN}', b'{"a": "\\ud800"}', b"\xff", b"[" * 100_000]
)
async def test_a_body_that_is_no_json_object_is_refused(data: bytes) -> None:
    async with gateway_to(Model(["x"])) as client:
        exchange = await client.send(CHAT, method="POST", body=data)
    assert exchange.status == HTTPStatus.BAD_REQUEST
    error_of(exchange)


async def test_what_was_asked_is_in_no_error() -> None:
    secret = "my secret prompt"
    for fields in (
        {"messages": [{"role": secret, "content": secret}]},
        {"messages": [{"role": "user", "content": {"x": secret}}]},
        {"temperature": secret},
        {"tool_choice": secret},
    ):
        async with gateway_to(Model(["x"])) as client:
            exchange = await ask(client, **fields)
        assert exchange.status == HTTPStatus.BAD_REQUEST
        assert secret not in exchange.body.decode()


async def test_messages_that_are_too_long_are_refused() -> None:
    async with gateway_to(Model(["x"]), max_prompt_bytes=10) as client:
        messages = [{"role": "user", "content": "é" * 3}, {"role": "user", "content": "é" * 3}]
        exchange = await ask(client, messages=messages)
    assert exchange.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    assert error_of(exchange)["code"] == "context_length_exceeded"


async def test_paths_and_methods_that_are_not_there() -> None:
    async with gateway_to(Model(["x"])) as client:
        missing = await client.send("/v1/nothing")
        wrong = await client.send(CHAT)
    assert missing.status == HTTPStatus.NOT_FOUND
    assert wrong.status == HTTPStatus.METHOD_NOT_ALLOWED
    assert "/v1/chat/completions" in error_of(missing)["message"]
    error_of(wrong)


async def test_a_key_is_accepted_and_ignored() -> None:
    async with gateway_to(Model(["x"])) as client:
        headers = [("authorization", "Bearer sk-x")]
        exchange = await client.send(CHAT, method="POST", body=body(), headers=headers)
    assert exchange.status == HTTPStatus.OK


# -- models, and services that know none -----------------------------------------------------------


async def test_models() -> None:
    async with gateway_to(Model([], models=TWO_MODELS)) as client:
        listed = json.loads((await client.send("/v1/models")).body)
        shown = json.loads((await client.send("/v1/models/b")).body)
        missing = await client.send("/v1/models/c")
    assert listed == {
        "object": "list",
        "data": [
            {"id": "a", "object": "model", "created": 1, "owned_by": "us"},
            {"id": "b", "object": "model", "created": 0, "owned_by": "relay"},
        ],
    }
    assert shown == listed["data"][1]
    assert missing.status == HTTPStatus.NOT_FOUND
    assert error_of(missing)["code"] == "model_not_found"


async def test_an_old_service_has_one_model() -> None:
    async with gateway_to(Model(["x"])) as client:
        listed = json.loads((await client.send("/v1/models")).body)
        answered = await ask(client, model="default")
    assert [model["id"] for model in listed["data"]] == ["default"]
    assert answered.status == HTTPStatus.OK


async def test_an_old_service_is_given_the_prompt() -> None:
    model = Model(["x"])
    async with gateway_to(model) as client:
        await ask(client, user="someone")
    (request,) = model.requests
    assert request.prompt == "hi"
    assert [part.text for message in request.messages for part in message.parts] == ["hi"]


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [{"role": "user", "content": [TEXT]}]},
        {"messages": [{"role": "user", "content": [{**TEXT, "text": "h"}, {**TEXT, "text": "i"}]}]},
        {"response_format": {"type": "text"}},
        {"tools": [], "tool_choice": "none", "stop": []},
        {"tool_choice": "auto", "n": 1, "seed": None, "stream_options": {"include_usage": True}},
    ],
)
async def test_an_old_service_drops_nothing_of_one_text(fields: dict[str, Any]) -> None:
    model = Model(["x"])
    async with gateway_to(model) as client:
        assert (await ask(client, **fields)).status == HTTPStatus.OK
    (request,) = model.requests
    old = OldRequest().parse(bytes(request))
    assert (old.prompt, request.prompt) == ("hi", "hi")
    assert "".join(part.text or "" for part in request.messages[0].parts) == "hi"


@pytest.mark.parametrize(
    ("fields", "param", "status"),
    [
        ({"messages": [*HI, *HI]}, "messages", HTTPStatus.BAD_REQUEST),
        ({"messages": [{**HI[0], "name": "ann"}]}, "messages", HTTPStatus.BAD_REQUEST),
        ({"messages": [{**HI[0], "role": "system"}]}, "messages", HTTPStatus.BAD_REQUEST),
        ({"messages": [{"role": "user", "content": [IMAGE]}]}, "messages", HTTPStatus.BAD_REQUEST),
        (
            {"messages": [{"role": "user", "content": [TEXT, IMAGE]}]},
            "messages",
            HTTPStatus.BAD_REQUEST,
        ),
        ({"tools": [TOOL]}, "tools", HTTPStatus.BAD_REQUEST),
        ({"stop": "x"}, "stop", HTTPStatus.BAD_REQUEST),
        ({"response_format": {"type": "json_object"}}, "response_format", HTTPStatus.BAD_REQUEST),
        ({"reasoning_effort": "none"}, "reasoning_effort", HTTPStatus.BAD_REQUEST),
        ({"temperature": 0.5}, "temperature", HTTPStatus.BAD_REQUEST),
        ({"max_completion_tokens": 5}, "max_completion_tokens", HTTPStatus.BAD_REQUEST),
        ({"model": "gpt-9"}, "model", HTTPStatus.NOT_FOUND),
    ],
)
async def test_what_an_old_service_would_drop_is_refused(
    fields: dict[str, Any], param: str, status: HTTPStatus
) -> None:
    model = Model(["x"])
    async with gateway_to(model) as client:
        exchange = await ask(client, **fields)
    assert (exchange.status, error_of(exchange)["param"]) == (status, param)
    assert model.requests == []


async def test_a_new_service_is_given_all_of_it() -> None:
    model = Model(["x"], models=TWO_MODELS)
    messages = [{"role": "developer", "content": "Be brief."}, *HI]
    async with gateway_to(model) as client:
        await ask(client, model="b", messages=messages, temperature=0.5, stop="x")
    (request,) = model.requests
    assert (request.model, request.prompt) == ("b", "")
    assert [message.role for message in request.messages] == [Role.SYSTEM, Role.USER]
    assert (request.parameters.temperature, request.parameters.stop) == (0.5, ["x"])


async def test_the_service_is_asked_once_in_a_while() -> None:
    model = Model(["x"], models=TWO_MODELS)
    async with gateway_to(model) as client:
        await client.send("/v1/models")
        model.models = ListModelsResponse([ModelOfService("c")])
        assert b'"a"' in (await client.send("/v1/models")).body
        await trio.sleep(11)
        assert b'"c"' in (await client.send("/v1/models")).body


# -- how the end of an answer is recorded ----------------------------------------------------------


async def test_a_whole_answer_that_nobody_takes_is_not_done() -> None:
    """Nothing but the server bounds how long its client may take, and it would cancel this."""
    async with gateway_to(Model(["x"])) as client:
        exchange = client.start(CHAT, method="POST", body=body(), takes=1)
        await trio.sleep(100.0)
        assert (await client.metrics())["relay_requests_in_progress"] == 1
        exchange.leave()
        await wait_all_tasks_blocked()
        metrics = await client.metrics()
    assert not exchange.is_complete
    assert metrics['relay_requests_total{cause="client_disconnect"}'] == 1
    assert metrics['relay_requests_total{cause="done"}'] == 0


async def test_a_whole_answer_may_be_taken_slowly() -> None:
    async with gateway_to(Model(["x"])) as client:
        exchange = await client.send(CHAT, method="POST", body=body(), pause=50.0)
        metrics = await client.metrics()
    assert json.loads(exchange.body)["choices"][0]["message"]["content"] == "x"
    assert metrics['relay_requests_total{cause="done"}'] == 1
