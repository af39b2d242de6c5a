"""Frames past h2: the receiving side's fast path, all of it.

Nearly every frame of a long answer is a DATA frame that moves two windows and nothing else. h2
takes about 20 µs for one: it makes a frame object, its flags, its ``repr`` for a log that is off, a
state machine that stays where it is, and an event. Here a frame takes about 1 µs. A window full of
frames may be on its way when we reset a stream. Those move one window, and h2 takes twice as long
for them.

Two more frames come with nearly every short call. The response's HEADERS are the same block as the
last call's, and with a PING the server measures the connection. h2 decodes and checks the block
each time. Here the result of the first time is kept as long as the table of header compression
stays the same (``HeaderDecoder.notes``).

The windows and states that are counted here are h2's own, so h2 knows as much as if it had seen the
frame. A frame that is not plain is left to h2: the end of a stream, padding, an empty frame, one
that is larger than a window or the frame size allows, one of a stream that is not open for it, and
part of a frame. For example, of a read that holds these frames h2 is shown two::

    DATA(1)  DATA(3)  WINDOW_UPDATE  DATA(1)  HEADERS(1, END_STREAM)
                      to h2                   to h2

It is optional. Nothing else changes when ``Http2.read_past`` is not called.
"""

import struct
from collections.abc import Callable
from typing import NamedTuple, Protocol

from h2.connection import H2Connection
from h2.stream import H2Stream, StreamClosedBy, StreamState
from h2.windows import WindowManager

from grpclib_anyio._base.headers import Headers
from grpclib_anyio._fast.hpack_cache import HeaderDecoder

__all__ = ["OnFrames", "ReceivedFrames", "has_content_length"]

#: RFC 9113 § 4.1: the length in 24 bits, type and flags, the stream.
_HEADER = struct.Struct(">HBHL")
_LOW_BITS = 8
#: Types and flags; DATA without any is 0. HEADERS are whole, with no end of the stream.
_HEADERS, _PING, _PING_ACK = 0x0104, 0x0600, 0x0601
_PING_SIZE = 8


class _OnData(Protocol):
    def __call__(self, stream_id: int, data: bytes, size: int, /) -> None:
        """Take the bytes of a frame, and how many they were: those of a late one are dropped."""


class _OnHeaders(Protocol):
    def __call__(self, stream_id: int, headers: Headers, /) -> None:
        """Take a response's headers; the list is shared, and must not be changed."""


class _OnPing(Protocol):
    def __call__(self) -> None:
        """Count a PING that has been answered."""


class OnFrames(NamedTuple):
    """What is called with the frames that h2 was not shown."""

    data: _OnData
    headers: _OnHeaders
    ping: _OnPing


class ReceivedFrames:
    """Takes the plain frames; h2 need only know that they came."""

    def __init__(
        self,
        h2: H2Connection,
        on: OnFrames,
        *,
        window: WindowManager,
        closed_by: Callable[[int], StreamClosedBy | None],
        decoder: HeaderDecoder,
        queue: Callable[[bytes], None],
    ) -> None:
        """Count on ``h2``'s windows, call ``on`` with what was counted, and answer to ``queue``.

        ``window`` (the connection's) and ``closed_by`` (how a stream was closed) are private to
        ``h2``.
        """
        self._h2 = h2
        self._on = on
        self._window = window
        self._closed_by = closed_by
        self._decoder = decoder
        self._queue = queue

    def take(self, data: bytes, start: int) -> int:
        """Take the plain frames that begin at ``start``, where a frame begins.

        Returns:
            Where the first frame begins that was not taken.

        """
        end = len(data)
        while end - start >= _HEADER.size:
            high, low, kind, stream_id = _HEADER.unpack_from(data, start)
            size = high << _LOW_BITS | low
            begin, stop = start + _HEADER.size, start + _HEADER.size + size
            if stop > end:
                break
            if not kind:
                if self._count(stream_id, size):
                    self._on.data(stream_id, data[begin:stop], size)
                elif self._count_late(stream_id, size):
                    self._on.data(stream_id, b"", size)
                else:
                    break
            elif not self._take_other(kind, stream_id, data[begin:stop]):
                break
            start = stop
        return start

    def _take_other(self, kind: int, stream_id: int, payload: bytes) -> bool:
        if kind == _HEADERS:
            return self._take_headers(stream_id, payload)
        if kind == _PING and len(payload) == _PING_SIZE and not stream_id:
            self._queue(_HEADER.pack(0, _PING_SIZE, _PING_ACK, 0) + payload)
            self._on.ping()
            return True
        return False

    def _take_headers(self, stream_id: int, block: bytes) -> bool:
        """Take the headers of a response if h2 has approved the same before."""
        headers = self._decoder.notes.get(block)
        stream = self._h2.streams.get(stream_id)
        if headers is None or stream is None:
            return False
        machine = stream.state_machine
        if machine.headers_received or not _may_receive(stream):
            return False
        machine.headers_received = True
        self._on.headers(stream_id, headers)
        return True

    def _count(self, stream_id: int, size: int) -> bool:
        """Take ``size`` bytes off both windows, if that is all that h2 would do."""
        stream = self._h2.streams.get(stream_id)
        if stream is None or not _is_open(stream):
            return False
        window = stream._inbound_window_manager  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - h2 tells the smaller of it and the connection's only
        if size > window.current_window_size or not self._count_on_connection(size):
            return False
        window.current_window_size -= size
        return True

    def _count_late(self, stream_id: int, size: int) -> bool:
        """Take ``size`` bytes off the connection's window if we have reset the stream."""
        is_ours = self._closed_by(stream_id) is StreamClosedBy.SEND_RST_STREAM
        return is_ours and self._count_on_connection(size)

    def _count_on_connection(self, size: int) -> bool:
        window = self._window
        if not 0 < size <= min(window.current_window_size, self._h2.max_inbound_frame_size):
            return False
        window.current_window_size -= size
        return True


def _may_receive(stream: H2Stream) -> bool:
    state = stream.state_machine.state
    return state is StreamState.HALF_CLOSED_LOCAL or state is StreamState.OPEN


def _is_open(stream: H2Stream) -> bool:
    """Return whether DATA leaves the stream's state as it is."""
    return (
        _may_receive(stream)
        and bool(stream.state_machine.headers_received)
        and not has_content_length(stream)
    )


def has_content_length(stream: H2Stream) -> bool:
    """Return whether the peer has said how much DATA comes; h2 then holds it to that."""
    return stream._expected_content_length is not None  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - h2 tells nobody
