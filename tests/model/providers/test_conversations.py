"""A conversation as each provider is asked, and what is no text in its answers."""

import json
from typing import Any

import pytest

from relay_model.backends.providers import anthropic, openai
from relay_model.conversation import (
    Choice,
    Conversation,
    Format,
    Image,
    Message,
    Parameters,
    Reasoning,
    ResponseFormat,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
)
from relay_model.outcome import FinishReason, Outcome, Usage
from relay_model.pieces import Piece, ToolCallDelta
from tests.support.answers import failure_of, pieces_of
from tests.support.provider_backend import provider_backend
from tests.support.provider_wires import ANTHROPIC, OLLAMA, OPENAI, WIRES, Wire

pytestmark = pytest.mark.trio

TIME = Tool("time", "Tells the time.", {"type": "object", "properties": {}}, strict=None)
CALL = ToolCall("call-1", "time", '{"zone": "Z"}')
TALK = Conversation(
    (
        Message(Role.SYSTEM, (Text("Be brief."),)),
        Message(Role.USER, (Text("What is this? "), Image(b"png", None, "image/png", ""))),
        Message(Role.ASSISTANT, (Reasoning("A clock."), Text("A clock."), CALL)),
        Message(Role.TOOL, (Text("noon"),), "call-1"),
        Message(Role.USER, (Text("Thanks."),)),
    ),
    parameters=Parameters(max_tokens=9, stop=("END",)),
    tools=(TIME,),
    tool_choice=ToolChoice(Choice.AUTO),
)
SCHEMA = ResponseFormat(Format.JSON_SCHEMA, {"type": "object"}, "answer", strict=True)
HI = Conversation.of("hi").messages


async def asked(wire: Wire, conversation: Conversation, **settings: Any) -> dict[str, Any]:
    """Ask, and give the JSON that the provider was sent."""
    async with provider_backend(wire, wire.reply(wire.answer("x")), **settings) as (
        backend,
        server,
    ):
        await pieces_of(backend, conversation)
        (exchange,) = server.exchanges
        body: dict[str, Any] = exchange.body
        return body


async def refused(wire: Wire, conversation: Conversation, **settings: Any) -> str | None:
    """Ask for what cannot be done, and give the field; the provider is not asked."""
    async with provider_backend(wire, **settings) as (backend, server):
        _, error = await failure_of(backend, conversation)
        assert server.exchanges == []
        return error.field


async def read(wire: Wire, *body: bytes) -> tuple[list[Piece], Outcome]:
    """Read an answer."""
    async with provider_backend(wire, wire.reply(*body)) as (backend, _):
        return await pieces_of(backend)


# -- Anthropic -------------------------------------------------------------------------------------


async def test_anthropic_is_asked_in_blocks() -> None:
    body = await asked(ANTHROPIC, TALK)
    assert body["system"] == "Be brief."
    assert body["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this? "},
                {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "image/png", "data": "cG5n"},
                },
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "A clock."},
                {"type": "tool_use", "id": "call-1", "name": "time", "input": {"zone": "Z"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "call-1", "content": "noon"},
                {"type": "text", "text": "Thanks."},
            ],
        },
    ]
    assert body["tools"] == [
        {
            "name": "time",
            "description": "Tells the time.",
            "input_schema": {"type": "object", "properties": {}},
        }
    ]
    assert body["tool_choice"] == {"type": "auto"}
    assert (body["max_tokens"], body["stop_sequences"]) == (9, ["END"])


async def test_anthropic_is_asked_to_think_and_to_fit_a_schema() -> None:
    parameters = Parameters(reasoning_effort="minimal", parallel_tool_calls=False, top_k=3)
    body = await asked(
        ANTHROPIC,
        Conversation(
            HI,
            parameters=parameters,
            tools=(TIME,),
            tool_choice=ToolChoice(Choice.NAMED, "time"),
            response_format=SCHEMA,
        ),
    )
    assert body["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert body["output_config"] == {
        "effort": "low",
        "format": {"type": "json_schema", "schema": {"type": "object"}},
    }
    assert body["tool_choice"] == {
        "type": "tool",
        "name": "time",
        "disable_parallel_tool_use": True,
    }
    assert body["top_k"] == 3


