"""Events as bytes, and what a browser makes of them."""

import json
import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay_gateway.relay import sse
from relay_gateway.relay.outcome import Cause, Outcome
from tests.support.event_stream import DONE, Event, Parser, comments, normalized, parse

# Rich in what has a meaning in an event stream, next to everything else that is Unicode.
PIECES = st.sampled_from(["\r", "\n", "\r\n", " ", ":", "data: ", "event: done", "id: 1", "\0"])
TOKENS = st.lists(st.lists(st.one_of(PIECES, st.text(max_size=5)), max_size=6).map("".join))


def streamed(*tokens: str) -> list[str]:
    """Encode tokens as one stream, parse it, and give what arrives."""
    encoder = sse.TextEncoder()
    *events, last = parse(b"".join(map(encoder.token, tokens)) + sse.DONE)
    assert last == DONE
    assert {(event.type, event.last_event_id) for event in events} <= {("message", "")}
    return [event.data for event in events]


@pytest.mark.parametrize(
    "token",
    [
        "plain",
        "two\nlines",
        "\n",
        "\n\n",
        "\nbefore and after\n",
        " one space",
        "  two spaces",
        " ",
        "trailing space ",
        "",
        "\U0001f469\u200d\U0001f680",
        "nul \0 nul",
        "\ufeffbyte order mark",
        "data: x",
        "\ndata: [DONE]",
        "\n\nevent: done",
        "event: error",
        "id: 7\nretry: 1\n",
        ": ping",
        "\ttab",
        "no line breaks here: \x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029",
    ],
)
def test_token_arrives_as_it_was_sent(token: str) -> None:
    assert streamed(token) == [token]
    assert streamed("before", token, "after") == ["before", token, "after"]


@pytest.mark.parametrize(
    ("token", "arrives"),
    [
        ("one\r\ntwo", "one\ntwo"),
        ("one\rtwo", "one\ntwo"),
        ("\r\r", "\n\n"),
        ("\n\r", "\n\n"),
        ("\r\n\r\n", "\n\n"),
        ("one\r\ntwo\rthree\nfour", "one\ntwo\nthree\nfour"),
    ],
)
def test_carriage_returns_arrive_as_line_feeds(token: str, arrives: str) -> None:
    assert streamed(token) == [arrives]


@pytest.mark.parametrize(
    ("tokens", "arrive"),
    [
        (("one\r", "\ntwo"), ["one\n", "two"]),
        (("one\r", "\n"), ["one\n", ""]),
        (("one\r", "\n\n"), ["one\n", "\n"]),
        (("one\r", "\n", "\n"), ["one\n", "", "\n"]),
        (("one\r", "two", "\nthree"), ["one\n", "two", "\nthree"]),
        (("one\r", "\r\n"), ["one\n", "\n"]),
        (("one\r", "\n\r", "\n"), ["one\n", "\n", ""]),
        (("one\r", "", "\ntwo"), ["one\n", "", "two"]),
    ],
)
def test_crlf_in_two_tokens_is_one_line_break(tokens: tuple[str, ...], arrive: list[str]) -> None:
    assert streamed(*tokens) == arrive


@given(TOKENS)
@example(["\r", "", "\n"])
def test_any_text_arrives(tokens: list[str]) -> None:
    arrived = streamed(*tokens)
    assert len(arrived) == len(tokens)
    assert "".join(arrived) == normalized("".join(tokens))


@given(TOKENS, st.integers(min_value=1, max_value=7))
def test_stream_may_be_cut_into_pieces_anywhere(tokens: list[str], size: int) -> None:
    encoder = sse.TextEncoder()
    body = b"".join(map(encoder.token, tokens)) + sse.PING + sse.DONE
    parser = Parser()
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    assert [event for piece in pieces for event in parser.feed(piece)] == parse(body)


@given(TOKENS, st.data())
def test_stream_that_ends_early_gives_whole_events_only(
    tokens: list[str], data: st.DataObject
) -> None:
    encoder = sse.TextEncoder()
    body = b"".join(map(encoder.token, tokens)) + sse.DONE
    end = data.draw(st.integers(min_value=0, max_value=len(body)))
    arrived = parse(body[:end])
    assert arrived == parse(body)[: len(arrived)]


@given(TOKENS)
def test_any_text_arrives_exactly_in_json(tokens: list[str]) -> None:
    encoder = sse.JsonEncoder()
    events = parse(b"".join(map(encoder.token, tokens)))
    assert [json.loads(event.data) for event in events] == [{"token": token} for token in tokens]


def test_events_on_the_wire() -> None:
    assert sse.TextEncoder().token("hi") == b"data: hi\n\n"
    assert sse.TextEncoder().token("a\nb") == b"data: a\ndata: b\n\n"
    assert sse.JsonEncoder().token("\u00e9\r") == 'data: {"token": "\u00e9\\r"}\n\n'.encode()
    assert sse.PING == b": ping\n\n"
    assert sse.DONE == b"event: done\ndata: [DONE]\n\n"


def test_ping_is_seen_by_no_page() -> None:
    assert parse(sse.PING * 2) == []
    assert comments(sse.PING * 2) == [" ping", " ping"]


def test_error_in_text_shows_the_message_alone() -> None:
    event = sse.TextEncoder().error(Outcome(Cause.MODEL_ERROR, "INTERNAL", "It broke."))
    assert event == b"event: error\ndata: It broke.\n\n"


def test_error_in_text_is_one_line() -> None:
    event = sse.TextEncoder().error(Outcome(Cause.MODEL_ERROR, "X", "one\r\ntwo\n\nevent: done"))
    assert parse(event) == [Event("one two  event: done", "error")]


def test_error_in_json_has_code_message_and_cause() -> None:
    (event,) = parse(
        sse.JsonEncoder().error(Outcome(Cause.DEADLINE, "C", "Too \u201clong\u201d\n"))
    )
    assert event.type == "error"
    assert json.loads(event.data) == {
        "code": "C",
        "message": "Too \u201clong\u201d\n",
        "cause": "deadline",
    }


IMPORT_ALONE = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("sse", sys.argv[1])
spec.loader.exec_module(importlib.util.module_from_spec(spec))
print(sorted({name.partition(".")[0] for name in sys.modules} & {"anyio", "trio", "asyncio"}))
"""


def test_encoder_imports_no_event_loop() -> None:
    """In an interpreter of its own: the tests have imported all of them."""
    command = [sys.executable, "-I", "-c", IMPORT_ALONE, sse.__file__]
    result = subprocess.run(command, check=True, capture_output=True, encoding="utf-8")
    assert result.stdout == "[]\n"
