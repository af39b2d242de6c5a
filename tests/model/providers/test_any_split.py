"""Text and calls of tools arrive however a provider cuts them, and however the network cuts that.

OpenAI and Anthropic send the arguments in pieces of text. JavaScript cuts between the halves of a
surrogate pair, so a piece may end in one. Ollama sends a call whole, as JSON.
"""

import json
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from relay_model.outcome import FinishReason
from relay_model.pieces import ToolCallDelta
from tests.support.answers import pieces_of, text
from tests.support.provider_backend import provider_backend
from tests.support.provider_server import chopped
from tests.support.provider_wires import ANTHROPIC, OLLAMA, OPENAI, Wire

PROPERTY = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda each: st.lists(each, max_size=3) | st.dictionaries(TEXT, each, max_size=3),
    max_leaves=6,
)
ARGUMENTS = st.dictionaries(TEXT, VALUES, max_size=3)
#: Where the arguments are cut, as shares of their length; after how many bytes the network cuts.
CUTS = st.lists(st.floats(0, 1), max_size=5)
SIZES = st.integers(1, 40)
EMOJI = {"\U0001f600": "\U0001f469\u200d\U0001f680"}
EVERYWHERE = [share / 64 for share in range(64)]


def cut(arguments: str, cuts: Iterable[float]) -> list[str]:
    """Cut a text between any two of JavaScript's characters, which are halves of some of ours."""
    units = arguments.encode("utf-16-le")
    places = sorted(2 * int(each * (len(units) // 2)) for each in cuts)
    ends = [*places, len(units)]
    return [
        units[start:end].decode("utf-16-le", "surrogatepass")
        for start, end in zip([0, *places], ends, strict=True)
    ]


def put_together(wire: Wire, body: bytes, size: int) -> list[tuple[str, str]]:
    """Read an answer of tool calls that the network cuts, and give their names and arguments."""
    calls: dict[int, list[str]] = {}

    async def read() -> None:
        async with provider_backend(wire, wire.reply(*chopped(body, size))) as (backend, _):
            pieces, outcome = await pieces_of(backend)
        assert outcome.finish_reason is FinishReason.TOOL_CALLS
        for piece in pieces:
            assert isinstance(piece, ToolCallDelta)
            piece.arguments.encode()  # has no half of a pair
            call = calls.setdefault(piece.index, ["", ""])
            call[0] += piece.name
            call[1] += piece.arguments

    trio.run(read)
    return [(name, arguments) for _, (name, arguments) in sorted(calls.items())]


# -- OpenAI ----------------------------------------------------------------------------------------


def _chunk(reason: str | None = None, **delta: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return f"data: {json.dumps({'choices': [choice]})}\n\n".encode()


def _openai(calls: Sequence[Sequence[str]]) -> bytes:
    """Write calls whose pieces take turns, as parallel calls may."""
    first = [
        {"index": i, "id": f"id-{i}", "type": "function", "function": {"name": f"tool-{i}"}}
        for i in range(len(calls))
    ]
    body = [_chunk(tool_calls=[call]) for call in first]
    for turn in zip_longest(*calls):
        pieces = [
            {"index": index, "function": {"arguments": piece}}
            for index, piece in enumerate(turn)
            if piece is not None
        ]
        body += [_chunk(tool_calls=[piece]) for piece in pieces]
    return b"".join([*body, _chunk("tool_calls"), b"data: [DONE]\n\n"])


@PROPERTY
@given(st.lists(st.tuples(ARGUMENTS, CUTS), min_size=1, max_size=3), SIZES)
@example([(EMOJI, EVERYWHERE), (EMOJI, [])], 1)
def test_openai(calls: list[tuple[dict[str, Any], list[float]]], size: int) -> None:
    written = [json.dumps(arguments, ensure_ascii=False) for arguments, _ in calls]
    body = _openai([cut(each, cuts) for each, (_, cuts) in zip(written, calls, strict=True)])
    expected = [(f"tool-{index}", each) for index, each in enumerate(written)]
    assert put_together(OPENAI, body, size) == expected


# -- Anthropic -------------------------------------------------------------------------------------


def _event(**fields: Any) -> bytes:
    return f"event: {fields['type']}\ndata: {json.dumps(fields)}\n\n".encode()


def _anthropic(calls: Sequence[Sequence[str]]) -> bytes:
    body = [_event(type="message_start", message={"usage": {"input_tokens": 2}})]
    for index, pieces in enumerate(calls):
        named = {"id": f"id-{index}", "name": f"tool-{index}"}
        tool: dict[str, Any] = {"type": "tool_use", "input": {}, **named}
        body.append(_event(type="content_block_start", index=index, content_block=tool))
        for piece in pieces:
            delta = {"type": "input_json_delta", "partial_json": piece}
            body.append(_event(type="content_block_delta", index=index, delta=delta))
        body.append(_event(type="content_block_stop", index=index))
    end = {"stop_reason": "tool_use"}
    body.append(_event(type="message_delta", delta=end, usage={"output_tokens": 7}))
    return b"".join([*body, _event(type="message_stop")])


@PROPERTY
@given(st.lists(st.tuples(ARGUMENTS, CUTS), min_size=1, max_size=3), SIZES)
@example([(EMOJI, EVERYWHERE), (EMOJI, [])], 1)
def test_anthropic(calls: list[tuple[dict[str, Any], list[float]]], size: int) -> None:
    written = [json.dumps(arguments, ensure_ascii=False) for arguments, _ in calls]
    body = _anthropic([cut(each, cuts) for each, (_, cuts) in zip(written, calls, strict=True)])
    expected = [(f"tool-{index}", each) for index, each in enumerate(written)]
    assert put_together(ANTHROPIC, body, size) == expected


# -- Ollama ----------------------------------------------------------------------------------------


@PROPERTY
@given(st.lists(ARGUMENTS, min_size=1, max_size=3), SIZES, st.booleans())
@example([{"\x85": "\u2028"}], 3, False)  # noqa: FBT003
@example([EMOJI, {}], 1, False)  # noqa: FBT003 - hypothesis's example has positions
def test_ollama(calls: list[dict[str, Any]], size: int, is_ascii: bool) -> None:  # noqa: FBT001 - and so has `given`
    sent = [{"function": {"name": f"tool-{i}", "arguments": a}} for i, a in enumerate(calls)]
    message = {"role": "assistant", "content": "", "tool_calls": sent}
    line = json.dumps({"message": message, "done": False}, ensure_ascii=is_ascii)
    body = line.encode() + b"\n" + OLLAMA.answer()
    read = put_together(OLLAMA, body, size)
    assert [(name, json.loads(arguments)) for name, arguments in read] == [
        (f"tool-{index}", arguments) for index, arguments in enumerate(calls)
    ]


# -- text ------------------------------------------------------------------------------------------


@PROPERTY
@given(st.lists(TEXT.filter(bool), min_size=1, max_size=4), SIZES)
@example(["\x85", "\u2028 \u2029", "\x0b\x0c\x1c\x1d\x1e", "\r\n", "\ufeff", "\0"], 1)
def test_any_text(wire: Wire, words: list[str], size: int) -> None:
    async def read() -> None:
        reply = wire.reply(*chopped(wire.answer(*words), size))
        async with provider_backend(wire, reply) as (backend, _):
            pieces, outcome = await pieces_of(backend)
        assert outcome.finish_reason is FinishReason.STOP
        assert "".join(map(text, pieces)) == "".join(words)

    trio.run(read)


def test_cuts_are_between_halves() -> None:
    assert cut("a\U0001f600b", [0, 0.5]) == ["", "a\ud83d", "\ude00b"]
    with pytest.raises(UnicodeEncodeError):
        "".join(cut("\U0001f600", [0.5])).encode()