def _event(**fields: Any) -> bytes:
    return f"event: {fields['type']}\ndata: {json.dumps(fields)}\n\n".encode()


async def test_anthropic_thinks_and_calls_tools() -> None:
    def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> bytes:
        return b"".join(
            [
                _event(type="content_block_start", index=index, content_block=start),
                *(_event(type="content_block_delta", index=index, delta=delta) for delta in deltas),
                _event(type="content_block_stop", index=index),
            ]
        )

    pieces, outcome = await read(
        ANTHROPIC,
        _event(type="message_start", message={"usage": {"input_tokens": 2}}),
        block(
            0,
            {"type": "thinking", "thinking": ""},
            {"type": "thinking_delta", "thinking": "Hm."},
            {"type": "signature_delta", "signature": "c2ln"},
        ),
        block(1, {"type": "redacted_thinking", "data": "x"}),
        block(
            2,
            {"type": "tool_use", "id": "a", "name": "time", "input": {}},
            {"type": "input_json_delta", "partial_json": ""},
            {"type": "input_json_delta", "partial_json": '{"zone'},
            {"type": "input_json_delta", "partial_json": '": 1}'},
        ),
        block(3, {"type": "tool_use", "id": "b", "name": "date", "input": {}}),
        _event(
            type="message_delta",
            delta={"stop_reason": "tool_use"},
            usage={"output_tokens": 7, "output_tokens_details": {"thinking_tokens": 4}},
        ),
        _event(type="message_stop"),
    )
    assert pieces == [
        Reasoning("Hm."),
        ToolCallDelta(0, "a", "time"),
        ToolCallDelta(0, arguments='{"zone'),
        ToolCallDelta(0, arguments='": 1}'),
        ToolCallDelta(1, "b", "date"),
    ]
    assert outcome == Outcome(FinishReason.TOOL_CALLS, Usage(2, 7, reasoning_tokens=4))


@pytest.mark.parametrize(
    ("conversation", "field"),
    [
        (Conversation(HI, parameters=Parameters(seed=1)), "parameters.seed"),
        (Conversation((HI[0]._replace(name="ann"),)), "messages[0].name"),
        (
            Conversation((Message(Role.USER, (Image(b"x", None, "image/png", "low"),)),)),
            "messages[0].parts[0].image.detail",
        ),
        (
            Conversation(HI, parameters=Parameters(reasoning_effort="wild")),
            "parameters.reasoning_effort",
        ),
        (
            Conversation(HI, response_format=ResponseFormat(Format.JSON_OBJECT)),
            "response_format",
        ),
        (
            Conversation((Message(Role.ASSISTANT, (ToolCall("1", "time", "no JSON"),)), *HI)),
            "messages[0].parts[0].tool_call.arguments",
        ),
    ],
)
async def test_what_anthropic_cannot_do_is_refused(conversation: Conversation, field: str) -> None:
    assert await refused(ANTHROPIC, conversation) == field


async def test_anthropic_is_asked_not_to_think() -> None:
    """Left out, it would be the model's own choice."""
    quiet = Conversation(HI, parameters=Parameters(reasoning_effort="none"))
    body = await asked(ANTHROPIC, quiet)
    assert body["thinking"] == {"type": "disabled"}
    assert "output_config" not in body


async def test_anthropic_reads_what_a_format_says_about_itself() -> None:
    described = SCHEMA._replace(description="A time.")
    body = await asked(ANTHROPIC, Conversation(HI, response_format=described))
    schema = {"description": "A time.", "type": "object"}
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": schema}}


async def test_anthropics_own_models_take_no_temperature(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anthropic, "_OWN_HOST", "127.0.0.1")
    warm = Conversation(HI, parameters=Parameters(temperature=1.0))
    assert await refused(ANTHROPIC, warm) == "parameters.temperature"


# -- OpenAI ----------------------------------------------------------------------------------------


