"""Odd but valid answers: what a provider's own library makes of them, and no text is lost.

Each case is read by the backend and by the provider's library, and both give the same text.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import anthropic
import ollama
import openai
import pytest
import trio
from grpclib.const import Status

from relay_model.backends.providers import provider
from relay_model.outcome import FinishReason, Outcome, Usage
from relay_model.pieces import Refusal, ToolCallDelta
from tests.support.answers import PROMPT, failure_of, pieces_of, whole_answer
from tests.support.provider_backend import provider_backend
from tests.support.provider_server import CUT, Reply, Step, chopped, provider_server
from tests.support.provider_wires import ANTHROPIC, OLLAMA, OPENAI, Wire

pytestmark = pytest.mark.trio

ROCKET = "\U0001f680"
HIGH, LOW = r"\ud83d", r"\ude80"


@dataclass(frozen=True)
class Case:
    """An answer, and what it says."""

    steps: tuple[Step, ...]
    text: str
    reason: FinishReason = FinishReason.STOP
    headers: Mapping[str, str] | None = None


def chunk(reason: str | None = None, **delta: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


def escaped(text: str) -> bytes:
    """Make a chunk of text that has JSON's escapes in it already."""
    return b'data: {"choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n' % text.encode()


DONE = b"data: [DONE]\n\n"
STOP = chunk("stop") + DONE

OPENAI_CASES = {
    # A reason to end that does not end the answer.
    "a reason with every chunk": Case(
        (chunk("stop", content="a"), chunk("stop", content="b"), chunk("stop", content="c"), DONE),
        "abc",
    ),
    "the last reason counts": Case(
        (chunk("stop", content="a"), chunk("length", content="b"), DONE),
        "ab",
        FinishReason.LENGTH,
    ),
    "text after a reason and its usage": Case(
        (
            chunk("stop", content="a"),
            b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":3}}\n\n',
            chunk(content="b"),
            DONE,
        ),
        "ab",
    ),
    "a reason with every chunk, and no [DONE]": Case(
        (chunk("stop", content="a"), chunk("stop", content="b")), "ab"
    ),
    "an empty reason with every chunk": Case((chunk("", content="a"), STOP), "a"),
    # Characters in two halves.
    "half a character in each of two chunks": Case(
        (escaped(f"a{HIGH}"), escaped(f"{LOW}b"), STOP), f"a{ROCKET}b"
    ),
    "half a character, and an empty chunk between": Case(
        (escaped(HIGH), chunk(content=""), escaped(LOW), STOP), ROCKET
    ),
    "two halves in one chunk": Case((escaped(HIGH + LOW), STOP), ROCKET),
    "a half whose other half never comes": Case((escaped(f"a{HIGH}"), STOP), "a\ufffd"),
    "a half and other text": Case((escaped(HIGH), escaped("a"), STOP), "\ufffda"),
    "a second half alone": Case((escaped(f"a{LOW}b"), STOP), "a\ufffdb"),
    "two first halves": Case((escaped(HIGH), escaped(HIGH + LOW), STOP), f"\ufffd{ROCKET}"),
    # Nothing but a reason.
    "everything was spent on reasoning": Case(
        (chunk(reasoning_content="hm"), chunk("length"), DONE), "", FinishReason.LENGTH
    ),
    "everything was withheld": Case(
        (chunk("content_filter"), DONE), "", FinishReason.CONTENT_FILTER
    ),
    # Odd headers, events and chunks.
    "no content type": Case((chunk(content="a"), STOP), "a", headers={}),
    "another content type": Case(
        (chunk(content="a"), STOP), "a", headers={"content-type": "application/octet-stream"}
    ),
    "a wrong charset": Case(
        ('data: {"choices":[{"delta":{"content":"caf\u00e9"}}]}\n\n'.encode(), STOP),
        "caf\u00e9",
        headers={"content-type": "text/event-stream; charset=iso-8859-1"},
    ),
    "carriage returns alone": Case(
        (chunk(content="a").replace(b"\n", b"\r"), STOP.replace(b"\n", b"\r")), "a"
    ),
    "text after [DONE]": Case((chunk(content="a"), STOP, chunk(content="b")), "a"),
    "more in the line of [DONE]": Case(
        (chunk(content="a"), chunk("stop"), b"data: [DONE] \n\n"), "a"
    ),
    "usage that is none": Case(
        (b'data: {"choices":[{"delta":{"content":"a"}}],"usage":"none"}\n\n', STOP), "a"
    ),
    "a choice that is null": Case((b'data: {"choices":[null]}\n\n', chunk(content="a"), STOP), "a"),
    "no choices at the start and at the end": Case(
        (
            b'data: {"choices":[],"prompt_filter_results":[]}\n\n',
            chunk(content="a"),
            chunk("stop"),
            b'data: {"choices":[]}\n\n',
            DONE,
        ),
        "a",
    ),
    "keep-alive comments": Case(
        (b": OPENROUTER PROCESSING\n\n", chunk(content="a"), b":\n\n:\n", STOP), "a"
    ),
    "what ends a line in Unicode only": Case(
        ('data: {"choices":[{"delta":{"content":"a\u0085b\u2028c\u2029d"}}]}\n\n'.encode(), STOP),
        "a\u0085b\u2028c\u2029d",
    ),
    "more than a MiB in one event": Case(
        (chunk(content="a" * (2**20 + 1)), STOP), "a" * (2**20 + 1)
    ),
    "a reason that is no string": Case(
        (
            b'data: {"choices":[{"delta":{"content":"a"},"finish_reason":{"type":"stop"}}]}\n\n',
            DONE,
        ),
        "a",
        FinishReason.OTHER,
    ),
    "usage with odd details": Case(
        (
            chunk(content="a"),
            b'data: {"choices":[],"usage":{"prompt_tokens":5,"prompt_tokens_details":[]}}\n\n',
            STOP,
        ),
        "a",
    ),
    "a refusal that is no string": Case((chunk(content="a", refusal={}), STOP), "a"),
    "reasoning that is no string": Case((chunk(content="a", reasoning={"x": 1}), STOP), "a"),
    "calls that are no list": Case((chunk(content="a", tool_calls={}), STOP), "a"),
    "names of events, ids and comments": Case(
        (b": hi\nid: 1\nretry: 5\nevent: message\n" + chunk(content="a"), STOP), "a"
    ),
}


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def block(index: int, kind: str = "text", **fields: Any) -> bytes:
    return event("content_block_start", index=index, content_block={"type": kind, **fields})


