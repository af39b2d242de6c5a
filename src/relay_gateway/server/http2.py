"""HTTP/2 in hypercorn: buffers with a bound, and streams that end alone.

These things in hypercorn 0.18 are not as a relay needs them; ``patch`` has them all in its table:

- ``StreamBuffer.pop`` wakes a paused sender although it took nothing. With HTTP/2's window at zero,
  the buffer of a client that does not read grows without a bound. With a bound, its sender would
  wait without an end, because nothing is written that could time out. So both waits have a timeout.
- ``H2Protocol`` closes its state after ``keep_alive_max_requests``: the streams that are open on
  the connection are cut off, and neither the client nor the application is told.
- ``H2Protocol`` raises an error of its own when a request's body goes on after its response.
- ``H2Protocol`` forgets a stream whose answer is over, although its client may still send, and
  leaves one open whose answer has failed.
- ``H2Protocol`` keeps the empty buffer of a stream that was reset. After a thousand of them, the
  next request ends the connection.
- What is wrong with one stream ends the connection, and no flood does: see ``http2_receiver``.
"""

import sys
from contextlib import suppress
from math import inf
from struct import pack
from typing import Any, cast

import trio
from h2.errors import ErrorCodes
from h2.events import RequestReceived
from h2.exceptions import ProtocolError
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import Body, StreamClosed
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h2 import (
    BUFFER_HIGH_WATER,
    BUFFER_LOW_WATER,
    BufferCompleteError,
    StreamBuffer,
)
from hypercorn.trio.worker_context import EventWrapper
from hypercorn.typing import Event as IOEvent

from relay_gateway.server.http2_receiver import H2Receiver
from relay_gateway.server.worker import current_worker

__all__ = ["BoundedStreamBuffer", "ContainedH2Protocol"]

#: A frame of 8 bytes of the type GOAWAY on stream 0: the highest stream there is, and NO_ERROR.
_GOAWAY = b"\0\0\x08\x07\0" + pack(">LLL", 0, 2**31 - 1, ErrorCodes.NO_ERROR)

#: Bytes of a DATA frame at most, unless the client takes larger ones (RFC 9113 § 4.2).
_FRAME_SIZE = 16_384


class ContainedH2Protocol(H2Receiver):
    """hypercorn's HTTP/2, in which a stream that is over does not affect the others."""

    def __init__(self, *args: Any) -> None:
        """Begin as hypercorn does."""
        super().__init__(*args)
        self.streams = _Streams()
        self.stream_buffers = _StreamBuffers()
        self.keep_alive_requests = -sys.maxsize  # more than there can be
        #: A request has stopped the idle timer since the client was last listened to.
        self._had_request = False
        self._end_is_announced = False

    async def initiate(
        self, headers: list[tuple[bytes, bytes]] | None = None, settings: bytes | None = None
    ) -> None:
        """Begin, with the request of an upgrade if that is how the connection came here."""
        await super().initiate(headers, settings)
        # The preface looked like a request of HTTP/1.1, and that stopped the idle timer.
        await self._say_if_idle()

    async def announce_end(self) -> None:
        """Send GOAWAY if no stream is open and the worker stops, so that the client goes elsewhere.

        It refuses no stream (RFC 9113 § 6.8), and is not sent by h2, whose GOAWAY ends all streams.
        It waits for the last stream, because some clients give up all streams when it comes.
        """
        worker = current_worker.get()
        if worker is not None and worker.is_stopping and self.idle and not self._end_is_announced:
            self._end_is_announced = True
            await self.send(RawData(_GOAWAY))

    async def _create_stream(self, request: RequestReceived) -> None:
        self._had_request = True
        try:
            await super()._create_stream(request)
        except Exception:
            # A stream that is only half made could not be told of its end.
            self.streams.pop(request.stream_id or 0, None)
            raise

    async def stream_send(self, event: StreamEvent) -> None:
        """Send what the application gives, or reset a stream that its client does not read."""
        if isinstance(event, Body):
            self.frames_sent += 1 + len(event.data) // _FRAME_SIZE
        elif isinstance(event, StreamClosed):
            await self._end_early(event.stream_id)
        try:
            await super().stream_send(event)
        except trio.TooSlowError:
            with suppress(ProtocolError):  # it is over already
                self.connection.reset_stream(event.stream_id, ErrorCodes.CANCEL)
            await self._flush()
            await self._close_stream(event.stream_id)
            await self._window_updated(event.stream_id)  # has the sending task drop the buffer
            await self._say_if_idle()
        if isinstance(event, StreamClosed):
            await self.announce_end()

    async def _send_data(self, stream_id: int) -> None:
        if not self.connection.is_over(stream_id):
            await super()._send_data(stream_id)
            return
        # hypercorn would keep an empty buffer, and can have a thousand of them.
        await self.stream_buffers[stream_id].close()
        del self.stream_buffers[stream_id]
        self.priority.remove_stream(stream_id)

    async def _end_early(self, number: int) -> None:
        """Reset a stream whose answer is over, if its client has not ended it."""
        with suppress(ProtocolError):  # the connection is over already
            self.connection.end_early(number)
        await self._flush()
        await self._window_updated(number)  # has the sending task drop the buffer

    async def handle(self, event: Event) -> None:
        """Handle what came from the client.

        Raises:
            BrokenOffError: the connection has to be closed.

        """
        self._had_request = not self.idle
        await super().handle(event)
        if isinstance(event, Closed):
            for buffer in self.stream_buffers.values():
                cast("BoundedStreamBuffer", buffer).mark_sent()  # as much as it will ever be
        if self._had_request:  # now or before: it may have come with its own reset
            await self._say_if_idle()

    async def _say_if_idle(self) -> None:
        # hypercorn looks at this only when the application ends a stream. After a stream that was
        # reset, the connection would have no idle timer, and would never be closed.
        if self.idle and not self.closed:
            await self.send(Updated(idle=True))


