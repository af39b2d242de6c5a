"""Any text survives every form of both APIs, and so does any call of a tool, however it is cut."""

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import quote

import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from trio.testing import MockClock

from relay_proto.ai import GenerateResponse, ListModelsResponse, ToolCallDelta
from relay_proto.ai import Model as ModelOfService
from tests.support.asgi import Client, Exchange
from tests.support.event_stream import Event, normalized, parse, texts
from tests.support.gateways import STREAM, gateway_to
from tests.support.models import Model, Step

CHAT = "/v1/chat/completions"
MODELS = ListModelsResponse([ModelOfService("demo")])

#: Any text that UTF-8 can write: all but halves of surrogate pairs.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
TOKENS = st.lists(TEXT, max_size=6)
ODD = [
    "\r",
    "\n",
    "",
    " x",
    "\u2028\u0085",
    "\0",
    "data: [DONE]\n\n",
    "\ufeff",
    '"\\',
    "\U0001f600",
]


def on_gateway(model: Model, ask: Callable[[Client], Awaitable[None]]) -> None:
    """Ask a gateway in an event loop of its own."""

    async def run() -> None:
        async with gateway_to(model, max_prompt_bytes=1000) as client:
            await ask(client)

    trio.run(run, clock=MockClock(autojump_threshold=0))


async def post(client: Client, path: str, fields: Any, *, is_ascii: bool = True) -> Exchange:
    body = json.dumps(fields, ensure_ascii=is_ascii).encode()
    return await client.send(path, method="POST", body=body)


def hi(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "hi"}], **fields}


def payloads(exchange: Exchange) -> list[Any]:
    """Give the JSON of all events but the last."""
    return [json.loads(event.data) for event in parse(exchange.body)[:-1]]


def chunks(exchange: Exchange) -> list[ChatCompletionChunk]:
    """Give the chunks of a complete stream as OpenAI's library reads them."""
    *events, last = parse(exchange.body)
    assert last == Event("[DONE]")
    return [ChatCompletionChunk.model_validate_json(event.data) for event in events]


def whole(exchange: Exchange) -> Any:
    return ChatCompletion.model_validate_json(exchange.body).choices[0].message


# -- what is asked ---------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(TEXT.filter(bool), TEXT)
@example("".join(ODD), "\r\n")
@example("a+b&c=d;e%20#", "%")
def test_any_prompt_reaches_the_model(prompt: str, session: str) -> None:
    model = Model(["x"], models=MODELS)

    async def ask(client: Client) -> None:
        query = f"prompt={quote(prompt, safe='')}&session_id={quote(session, safe='')}"
        await client.send(f"{STREAM}?{query}")
        for is_ascii in (True, False):
            fields = {"prompt": prompt, "session_id": session}
            await post(client, STREAM, fields, is_ascii=is_ascii)
            messages = [{"role": "user", "content": prompt}]
            for path in (STREAM, CHAT):
                await post(client, path, {"messages": messages}, is_ascii=is_ascii)

    on_gateway(model, ask)
    assert [request.prompt for request in model.requests] == [prompt] * 7
    assert [request.session_id for request in model.requests][:2] == [session] * 2
    said = [part.text for each in model.requests for m in each.messages for part in m.parts]
    assert said == [prompt] * 4


@settings(max_examples=60, deadline=None)
@given(TEXT, TEXT, TEXT)
@example("\r", "\n", "\0")
def test_any_conversation_reaches_the_model(system: str, answer: str, arguments: str) -> None:
    model = Model(["x"], models=MODELS)
    function = {"name": "f", "arguments": arguments}
    messages = [
        {"role": "system", "content": [{"type": "text", "text": system}]},
        {"role": "assistant", "content": answer, "reasoning_content": system},
        {"role": "assistant", "tool_calls": [{"id": answer, "function": function}]},
        {"role": "tool", "content": answer, "tool_call_id": answer},
    ]

    async def ask(client: Client) -> None:
        for path in (STREAM, CHAT):
            await post(client, path, {"messages": messages})

    on_gateway(model, ask)
    for request in model.requests:
        first, second, third, fourth = request.messages
        assert [part.text for part in first.parts] == [system]
        parts = second.parts
        assert "".join(part.reasoning or "" for part in parts) == system
        assert "".join(part.text or "" for part in parts) == answer
        (call,) = [part.tool_call for part in third.parts]
        assert call is not None
        assert (call.id, call.arguments) == (answer, arguments)
        assert ([part.text for part in fourth.parts], fourth.tool_call_id) == ([answer], answer)
    assert len(model.requests) == 2


