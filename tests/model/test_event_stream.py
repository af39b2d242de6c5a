"""The decoder of a provider's server-sent events, and halves of characters, with no IO."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_model.backends.providers import event_stream
from relay_model.backends.providers.event_stream import Event, EventDecoder
from relay_model.backends.providers.surrogates import SurrogateJoiner

STREAM = (
    "\ufeff: a comment\n"
    "event: first\ndata: one\n\n"
    "data:two\ndata: three\nid: 7\nretry: 9\nunknown: x\nunknown\n\n"
    "event: without data\n\n"
    "data\n\n"
    "data:  caf\u00e9 \u2028\x85\x0b\x0c\x1c\n\n"
    "data: has no end"
).encode()

EVENTS = [
    Event("first", "one"),
    Event("", "two\nthree"),
    Event("", " caf\u00e9 \u2028\x85\x0b\x0c\x1c"),
]


def decoded(*chunks: bytes) -> list[Event]:
    decoder = EventDecoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)]


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_chunks_may_end_anywhere(end: bytes, size: int) -> None:
    stream = STREAM.replace(b"\n", end)
    chunks = [stream[start : start + size] for start in range(0, len(stream), size)]
    assert decoded(*chunks) == EVENTS


def test_an_empty_chunk_is_no_line_break() -> None:
    assert decoded(b"data: a\r", b"", b"\ndata: b\r", b"", b"\n\r", b"\n") == [Event("", "a\nb")]


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert decoded(b"data: a\xffb\n\n") == [Event("", "a\ufffdb")]


@pytest.mark.parametrize("chunk", [b"data: x", b"data: x\n", b": x"])
def test_an_event_is_bounded(chunk: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "_MAX_EVENT_BYTES", 100)
    with pytest.raises(ValueError, match="more than 100 bytes"):
        decoded(*[chunk] * 100)


@pytest.mark.parametrize("chunk", [b"data: x\n\n", b"data: x\n: ping\n\n"])
def test_the_bound_is_of_each_event(chunk: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "_MAX_EVENT_BYTES", 100)
    assert len(decoded(*[chunk] * 100)) == 100


def test_comments_between_events_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "_MAX_EVENT_BYTES", 100)
    assert decoded(b"data: x\n", *[b": still busy\n"] * 100, b"\n") == [Event("", "x")]


@given(st.text(), st.lists(st.integers(0, 20)))
def test_characters_that_are_cut_anywhere_are_joined(text: str, sizes: list[int]) -> None:
    units = [chr(unit) for unit in memoryview(text.encode("utf-16-le")).cast("H")]
    joiner = SurrogateJoiner()
    joined: list[str] = []
    for size in sizes:
        # As JSON's decoder does, put together the pairs that are within one piece.
        piece = "".join(units[:size]).encode("utf-16-le", "surrogatepass")
        joined.append(joiner.join(piece.decode("utf-16-le", "surrogatepass")) if size else "")
        del units[:size]
    joined.append(joiner.join("".join(units)))
    assert "".join(joined) + joiner.end() == text


@given(st.lists(st.text(st.sampled_from("a\U0001f680\ud83d\ude80"))))
def test_whatever_comes_becomes_text(pieces: list[str]) -> None:
    joiner = SurrogateJoiner()
    text = "".join(map(joiner.join, pieces)) + joiner.end()
    expected = "".join(pieces).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    assert text == expected