class _Streams(dict[int, Any]):
    """The streams by number; for a stream that is over, what still comes is dropped."""

    def __missing__(self, number: int) -> "_FinishedStream":
        return _FinishedStream()


class _StreamBuffers(dict[int, StreamBuffer]):
    """The streams' buffers by number; each that hypercorn makes is replaced by a bounded one."""

    def __setitem__(self, number: int, _: StreamBuffer) -> None:
        super().__setitem__(number, BoundedStreamBuffer(EventWrapper))

    def __delitem__(self, number: int) -> None:
        cast("BoundedStreamBuffer", self[number]).mark_sent()
        super().__delitem__(number)


class _FinishedStream:
    async def handle(self, event: StreamEvent) -> None:
        pass


class BoundedStreamBuffer(StreamBuffer):
    """Bytes that one HTTP/2 stream has to send: 32 KiB at most, and the chunk that went over it.

    When it is full, the sender blocks. Both waits raise ``TooSlowError`` when the client takes
    nothing for ``write_timeout`` seconds.
    """

    write_timeout = 30.0

    def __init__(self, event_class: type[IOEvent]) -> None:
        """Start empty."""
        super().__init__(event_class)
        self._last_taken = -inf
        self._sent = trio.Event()

    async def push(self, data: bytes) -> None:
        """Add a chunk, then wait while there is too much."""
        if self._complete:
            raise BufferCompleteError
        self.buffer.extend(data)
        await self._is_empty.clear()
        if len(self.buffer) >= BUFFER_HIGH_WATER:
            await self._paused.clear()
            await self._wait(self._paused)

    async def drain(self) -> None:
        """Wait until the client has taken all, and the end of the stream if that is the next.

        hypercorn's waits for the bytes alone. What counts a stream as over would then cut off its
        end, for example a server that stops.
        """
        await self._wait(self._sent if self._complete else self._is_empty)

    def mark_sent(self) -> None:
        """End a wait for the end of the stream: it is on its way, or is given up."""
        self._sent.set()

    async def _wait(self, event: IOEvent | trio.Event) -> None:
        self._last_taken = trio.current_time()
        while not event.is_set():
            deadline = self._last_taken + self.write_timeout
            if trio.current_time() >= deadline:
                raise trio.TooSlowError
            with trio.move_on_at(deadline):
                await event.wait()

    async def pop(self, max_length: int) -> bytes:
        """Take ``max_length`` bytes at most; the sender goes on when little is left."""
        data = bytes(self.buffer[:max_length])
        del self.buffer[:max_length]
        if data:
            self._last_taken = trio.current_time()
        if len(self.buffer) < BUFFER_LOW_WATER:
            await self._paused.set()
        if not self.buffer:
            await self._is_empty.set()
        return data
