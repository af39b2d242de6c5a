"""Whole answers: their text, how they ended, and what was asked for."""

from itertools import pairwise
from typing import Any

import pytest
import trio

from relay_model.backends.providers import openai
from relay_model.conversation import Conversation
from relay_model.outcome import FinishReason, Outcome, Usage
from tests.model.providers.conftest import KEY
from tests.support.answers import PROMPT, whole_answer
from tests.support.provider_backend import provider_backend
from tests.support.provider_server import STALL, Reply, chopped
from tests.support.provider_wires import ANTHROPIC, OLLAMA, OPENAI, Wire

pytestmark = pytest.mark.trio

# Characters of several bytes, and what ends a line in Unicode but not in these formats.
WORDS = (
    "Once ",
    "upon\n\n",
    "\U0001f469\u200d\U0001f680 \u65e5\u672c",
    "data: x",
    "caf\u00e9\u2028",
)


def whole(wire: Wire, *words: str) -> tuple[list[str], Outcome]:
    """Give what an answer is read as."""
    return list(words), Outcome(FinishReason.STOP, wire.usage)


async def test_text_comes_piece_by_piece_with_how_it_ended(wire: Wire) -> None:
    async with provider_backend(wire, wire.reply(wire.answer(*WORDS))) as (backend, server):
        assert await whole_answer(backend) == whole(wire, *WORDS)
    (exchange,) = server.exchanges
    assert exchange.path == wire.endpoint
    assert exchange.body["model"] == "m"
    assert exchange.body["stream"] is not False
    assert exchange.body["messages"] == [{"role": "user", "content": PROMPT}]
    assert exchange.headers["authorization"] == f"Bearer {KEY}"


async def test_each_piece_is_there_as_soon_as_it_was_sent(wire: Wire) -> None:
    gates = [trio.Event() for _ in WORDS]
    steps = [
        step for word, gate in zip(WORDS, gates, strict=True) for step in (gate, wire.text(word))
    ]
    reply = wire.reply(wire.start or wire.noise, *steps, wire.end(wire.reasons["stop"], 5, 3))
    gates[0].set()
    async with (
        provider_backend(wire, reply) as (backend, _),
        backend.stream(Conversation.of(PROMPT)) as pieces,
    ):
        for word, (_, gate) in zip(WORDS, pairwise([*gates, trio.Event()]), strict=True):
            assert await anext(pieces) == word
            gate.set()
        assert await anext(pieces, None) is None


async def test_chunks_may_end_anywhere_and_lines_in_both_ways(wire: Wire) -> None:
    unix = wire.answer(*WORDS)
    replies = [
        wire.reply(*chopped(answer, size))
        for answer in (unix, unix.replace(b"\n", b"\r\n"))
        for size in (1, 7, 1000)
    ]
    async with provider_backend(wire, *replies) as (backend, _):
        for _ in replies:
            assert await whole_answer(backend) == whole(wire, *WORDS)


async def test_pings_and_comments_are_not_text(wire: Wire) -> None:
    pieces = [wire.start, *map(wire.text, WORDS), wire.end(wire.reasons["stop"], 5, 3)]
    reply = wire.reply(b"".join(piece + wire.noise for piece in pieces))
    async with provider_backend(wire, reply) as (backend, _):
        assert await whole_answer(backend) == whole(wire, *WORDS)


REASONS = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "filter": FinishReason.CONTENT_FILTER,
    "other": FinishReason.OTHER,
}


async def test_why_it_ended(wire: Wire) -> None:
    replies = [wire.reply(wire.answer("x", reason=reason)) for reason in wire.reasons]
    async with provider_backend(wire, *replies) as (backend, _):
        for reason in wire.reasons:
            assert await whole_answer(backend) == (["x"], Outcome(REASONS[reason], wire.usage))


async def test_an_answer_may_be_empty(wire: Wire) -> None:
    async with provider_backend(wire, wire.reply(wire.answer())) as (backend, _):
        assert await whole_answer(backend) == whole(wire)


async def test_one_connection_serves_answer_after_answer(wire: Wire) -> None:
    async with provider_backend(wire, wire.reply(wire.answer(*WORDS))) as (backend, server):
        for _ in range(3):
            assert await whole_answer(backend) == whole(wire, *WORDS)
        assert len(server.exchanges) == 3
        assert server.connections_made == 1


async def test_several_answers_at_once(wire: Wire) -> None:
    async with provider_backend(wire, wire.reply(*chopped(wire.answer(*WORDS), 50))) as (
        backend,
        server,
    ):

        async def ask() -> None:
            assert await whole_answer(backend) == whole(wire, *WORDS)

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(ask)
        assert len(server.exchanges) == 10


