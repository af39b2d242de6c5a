"""Frames past h2, held equal to h2: the same bytes to both, and the same comes of them.

Streams are open, frames arrive on them in chunks of any size, mostly DATA, some of it padded,
empty, too large, ending a stream, on a stream that is over, or beyond a window, and responses, some
of them the same as before, or the same bytes with another meaning; in between we reset streams and
open windows. After each step both have told the same, have the same to send, and hold
the same windows. `FUZZ_EXAMPLES=100000` runs 100,000 other examples, here and in test_fuzz.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from h2.events import DataReceived, Event, PingReceived, ResponseReceived
from h2.exceptions import ProtocolError
from hypothesis import strategies as st

from grpclib_anyio._base.config import Configuration
from grpclib_anyio._connection.http2 import Http2
from grpclib_anyio._fast.received_frames import OnFrames
from harness.frames import HEADERS, PING, RST, UPDATE, block, frame
from harness.peer import framed
from test_fuzz import FRAMES, OPENINGS, REQUEST, RESPONSE, fuzzed

WINDOW = 65_535
CONFIG = Configuration(http2_connection_window_size=WINDOW, http2_stream_window_size=WINDOW)
IDS = (1, 3, 5, 7, 9)
LATE_ID = 11
#: A client's streams that have their response from the start; the others' is to come.
ANSWERED = 2
#: RFC 7541: numbers of headers, and headers that get a number and move the others by one. The
#: number 62 is the newest.
OK, NO_CONTENT, CONTINUE, NEWEST, SECOND = b"\x88", b"\x89", b"\x08\x03100", b"\xbe", b"\xbf"
NEW, LENGTH, BAD = b"\x40\x01a\x01b", b"\x5c\x019", b"\x40\x01A\x01b"
INDEXED = st.sampled_from(
    (
        *(OK, OK, OK, NO_CONTENT, OK + OK, NEWEST, OK + NEWEST, OK + SECOND, OK + SECOND + NEWEST),
        *(OK + NEW, NEW, OK + LENGTH, OK + BAD, CONTINUE, b"\x20" + OK, b"\x3f\x00" + OK, b""),
    )
)

# -- what happens -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Arrival:
    """Frames that the peer sends, and the sizes of the first chunks in which they arrive."""

    frames: tuple[bytes, ...]
    sizes: tuple[int, ...]

    def apply(self, h2: Http2) -> Iterator[Event]:
        data = b"".join(self.frames)
        for size in self.sizes:
            yield from h2.receive(data[:size])
            data = data[size:]
        yield from h2.receive(data)


@dataclass(frozen=True)
class Reset:
    """We reset a stream."""

    stream_id: int

    def apply(self, h2: Http2) -> Iterator[Event]:
        h2.reset_stream(self.stream_id)
        return iter(())


@dataclass(frozen=True)
class Credit:
    """We open the connection's window and a stream's."""

    stream_id: int
    size: int

    def apply(self, h2: Http2) -> Iterator[Event]:
        h2.increment_flow_control_window(self.size)
        h2.increment_flow_control_window(self.size, self.stream_id)
        return iter(())


SOME_ID = st.sampled_from((*IDS, *IDS, LATE_ID, 0, 2**31 + 1))
PAYLOADS = st.one_of(
    st.binary(max_size=40),
    st.sampled_from((framed(b"a token "), framed(b"x" * 3_000), b"x" * 16_384, b"x" * 16_385)),
)
PADDED = PAYLOADS.map(lambda payload: b"\x03" + payload + bytes(3))
FRAME = st.one_of(
    st.builds(frame, st.just(0), st.just(0), st.sampled_from(IDS), PAYLOADS),
    st.builds(frame, st.just(0), st.just(0), st.sampled_from(IDS), PAYLOADS),
    st.builds(frame, st.just(0), st.just(0), SOME_ID, PAYLOADS),
    st.builds(frame, st.just(0), st.sampled_from((0, 1, 0x20, 0xFF)), SOME_ID, PAYLOADS),
    st.builds(frame, st.just(0), st.sampled_from((8, 9)), SOME_ID, st.one_of(PAYLOADS, PADDED)),
    st.builds(frame, st.just(HEADERS), st.sampled_from((4, 4, 4, 5, 0)), SOME_ID, INDEXED),
    st.builds(frame, st.just(HEADERS), st.just(4), st.sampled_from(IDS), INDEXED),
    st.builds(frame, st.just(PING), st.sampled_from((0, 1, 8)), st.just(0), st.binary(max_size=9)),
    st.builds(frame, st.just(PING), st.just(0), st.just(0), st.just(b"12345678")),
    st.builds(frame, st.just(RST), st.just(0), SOME_ID, st.just(bytes(4))),
    st.builds(frame, st.just(UPDATE), st.just(0), SOME_ID, st.just(b"\0\0\0\1")),
    st.builds(frame, st.just(HEADERS), st.just(5), SOME_ID, st.just(block(("grpc-status", "0")))),
    st.builds(
        frame,
        st.just(HEADERS),
        st.sampled_from((0, 4)),
        SOME_ID,
        st.sampled_from(
            (block(*REQUEST), block(*RESPONSE), block(*RESPONSE, ("content-length", "9")))
        ),
    ),
    FRAMES,
)
STEPS = st.lists(
    st.one_of(
        st.builds(
            Arrival,
            st.lists(FRAME, max_size=12).map(tuple),
            st.lists(st.integers(1, 60), max_size=10).map(tuple),
        ),
        st.builds(Arrival, st.lists(FRAME, max_size=12).map(tuple), st.just(())),
        st.builds(Reset, st.sampled_from(IDS)),
        st.builds(Credit, st.sampled_from(IDS), st.integers(1, 30_000)),
    ),
    max_size=8,
)

# -- what comes of it ---------------------------------------------------------------------------


class Subject:
    """One of the two: notes what it tells, in one form whichever way it was told."""

    def __init__(self, role: str, *, past_h2: bool) -> None:
        self.notes: list[Any] = []
        #: Frames that h2 was not shown.
        self.count = 0
        #: The connection has ended.
        self.is_over = False
        self.h2 = Http2(CONFIG, client_side=role == "client")
        if past_h2:
            self.h2.read_past(OnFrames(self._data_received, self._headers_received, self._pinged))

    def _data_received(self, stream_id: int, data: bytes, size: int) -> None:
        self.count += 1
        self.notes.append((stream_id, data, size))

    def _headers_received(self, stream_id: int, headers: list[tuple[str, str]]) -> None:
        self.count += 1
        self.notes.append(_note(ResponseReceived(stream_id=stream_id, headers=list[Any](headers))))

    def _pinged(self) -> None:
        self.count += 1
        self.notes.append(PingReceived)

    def open(self, role: str) -> None:
        headers = RESPONSE if role == "client" else REQUEST
        for stream_id in IDS if role == "client" else ():
            self.h2.send_headers(stream_id, list(REQUEST), end_stream=stream_id == IDS[0])
        opened = IDS[:ANSWERED] if role == "client" else IDS
        frames = [frame(HEADERS, 4, stream_id, block(*headers)) for stream_id in opened]
        self.run(Arrival((OPENINGS[role], *frames), ()))

    def run(self, step: Arrival | Reset | Credit) -> None:
        try:
            self.notes.extend(_note(event) for event in step.apply(self.h2))
        except ProtocolError as error:
            self.is_over = True
            self.notes.append((type(error), error.error_code))
        self.notes.append(self.h2.data_to_send())
        self.notes.append(self._windows())

    def _windows(self) -> list[int]:
        h2 = self.h2
        # Of streams that are over, h2 knows when somebody asks.
        streams = [s for _, s in sorted(h2.streams.items()) if not s.closed]
        return [
            h2.inbound_flow_control_window,
            *(s._inbound_window_manager.current_window_size for s in streams),  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - h2 tells it with the other one in
        ]


def _note(event: Event) -> Any:
    if isinstance(event, DataReceived) and event.stream_ended is None:
        return event.stream_id, event.data, event.flow_controlled_length
    if isinstance(event, PingReceived):
        return PingReceived
    return type(event), {
        k: _note(v) if isinstance(v, Event) else repr(v) for k, v in vars(event).items()
    }


def run_both(role: str, steps: Iterable[Arrival | Reset | Credit]) -> int:
    """Compare them step by step; return how many frames h2 was not shown."""
    subject, model = Subject(role, past_h2=True), Subject(role, past_h2=False)
    subject.open(role)
    model.open(role)
    for step in steps:
        subject.run(step)
        model.run(step)
        assert subject.notes == model.notes
        if model.is_over:
            break
    assert model.count == 0
    return subject.count


# -- the tests ----------------------------------------------------------------------------------


@pytest.mark.parametrize("role", OPENINGS)
@fuzzed(STEPS)
def test_same_as_h2(role: str, steps: list[Arrival | Reset | Credit]) -> None:
    """Whatever happens."""
    run_both(role, steps)


@pytest.mark.parametrize("role", OPENINGS)
def test_plain_frames_are_not_shown_to_h2(role: str) -> None:
    """All that arrive whole."""
    frames = tuple(frame(0, 0, stream_id, framed(b"token")) for stream_id in (1, 3, 1) * 10)
    assert run_both(role, [Arrival(frames, ())]) == len(frames)
    bytes_of_two = len(frames[0] + frames[1])
    assert run_both(role, [Arrival(frames, (1,) * bytes_of_two)]) == len(frames) - 2


def test_response_of_the_last_call_is_not_shown_to_h2() -> None:
    """Once it has approved of it, and as long as the bytes mean the same."""
    head = [frame(HEADERS, 4, stream_id, OK + NEWEST) for stream_id in (5, 7)]
    first = Arrival((frame(HEADERS, 4, 9, OK + NEW),), ())
    assert run_both("client", [first, Arrival((head[0],), ()), Arrival((head[1],), ())]) == 1
    other = Arrival((frame(HEADERS, 5, 3, b"\x40\x01c\x01d"),), ())
    assert run_both("client", [first, Arrival((head[0],), ()), other, Arrival((head[1],), ())]) == 0


@pytest.mark.parametrize("role", OPENINGS)
def test_ping_is_not_shown_to_h2(role: str) -> None:
    """But its answer is sent all the same."""
    assert run_both(role, [Arrival((frame(PING, 0, 0, b"12345678"),) * 3, ())]) == 3


@pytest.mark.parametrize("role", OPENINGS)
def test_late_frames_are_not_shown_to_h2(role: str) -> None:
    """What crossed our reset on the wire; h2 still holds the stream, or has forgotten it."""
    frames = tuple(frame(0, 0, stream_id, framed(b"token")) for stream_id in (1, 3, 1) * 10)
    late = Arrival(frames, ())
    more = Arrival((frame(HEADERS, 4, LATE_ID, block(*REQUEST)), *frames), ())
    arrivals = [late, late, *[more] * (role == "server")]
    steps: list[Arrival | Reset | Credit] = [Reset(1), arrivals[0], Reset(3), *arrivals[1:]]
    assert run_both(role, steps) == len(arrivals) * len(frames)


@pytest.mark.parametrize("role", OPENINGS)
def test_window_is_enforced(role: str) -> None:
    """To the byte: what fills a window is taken, and one byte more is an error."""
    fill = [frame(0, 0, 1, b"x" * size) for size in (16_384, 16_384, 16_384, 16_383)]
    assert run_both(role, [Arrival(tuple(fill), ())]) == len(fill)
    run_both(role, [Arrival((*fill, frame(0, 0, 1, b"x")), ())])