def delta(index: int, text: str) -> bytes:
    return event("content_block_delta", index=index, delta={"type": "text_delta", "text": text})


def half(index: int, text: str) -> bytes:
    """Make an event of text that has JSON's escapes in it already."""
    return delta(index, "HERE").replace(b"HERE", text.encode())


def message(*content: Any) -> bytes:
    start = {"id": "m", "type": "message", "role": "assistant", "model": "x", "content": content}
    return event(
        "message_start", message={**start, "usage": {"input_tokens": 5, "output_tokens": 1}}
    )


def end(reason: str = "end_turn") -> bytes:
    usage = {"output_tokens": 3}
    return event("message_delta", delta={"stop_reason": reason}, usage=usage) + event(
        "message_stop"
    )


ANTHROPIC_CASES = {
    # Text that is in no delta.
    "text in a block's start": Case((message(), block(0, text="a"), delta(0, "b"), end()), "ab"),
    "text in a block's start alone": Case((message(), block(0, text="a"), end()), "a"),
    "text in the starts of two blocks": Case(
        (message(), block(0, text="a"), delta(0, "b"), block(1, text="c"), delta(1, "d"), end()),
        "abcd",
    ),
    "text in the message's start": Case(
        (message({"type": "text", "text": "a"}), block(1, text=""), delta(1, "b"), end()), "ab"
    ),
    "blocks that are no text": Case(
        (
            message(),
            block(0, "thinking", thinking="hm", signature=""),
            block(1, "tool_use", id="t", name="n", input={}),
            block(2, text="a"),
            end(),
        ),
        "a",
    ),
    # Characters in two halves.
    "half a character in each of two events": Case(
        (message(), block(0, text=""), half(0, f"a{HIGH}"), half(0, f"{LOW}b"), end()),
        f"a{ROCKET}b",
    ),
    "half a character in a block's start": Case(
        (message(), block(0, text="HERE").replace(b"HERE", HIGH.encode()), half(0, LOW), end()),
        ROCKET,
    ),
    "a half whose other half never comes": Case(
        (message(), block(0, text=""), half(0, f"a{HIGH}"), end()), "a\ufffd"
    ),
    # Nothing but a reason.
    "everything was spent on reasoning": Case(
        (message(), block(0, "thinking", thinking="hm", signature=""), end("max_tokens")),
        "",
        FinishReason.LENGTH,
    ),
    "everything was refused": Case((message(), end("refusal")), "", FinishReason.CONTENT_FILTER),
    # Odd headers and events.
    "another content type": Case(
        (message(), block(0, text="a"), end()), "a", headers={"content-type": "text/plain"}
    ),
    "[DONE], as some proxies add": Case((message(), block(0, text="a"), DONE, end()), "a"),
    "unknown events, blocks and deltas": Case(
        (
            message(),
            event("odd", text="no"),
            block(0, text=""),
            event(
                "content_block_delta", index=0, delta={"type": "citations_delta", "citation": {}}
            ),
            delta(0, "a"),
            block(1, "odd", text="no"),
            end(),
        ),
        "a",
    ),
    "usage that is odd": Case(
        (
            message(),
            block(0, text="a"),
            event(
                "message_delta",
                delta={"stop_reason": "end_turn"},
                usage={"output_tokens": 3, "input_tokens": "many", "output_tokens_details": []},
            ),
            event("message_stop"),
        ),
        "a",
    ),
    "what ends a line in Unicode only": Case(
        (message(), block(0, text=""), half(0, "a\u0085b\u2028c\u2029d"), end()),
        "a\u0085b\u2028c\u2029d",
    ),
    "more than a MiB in one event": Case(
        (message(), block(0, text=""), delta(0, "a" * (2**20 + 1)), end()), "a" * (2**20 + 1)
    ),
    "keep-alive comments": Case(
        (message(), b": keep-alive\n\n", block(0, text="a"), b":\n\n", end()), "a"
    ),
    "an event without data": Case(
        (message(), b"event: x\ndata:\n\n", block(0, text="a"), end()), "a"
    ),
    "a ping that has no data": Case(
        (message(), b"event: ping\n\n", block(0, text="a"), end()), "a"
    ),
    "a ping that is no JSON": Case(
        (message(), b"event: ping\ndata: 1.2.3\n\n", block(0, text="a"), end()), "a"
    ),
}