async def test_openai_is_asked_in_its_own_words() -> None:
    body = await asked(OPENAI, TALK)
    function = {"name": "time", "arguments": '{"zone": "Z"}'}
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this? "},
                {
                    "type": "image_url",
                    "image_url": {"url": "data:image/png;base64,cG5n", "detail": "auto"},
                },
            ],
        },
        {
            "role": "assistant",
            "content": "A clock.",
            "tool_calls": [{"id": "call-1", "type": "function", "function": function}],
            "reasoning_content": "A clock.",
        },
        {"role": "tool", "tool_call_id": "call-1", "content": "noon"},
        {"role": "user", "content": "Thanks."},
    ]
    assert body["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "time",
                "description": "Tells the time.",
                "parameters": {"type": "object", "properties": {}},
            },
        }
    ]
    assert (body["tool_choice"], body["max_tokens"], body["stop"]) == ("auto", 9, ["END"])


async def test_openai_is_told_names_details_and_promises() -> None:
    image = Image(None, "https://example.org/a.png", "", "low")
    conversation = Conversation(
        (Message(Role.USER, (image,), name="ann"),),
        tools=(TIME._replace(strict=True),),
        response_format=SCHEMA._replace(description="A time."),
    )
    body = await asked(OPENAI, conversation)
    url = {"url": "https://example.org/a.png", "detail": "low"}
    assert body["messages"] == [
        {"role": "user", "name": "ann", "content": [{"type": "image_url", "image_url": url}]}
    ]
    assert body["tools"][0]["function"]["strict"] is True
    assert body["response_format"]["json_schema"]["description"] == "A time."


async def test_openai_is_given_every_parameter() -> None:
    parameters = Parameters(
        temperature=0.0,
        top_p=0.5,
        seed=-1,
        frequency_penalty=0.25,
        presence_penalty=-0.25,
        top_k=3,
        reasoning_effort="low",
    )
    body = await asked(OPENAI, Conversation(HI, parameters=parameters, response_format=SCHEMA))
    given = {name: value for name, value in parameters._asdict().items() if value not in {None, ()}}
    assert given.items() <= body.items()
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True},
    }


