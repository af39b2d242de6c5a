"""DATA past h2: the receiving side's fast path, all of it.

Nearly every frame of a long answer is a DATA frame that moves two windows and nothing else. h2
takes about 20 µs for one: a frame object, its flags, its ``repr`` for a log that is off, a state
machine that stays where it is, an event. Here it takes about one. A window full of frames may be on
its way when we reset a stream; they move one window, and take h2 twice as long.

The windows counted here are h2's own, so h2 knows as much as if it had seen the frame. Whatever is
not that plain stays where it is, for h2: the end of a stream, padding, an empty frame, one that is
larger than a window or the frame size allows, a stream that is not open for DATA, part of a frame.
It is optional: nothing else changes when :class:`~grpclib_anyio.http2.Http2` is made without it.
"""

import struct
from collections.abc import Callable

from h2.connection import H2Connection
from h2.stream import H2Stream, StreamClosedBy, StreamState

__all__ = ["DataFrames", "OnData"]

#: What is called with a frame's stream, its bytes, and how many they were: of a stream that we have
#: reset the bytes themselves are dropped.
OnData = Callable[[int, bytes, int], None]

#: RFC 9113 § 4.1: the length in 24 bits, type and flags (both 0 in a plain DATA frame), the stream.
_HEADER = struct.Struct(">HBHL")
_LOW_BITS = 8


class DataFrames:
    """Takes the DATA frames of which h2 need not know more than their size."""

    def __init__(self, h2: H2Connection, on_data: OnData) -> None:
        """Count on ``h2``'s windows, and call ``on_data`` with what was counted."""
        self._h2 = h2
        self._on_data = on_data

    def take(self, data: bytes, start: int) -> int:
        """Take the plain DATA frames that begin at ``start``, where a frame begins.

        Returns:
            Where the first frame begins that was not taken.

        """
        end = len(data)
        while end - start >= _HEADER.size:
            high, low, kind, stream_id = _HEADER.unpack_from(data, start)
            size = high << _LOW_BITS | low
            begin, stop = start + _HEADER.size, start + _HEADER.size + size
            if kind or stop > end:
                break
            if self._count(stream_id, size):
                self._on_data(stream_id, data[begin:stop], size)
            elif self._count_late(stream_id, size):
                self._on_data(stream_id, b"", size)
            else:
                break
            start = stop
        return start

    def _count(self, stream_id: int, size: int) -> bool:
        """Take ``size`` bytes off both windows, if that is all that h2 would do."""
        stream = self._h2.streams.get(stream_id)
        if stream is None or not _is_open(stream):
            return False
        window = stream._inbound_window_manager  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - h2 offers no other way
        if size > window.current_window_size or not self._count_on_connection(size):
            return False
        window.current_window_size -= size
        return True

    def _count_late(self, stream_id: int, size: int) -> bool:
        """Take ``size`` bytes off the connection's window if we have reset the stream."""
        closed_by = self._h2._stream_closed_by(stream_id)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - as above
        return closed_by is StreamClosedBy.SEND_RST_STREAM and self._count_on_connection(size)

    def _count_on_connection(self, size: int) -> bool:
        window = self._h2._inbound_flow_control_window_manager  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - as above
        if not 0 < size <= min(window.current_window_size, self._h2.max_inbound_frame_size):
            return False
        window.current_window_size -= size
        return True


def _is_open(stream: H2Stream) -> bool:
    """Return whether DATA leaves the stream's state as it is."""
    machine = stream.state_machine
    return (
        (machine.state is StreamState.HALF_CLOSED_LOCAL or machine.state is StreamState.OPEN)
        and bool(machine.headers_received)
        and stream._expected_content_length is None  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - as above
    )