def line(**fields: Any) -> bytes:
    return json.dumps(fields).encode() + b"\n"


def said(text: str, **fields: Any) -> bytes:
    return line(message={"role": "assistant", "content": text}, done=False, **fields)


LAST = line(message={"role": "assistant", "content": ""}, done=True, done_reason="stop")

OLLAMA_CASES = {
    "half a character in each of two lines": Case(
        (said("HERE").replace(b"HERE", HIGH.encode()), said("X").replace(b"X", LOW.encode()), LAST),
        ROCKET,
    ),
    "a half whose other half never comes": Case(
        (said("aX").replace(b"X", HIGH.encode()), LAST), "a\ufffd"
    ),
    "what ends a line in Unicode only": Case(
        (
            json.dumps(
                {"message": {"role": "assistant", "content": "a\u0085b"}, "done": False},
            ).encode()
            + b"\n",
            said("c\u2028d\u2029"),
            LAST,
        ),
        "a\u0085bc\u2028d\u2029",
    ),
    "text in the last line": Case(
        (said("a"), LAST.replace(b'"content": ""', b'"content": "b"')), "ab"
    ),
    "fields that nobody knows": Case((said("a", odd={"x": []}), LAST), "a"),
    "a line without content": Case(
        (line(message={"role": "assistant"}, done=False), said("a"), LAST), "a"
    ),
    "more than a MiB in one line": Case((said("a" * (2**20 + 1)), LAST), "a" * (2**20 + 1)),
    "another content type": Case((said("a"), LAST), "a", headers={"content-type": "text/html"}),
    "counts left out": Case((said("a"), LAST), "a"),
}