async def test_openais_own_api_is_given_no_reasoning_and_no_top_k(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(openai, "_OWN_HOST", "127.0.0.1")
    body = await asked(OPENAI, TALK)
    assert "reasoning_content" not in body["messages"][2]
    few = Conversation(HI, parameters=Parameters(top_k=3))
    assert await refused(OPENAI, few) == "parameters.top_k"


def _chunk(reason: str | None = None, usage: Any = None, **delta: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return f"data: {json.dumps({'choices': [choice], 'usage': usage})}\n\n".encode()


async def test_openai_thinks_and_calls_tools() -> None:
    first = {"index": 0, "id": "a", "type": "function", "function": {"name": "time"}}
    more = {"index": 0, "function": {"arguments": "{}"}}
    other = {"index": 1, "id": "b", "function": {"name": "date", "arguments": "{}"}}
    usage = {
        "prompt_tokens": 2,
        "completion_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 1},
        "completion_tokens_details": {"reasoning_tokens": 4},
    }
    pieces, outcome = await read(
        OPENAI,
        _chunk(reasoning_content="H"),
        _chunk(reasoning="m."),
        _chunk(tool_calls=[first]),
        _chunk(tool_calls=[more, other]),
        _chunk("tool_calls", usage),
        b"data: [DONE]\n\n",
    )
    assert pieces == [
        Reasoning("H"),
        Reasoning("m."),
        ToolCallDelta(0, "a", "time"),
        ToolCallDelta(0, arguments="{}"),
        ToolCallDelta(1, "b", "date", "{}"),
    ]
    assert outcome == Outcome(FinishReason.TOOL_CALLS, Usage(2, 7, 1, 4))


# -- Ollama ----------------------------------------------------------------------------------------


async def test_ollama_is_asked_in_its_own_words() -> None:
    body = await asked(OLLAMA, TALK)
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is this? ", "images": ["cG5n"]},
        {
            "role": "assistant",
            "content": "A clock.",
            "thinking": "A clock.",
            "tool_calls": [{"function": {"name": "time", "arguments": {"zone": "Z"}}}],
        },
        {"role": "tool", "content": "noon", "tool_name": "time"},
        {"role": "user", "content": "Thanks."},
    ]
    assert body["options"] == {"num_predict": 9, "stop": ["END"]}
    assert body["tools"][0]["function"]["name"] == "time"


async def test_ollama_is_asked_to_think_and_to_fit_a_schema() -> None:
    parameters = Parameters(reasoning_effort="high", top_k=3, seed=7)
    body = await asked(OLLAMA, Conversation(HI, parameters=parameters, response_format=SCHEMA))
    assert (body["think"], body["format"]) == ("high", {"type": "object"})
    assert {"top_k": 3, "seed": 7}.items() <= body["options"].items()


async def test_ollama_thinks_and_calls_tools() -> None:
    calls = [{"function": {"name": name, "arguments": {"a": 1}}} for name in ("time", "date")]
    message = {"role": "assistant", "content": "", "thinking": "Hm.", "tool_calls": calls}
    pieces, outcome = await read(
        OLLAMA, json.dumps({"message": message, "done": False}).encode() + b"\n", OLLAMA.answer()
    )
    thought, *called = pieces
    assert thought == Reasoning("Hm.")
    assert [
        (call.index, call.name, call.arguments)
        for call in called
        if isinstance(call, ToolCallDelta) and call.id
    ] == [(0, "time", '{"a": 1}'), (1, "date", '{"a": 1}')]
    assert outcome.finish_reason is FinishReason.TOOL_CALLS


@pytest.mark.parametrize(
    ("conversation", "field"),
    [
        (
            Conversation(HI, tools=(TIME,), tool_choice=ToolChoice(Choice.REQUIRED)),
            "tool_choice",
        ),
        (Conversation((HI[0]._replace(name="ann"),)), "messages[0].name"),
        (
            Conversation((Message(Role.USER, (Image(b"x", None, "image/png", "low"),)),)),
            "messages[0].parts[0].image.detail",
        ),
        (Conversation(HI, tools=(TIME._replace(strict=True),)), "tools[0].strict"),
        (
            Conversation(HI, response_format=SCHEMA._replace(description="A time.")),
            "response_format.description",
        ),
        (
            Conversation((Message(Role.USER, (Image(None, "https://x", "", ""),)),)),
            "messages[0]",
        ),
        (
            Conversation(HI, parameters=Parameters(reasoning_effort="wild")),
            "parameters.reasoning_effort",
        ),
        (
            Conversation(HI, parameters=Parameters(parallel_tool_calls=True)),
            "parameters.parallel_tool_calls",
        ),
    ],
)
async def test_what_ollama_cannot_do_is_refused(conversation: Conversation, field: str) -> None:
    assert await refused(OLLAMA, conversation) == field


# -- all of them -----------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
async def test_nobody_may_ask_for_more_than_is_set(wire: Wire) -> None:
    body = await asked(wire, Conversation(HI, parameters=Parameters(max_tokens=99)), max_tokens=7)
    limits = {**body, **body.get("options", {})}
    names = {"max_tokens", "num_predict"} & limits.keys()
    assert [limits[name] for name in names] == [7]


@pytest.mark.parametrize("wire", [ANTHROPIC, OPENAI], ids=lambda wire: wire.name)
async def test_halves_of_a_character_are_joined_in_each_stream(wire: Wire) -> None:
    first, second = "\ud83d", "\ude00"
    if wire is OPENAI:
        call = {"index": 0, "id": "a", "function": {"name": "time"}}
        body = [
            _chunk(reasoning_content=first),
            _chunk(tool_calls=[{**call, "function": {"name": "time", "arguments": first}}]),
            _chunk(content="x"),
            _chunk(reasoning_content=second),
            _chunk(tool_calls=[{"index": 0, "function": {"arguments": second}}]),
            _chunk("stop"),
            b"data: [DONE]\n\n",
        ]
    else:
        delta = {"type": "thinking_delta", "thinking": first}
        body = [
            ANTHROPIC.start,
            _event(type="content_block_delta", index=0, delta=delta),
            ANTHROPIC.text("x"),
            _event(type="content_block_delta", index=0, delta={**delta, "thinking": second}),
            ANTHROPIC.end("end_turn", 5, 3),
        ]
    pieces, _ = await read(wire, *body)
    assert Reasoning("\U0001f600") in pieces
    if wire is OPENAI:
        assert ToolCallDelta(0, arguments="\U0001f600") in pieces