# -- what is answered ------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(TOKENS)
@example(ODD)
@example(["a\r", "", "\nb"])
def test_any_answer_survives_all_forms(tokens: list[str]) -> None:
    answer = "".join(tokens)

    async def ask(client: Client) -> None:
        as_text = [
            await client.send(f"{STREAM}?prompt=hi"),
            await post(client, STREAM, {"prompt": "hi"}),
        ]
        as_json = [
            await client.send(f"{STREAM}?prompt=hi&format=json"),
            await post(client, STREAM, {"prompt": "hi", "format": "json"}),
        ]
        for exchange in as_text:
            assert "".join(texts(exchange.body)) == normalized(answer)
        for exchange in as_json:
            assert payloads(exchange) == [{"token": token} for token in tokens]
        streamed = chunks(await post(client, CHAT, hi(stream=True)))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed) == answer
        assert whole(await post(client, CHAT, hi())).content == answer

    on_gateway(Model(list(tokens)), ask)


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXT.filter(bool), min_size=1, max_size=6))
@example(list(filter(None, ODD)))
def test_any_reasoning_and_any_refusal_survive_all_forms(pieces: list[str]) -> None:
    script: list[Step] = [GenerateResponse(reasoning=each) for each in pieces]
    script += [GenerateResponse(refusal=each) for each in pieces]
    said = "".join(pieces)

    async def ask(client: Client) -> None:
        *events, _ = parse((await client.send(f"{STREAM}?prompt=hi")).body)
        for kind in ("reasoning", "message"):
            read = [event.data for event in events if event.type == kind]
            assert "".join(read) == normalized(said)
        as_json = payloads(await client.send(f"{STREAM}?prompt=hi&format=json"))
        assert as_json == [{name: each} for name in ("reasoning", "refusal") for each in pieces]
        deltas = [
            c.choices[0].delta.to_dict() for c in chunks(await post(client, CHAT, hi(stream=True)))
        ]
        message = whole(await post(client, CHAT, hi())).to_dict()
        for name in ("reasoning_content", "refusal"):
            assert "".join(str(delta.get(name) or "") for delta in deltas) == said
            assert message[name] == said

    on_gateway(Model(script), ask)


# -- calls of tools --------------------------------------------------------------------------------

#: Two calls whose pieces come in any order: which call the next piece belongs to, and the piece.
CALLS = st.lists(st.tuples(st.integers(0, 1), TEXT), max_size=12)


def _script(pieces: Sequence[tuple[int, str]]) -> list[ToolCallDelta]:
    """Give the pieces; the first one of a call has its id and name."""
    known: set[int] = set()
    script: list[ToolCallDelta] = []
    for index, text in ((0, ""), *pieces):
        named = () if index in known else (f"id-{index}", f"tool-{index}")
        id_, name = named or ("", "")
        script.append(ToolCallDelta(index, id_, name, text))
        known.add(index)
    return script


def _calls(pieces: Sequence[tuple[int, str]]) -> list[tuple[str, str, str]]:
    """Give what the pieces are, put together."""
    indices = sorted({0, *(index for index, _ in pieces)})
    return [
        (f"id-{i}", f"tool-{i}", "".join(text for index, text in pieces if index == i))
        for i in indices
    ]


def _of_message(message: Any) -> list[tuple[str, str, str]]:
    return [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls]


def _of_events(events: Sequence[Any]) -> list[tuple[str, str, str]]:
    calls: dict[int, list[str]] = {}
    for event in events:
        call = calls.setdefault(event["index"], ["", "", ""])
        call[0] += event.get("id", "")
        call[1] += event.get("name", "")
        call[2] += event["arguments"]
    return [(id_, name, arguments) for _, (id_, name, arguments) in sorted(calls.items())]


def check_split(pieces: Sequence[tuple[int, str]]) -> None:
    """See that a client of each form puts the calls together."""
    expected = _calls(pieces)

    async def ask(client: Client) -> None:
        for name in ("text", "json"):
            exchange = await client.send(f"{STREAM}?prompt=hi&format={name}")
            assert _of_events(payloads(exchange)) == expected
        state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
        for chunk in chunks(await post(client, CHAT, hi(stream=True))):
            state.handle_chunk(chunk)
        assert _of_message(state.get_final_completion().choices[0].message) == expected
        assert _of_message(whole(await post(client, CHAT, hi()))) == expected

    on_gateway(Model([GenerateResponse(tool_call=each) for each in _script(pieces)]), ask)


@settings(max_examples=100, deadline=None)
@given(CALLS)
@example([(1, '{"a'), (0, "{"), (1, '": "\\ud8'), (0, "}"), (1, '3d\\ude00"}'), (0, "\r\n")])
def test_any_split_of_a_call_is_put_together(pieces: list[tuple[int, str]]) -> None:
    check_split(pieces)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_a_call_that_is_cut_everywhere_is_put_together(size: int) -> None:
    arguments = json.dumps({"a": [1, 2.5, None], "\u00e9\u2028": '"\\\n'}, ensure_ascii=False)
    cut = [(0, arguments[start : start + size]) for start in range(0, len(arguments), size)]
    assert _calls(cut) == [("id-0", "tool-0", arguments)]
    check_split(cut)