def whole(text: str) -> str:
    """Join the halves of characters, as the libraries leave to their users."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def reply_of(wire: Wire, case: Case) -> Reply:
    return Reply(case.steps, headers=wire.headers if case.headers is None else case.headers)


@pytest.mark.parametrize(
    ("wire", "case"),
    [
        *(pytest.param(OPENAI, case, id=f"openai: {name}") for name, case in OPENAI_CASES.items()),
        *(
            pytest.param(ANTHROPIC, case, id=f"anthropic: {name}")
            for name, case in ANTHROPIC_CASES.items()
        ),
        *(pytest.param(OLLAMA, case, id=f"ollama: {name}") for name, case in OLLAMA_CASES.items()),
    ],
)
async def test_no_text_is_lost(wire: Wire, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    # What comes after the end must not depend on how quickly it comes.
    monkeypatch.setattr(provider, "_TRAILER_SECONDS", 0)
    async with provider_backend(wire, reply_of(wire, case)) as (backend, _):
        pieces, outcome = await whole_answer(backend)
    assert ("".join(pieces), outcome.finish_reason) == (case.text, case.reason)
    assert all(pieces)
    "".join(pieces).encode()  # as a message of the contract needs


def openais_text(url: str) -> str:
    """Ask with OpenAI's library; its asynchronous client leaves generators behind."""
    text = ""
    with (
        openai.OpenAI(base_url=f"{url}/v1") as client,
        client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": PROMPT}], stream=True
        ) as stream,
    ):
        for each in stream:
            for choice in filter(None, each.choices):
                text += choice.delta.content or ""
    return text


def anthropics_text(url: str) -> str:
    """Ask with Anthropic's library."""
    with (
        anthropic.Anthropic(base_url=url) as client,
        client.messages.stream(
            model="m", max_tokens=9, messages=[{"role": "user", "content": PROMPT}]
        ) as stream,
    ):
        final = stream.get_final_message()
    return "".join(each.text for each in final.content if each.type == "text")


@pytest.mark.parametrize("case", OPENAI_CASES.values(), ids=list(OPENAI_CASES))
async def test_openais_library_gives_the_same_text(case: Case) -> None:
    async with provider_server(reply_of(OPENAI, case)) as server:
        text = await trio.to_thread.run_sync(openais_text, server.url)
    assert whole(text) == case.text


@pytest.mark.parametrize("case", ANTHROPIC_CASES.values(), ids=list(ANTHROPIC_CASES))
async def test_anthropics_library_gives_the_same_text(case: Case) -> None:
    async with provider_server(reply_of(ANTHROPIC, case)) as server:
        text = await trio.to_thread.run_sync(anthropics_text, server.url)
    assert whole(text) == case.text


def ollamas_text(url: str) -> str:
    """Ask with Ollama's library."""
    client: Any = ollama.Client(url)
    answer = client.chat(model="m", messages=[{"role": "user", "content": PROMPT}], stream=True)
    text = "".join(part.message.content or "" for part in answer)
    client._client.close()  # noqa: SLF001 - it has no other way
    return text


@pytest.mark.parametrize("case", OLLAMA_CASES.values(), ids=list(OLLAMA_CASES))
async def test_ollamas_library_gives_the_same_text(case: Case) -> None:
    async with provider_server(reply_of(OLLAMA, case)) as server:
        text = await trio.to_thread.run_sync(ollamas_text, server.url)
    assert whole(text) == case.text