async def test_a_server_that_never_ends_its_response_does_not_hold_up_the_answer(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay_model.backends.providers.provider._TRAILER_SECONDS", 0.05)
    async with provider_backend(wire, wire.reply(wire.answer("x"), STALL)) as (backend, server):
        with trio.fail_after(5):
            assert await whole_answer(backend) == whole(wire, "x")
            await server.exchanges[0].closed.wait()


# -- what is asked for --------------------------------------------------------------------------


async def body_of_a_request(wire: Wire, **settings: Any) -> Any:
    async with provider_backend(wire, wire.reply(wire.answer("x")), **settings) as (
        backend,
        server,
    ):
        await whole_answer(backend)
    return server.exchanges[0].body


async def test_settings_are_asked_for(wire: Wire) -> None:
    body = await body_of_a_request(wire, max_tokens=7, temperature=0.5, system_prompt="Be brief.")
    messages = [{"role": "user", "content": PROMPT}]
    told = {"role": "system", "content": "Be brief."}
    if wire is ANTHROPIC:
        assert (body["max_tokens"], body["temperature"], body["system"]) == (7, 0.5, "Be brief.")
        assert body["messages"] == messages
    elif wire is OPENAI:
        assert (body["max_tokens"], body["temperature"]) == (7, 0.5)
        assert body["messages"] == [told, *messages]
    else:
        assert body["options"] == {"num_predict": 7, "temperature": 0.5}
        assert body["messages"] == [told, *messages]


async def test_what_is_not_set_is_not_asked_for(wire: Wire) -> None:
    body = await body_of_a_request(wire)
    assert "temperature" not in {**body, **body.get("options", {})}
    assert "system" not in body


async def test_openais_own_api_is_asked_in_its_newer_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai, "_OWN_HOST", "127.0.0.1")
    body = await body_of_a_request(OPENAI, max_tokens=7)
    assert body["max_completion_tokens"] == 7
    assert "max_tokens" not in body


# -- servers that speak OpenAI's API more or less ------------------------------------------------


async def test_a_server_that_does_not_count() -> None:
    end = OPENAI.end("stop", 0, 0).partition(b"\n\n")[0] + b"\n\ndata: [DONE]\n\n"
    reply = OPENAI.reply(OPENAI.start + OPENAI.text("x") + end)
    async with provider_backend(OPENAI, reply) as (backend, _):
        assert await whole_answer(backend) == (["x"], Outcome(FinishReason.STOP))


async def test_a_server_that_refuses_to_be_asked_for_usage_is_asked_without() -> None:
    refusal = OPENAI.refusal(400, "Unrecognized request argument supplied: stream_options")
    answer = OPENAI.reply(OPENAI.answer("x"))
    async with provider_backend(OPENAI, refusal, answer, retries=0) as (backend, server):
        assert (await whole_answer(backend))[0] == ["x"]
        assert (await whole_answer(backend))[0] == ["x"]
    asked_for_usage = ["stream_options" in exchange.body for exchange in server.exchanges]
    assert asked_for_usage == [True, False, False]


async def test_a_server_that_says_nothing_after_the_reason() -> None:
    last = OPENAI.end("stop", 0, 0).partition(b"\n\n")[0] + b"\n\n"
    reply = OPENAI.reply(OPENAI.start + OPENAI.text("x") + last)
    async with provider_backend(OPENAI, reply) as (backend, _):
        assert await whole_answer(backend) == (["x"], Outcome(FinishReason.STOP))


async def test_text_in_the_chunk_of_the_reason_counts() -> None:
    chunk = b'data: {"choices":[{"delta":{"content":"y"},"finish_reason":"length"}]}\n\n'
    last = b'data: {"choices":null,"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n'
    reply = OPENAI.reply(OPENAI.text("x") + chunk + last)
    async with provider_backend(OPENAI, reply) as (backend, _):
        expected = Outcome(FinishReason.LENGTH, Usage(1, 2))
        assert await whole_answer(backend) == (["x", "y"], expected)


async def test_a_server_that_asks_for_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    async with provider_backend(OPENAI, OPENAI.reply(OPENAI.answer("x"))) as (backend, server):
        await whole_answer(backend)
    assert server.exchanges[0].headers["authorization"] == "Bearer none"


async def test_a_count_that_is_none_is_left_out() -> None:
    last = b'{"message":{"role":"assistant","content":"x"},"done":true,"eval_count":-1}\n'
    reply = Reply((last,), headers=OLLAMA.headers)
    async with provider_backend(OLLAMA, reply) as (backend, _):
        assert await whole_answer(backend) == (["x"], Outcome(FinishReason.UNSPECIFIED))


async def test_thoughts_are_not_text() -> None:
    thought = b'{"message":{"role":"assistant","content":"","thinking":"hm"},"done":false}\n'
    async with provider_backend(OLLAMA, OLLAMA.reply(thought + OLLAMA.answer("x"))) as (backend, _):
        assert (await whole_answer(backend))[0] == ["x"]