# -- where the libraries give something else -------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
        [{"type": "thinking", "thinking": []}, {"type": "text", "text": "ab"}],
    ],
)
async def test_a_delta_may_be_a_list_of_parts(content: list[dict[str, Any]]) -> None:
    """OpenAI's library hands the list on."""
    reply = OPENAI.reply(chunk(content=content), STOP)
    async with provider_backend(OPENAI, reply) as (backend, _):
        assert (await whole_answer(backend))[0] == ["ab"]


@pytest.mark.parametrize("wire", [OPENAI, ANTHROPIC], ids=lambda wire: wire.name)
async def test_a_byte_order_mark_is_no_text(wire: Wire) -> None:
    """The libraries lose the first event after it, and so OpenAI's loses its text."""
    first = chunk(content="a") if wire is OPENAI else b""
    reply = wire.reply(b"\xef\xbb\xbf" + first + wire.answer("b"))
    async with provider_backend(wire, reply) as (backend, _):
        assert "".join((await whole_answer(backend))[0]) == ("ab" if first else "b")


async def test_anthropics_usage_may_be_left_out() -> None:
    """Anthropic's library fails at it."""
    last = event("message_delta", delta={"stop_reason": "end_turn"}) + event("message_stop")
    reply = ANTHROPIC.reply(message(), block(0, text="a"), last)
    async with provider_backend(ANTHROPIC, reply) as (backend, _):
        assert (await whole_answer(backend))[0] == ["a"]


async def test_a_delta_without_a_type_is_text() -> None:
    """Anthropic's library drops it."""
    untyped = event("content_block_delta", index=0, delta={"text": "b"})
    reply = ANTHROPIC.reply(message(), block(0, text="a"), untyped, delta(0, "c"), end())
    async with provider_backend(ANTHROPIC, reply) as (backend, _):
        assert (await whole_answer(backend))[0] == ["a", "b", "c"]


async def test_arguments_may_come_as_the_object_that_they_should_be() -> None:
    """OpenAI's library hands the object on."""
    call = {"index": None, "id": 5, "function": {"name": "time", "arguments": {"zone": "Z"}}}
    async with provider_backend(OPENAI, OPENAI.reply(chunk(tool_calls=[call]), STOP)) as (
        backend,
        _,
    ):
        assert (await pieces_of(backend))[0] == [ToolCallDelta(0, "5", "time", '{"zone": "Z"}')]


async def test_a_refusal_is_not_lost_beside_text() -> None:
    reply = OPENAI.reply(chunk(content="a", refusal="b"), chunk(refusal="c"), STOP)
    async with provider_backend(OPENAI, reply) as (backend, _):
        assert (await pieces_of(backend))[0] == ["a", Refusal("b"), Refusal("c")]


async def test_usage_counts_also_when_it_comes_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider, "_TRAILER_SECONDS", 0)
    reply = OPENAI.reply(*chopped(OPENAI.answer("x"), 20))
    async with provider_backend(OPENAI, reply) as (backend, _):
        assert (await whole_answer(backend))[1] == Outcome(FinishReason.STOP, Usage(5, 3))


async def test_ollama_may_say_done_with_every_line() -> None:
    lines = [OLLAMA.text(word).replace(b"false", b'true,"done_reason":"stop"') for word in "abc"]
    async with provider_backend(OLLAMA, OLLAMA.reply(*lines)) as (backend, _):
        assert await whole_answer(backend) == (["a", "b", "c"], Outcome(FinishReason.STOP))


async def test_anthropic_may_go_on_after_its_end() -> None:
    reply = ANTHROPIC.reply(ANTHROPIC.answer("a") + delta(0, "b"))
    async with provider_backend(ANTHROPIC, reply) as (backend, _):
        assert (await whole_answer(backend))[0] == ["a", "b"]


@pytest.mark.parametrize("text", ["a", ""])
async def test_a_reason_does_not_make_a_lost_connection_an_end(text: str) -> None:
    """A server that gives one with every chunk may have been in the middle of its answer."""
    reply = OPENAI.reply(chunk(content="x"), chunk("stop", content=text), CUT)
    async with provider_backend(OPENAI, reply) as (backend, _):
        assert (await failure_of(backend))[1].status is Status.UNAVAILABLE
