"""The sending side of a connection: from the outboxes of its streams to bytes for its socket.

Each stream has an outbox of its own. The streams that have something to send stand in a queue. The
writer takes the first stream, sends one DATA frame of its outbox, and puts the stream at the end of
the queue if there is more: a call with a message of 4 MiB delays a call with a small one by one
frame. For example, with a large message on stream 1 and small ones on streams 3 and 5::

    on the wire:  1  3  5  1  1  1 …

A stream leaves the queue when its window or the connection's window is shut (RFC 9113 § 5.2). Until
the peer opens it, it is kept by its number if it waits for its own, and in a second queue if it
waits for the connection's. So each WINDOW_UPDATE costs the same, however many streams wait.

Everything but the writer's wait is a plain call, so a task that is being cancelled can make it.
RST_STREAM is also *written* by a plain call, if the socket takes it at once. What was queued before
it goes first. What the socket does not take, the writer sends.
"""

from collections import OrderedDict
from contextlib import suppress
from sys import maxsize

from anyio.abc import ByteStream
from grpclib.const import Status
from h2.errors import ErrorCodes
from h2.exceptions import StreamClosedError

from grpclib_anyio._base.errors import GRPCError
from grpclib_anyio._base.headers import Headers, header_list_size
from grpclib_anyio._base.notify import Notify
from grpclib_anyio._connection.http2 import Http2
from grpclib_anyio._connection.keepalive import Pinger, Strikes
from grpclib_anyio._connection.streams import Streams
from grpclib_anyio._fast.trio_stream import TrySendStream
from grpclib_anyio._stream.stream import MessageStream

__all__ = ["Sender"]

#: Bytes of the largest DATA frame, also when the peer would take a larger one, and of a full write
#: to the socket. So a reset, a ping or a small message waits for one frame of a large message only.
_FRAME_SIZE = 16_384


class Sender:
    """Sends what the streams of one connection ask for: it is their ``Wire``."""

    def __init__(
        self,
        h2: Http2,
        transport: ByteStream,
        streams: Streams,
        *,
        pinger: Pinger,
        strikes: Strikes,
    ) -> None:
        """Encode with ``h2`` what ``streams`` send; tell keepalive of HEADERS and DATA."""
        self._h2 = h2
        self._transport = transport
        self._streams = streams
        self._pinger = pinger
        self._strikes = strikes
        #: Wakes the writer.
        self._writable = Notify()
        #: Each stream once, in the order of asking.
        self._queue: OrderedDict[MessageStream, None] = OrderedDict()
        #: Streams that wait for their own window, by their numbers.
        self._blocked: dict[int, MessageStream] = {}
        #: Streams that wait for the connection's window, the one that has waited longest first.
        self._starved: OrderedDict[MessageStream, None] = OrderedDict()
        #: How many times a stream has sent HEADERS or DATA.
        self.frames_sent = 0
        #: How many streams calls have reset.
        self.resets_sent = 0
        #: Wakes the reader when it waits for the writer, which is seldom.
        self._taken: Notify | None = None
        h2.on_output = self._writable.notify
        h2.try_send = self._try_send

    # -- for the connection ---------------------------------------------------------------------

    async def next_output(self) -> bytes:
        """Wait for something to write and return it; nothing once the connection has ended.

        To be written before this is called again, by the one task that writes. Not a checkpoint
        when there is something.
        """
        while True:
            self._fill()
            if data := self._h2.data_to_send():
                self._streams.mark_sent()
                if self._taken is not None:
                    self._taken.notify()
                return data
            if self._streams.is_closed:
                return b""
            await self._writable.wait()

    async def wait_taken(self) -> None:
        """Wait until the writer takes what is queued; for one task at a time."""
        if self._taken is None:
            self._taken = Notify()
        await self._taken.wait()

    def open_stream(self, headers: Headers) -> MessageStream:
        """Open a client's stream by sending its HEADERS.

        Raises:
            GRPCError: RESOURCE_EXHAUSTED, the peer does not take that many; nothing is sent.

        """
        if (room := self.headers_room(headers)) < 0:
            text = f"The request's metadata is {-room} bytes more than the server takes"
            raise GRPCError(Status.RESOURCE_EXHAUSTED, text)
        stream_id = self._h2.get_next_available_stream_id()
        self._h2.send.headers(stream_id, headers)
        self.frames_sent += 1
        stream = self._streams.add(stream_id, self)
        stream.state.send_headers()
        self._streams.add_unsent(stream)
        return stream

    def refuse(self, stream_id: int, code: ErrorCodes) -> None:
        """Refuse a request; REFUSED_STREAM says that nothing was done (RFC 9113 § 8.7)."""
        with suppress(StreamClosedError):  # see reset
            self._h2.send.reset(stream_id, code)

    def unblock(self, stream_id: int) -> None:
        """Let a stream try again after its window was opened; 0 is the connection's."""
        if stream := self._blocked.pop(stream_id, None):
            self.schedule(stream)
        if self._starved:
            self._writable.notify()

    def unblock_all(self) -> None:
        """Let all streams try again after the peer has changed their windows."""
        for stream_id in list(self._blocked):
            self.unblock(stream_id)

    def wake(self) -> None:
        """Let the writer see that the connection has ended."""
        self._writable.notify()

    # -- for streams, as their Wire -------------------------------------------------------------

    def headers_room(self, headers: Headers) -> int:
        """Return the bytes of headers that the peer takes beyond ``headers``, or less than 0.

        A peer that is sent more may end the connection, and all calls with it (RFC 9113 § 6.5.2).
        """
        limit = self._h2.remote_settings.max_header_list_size
        return maxsize if limit is None else limit - header_list_size(headers)

    def open_window(self, stream: MessageStream, increment: int) -> None:
        """Send WINDOW_UPDATE for a stream."""
        if not (self._streams.is_closed or stream.state.is_closed):
            with suppress(StreamClosedError):  # see reset
                self._h2.increment_flow_control_window(increment, stream.id)

    def send_headers(self, stream: MessageStream, headers: Headers, *, end: bool = False) -> None:
        """Send HEADERS; with ``end`` they are trailers, and nothing follows."""
        if self._streams.is_closed or not stream.state.may_send:
            return
        stream.state.send_headers()
        self._h2.send.headers(stream.id, headers, end=end)
        self._headers_or_data_sent(stream, is_last=end)

    def schedule(self, stream: MessageStream) -> None:
        """Put a stream with something in its outbox into the queue, unless it is there."""
        if stream not in self._queue:
            self._queue[stream] = None
            self._writable.notify()

    def reset(self, stream: MessageStream, code: ErrorCodes) -> None:
        """Send RST_STREAM unless the stream is closed."""
        if self._streams.is_closed or not self._streams.reset(stream):
            return
        self.resets_sent += 1
        # A frame with END_STREAM closes the stream in h2 before we have handled what it means.
        with suppress(StreamClosedError):
            self._h2.send.reset(stream.id, code)

    def release(self, stream: MessageStream) -> None:
        """Forget a stream because its call has ended.

        The stream may still be in a queue. This object is in a reference cycle and so lives until
        the garbage collector runs, but the stream must be freed now.
        """
        self._queue.pop(stream, None)
        self._blocked.pop(stream.id, None)
        self._starved.pop(stream, None)
        self._streams.remove(stream)

    # -- inside ---------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Move what the windows allow from the outboxes to h2: one frame a stream and turn."""
        queue, starved = self._queue, self._starved
        while (queue or starved) and self._h2.queued < _FRAME_SIZE:
            if starved and self._h2.outbound_flow_control_window > 0:
                stream, _ = starved.popitem(last=False)
            elif queue:
                stream, _ = queue.popitem(last=False)
            else:
                return
            if stream.error is None and stream.state.may_send:
                self._send_frame(stream)

    def _send_frame(self, stream: MessageStream) -> None:
        outbox = stream.outbox
        if not (outbox or outbox.is_ending):
            return
        window = self._h2.local_flow_control_window(stream.id)
        size = min(len(outbox), window, _FRAME_SIZE)
        # Below zero, where a setting of the peer's can take it, not even an empty frame may go.
        if size < 0 or (outbox and not size):
            self._block(stream)
            return
        is_last = outbox.is_ending and size == len(outbox)
        ends_here = is_last and outbox.trailers is None
        if size or ends_here:
            self._h2.send.data(stream.id, outbox.take(size), end=ends_here)
        if is_last and outbox.trailers is not None:
            self._send_trailers(stream, outbox.trailers)
        self._headers_or_data_sent(stream, is_last=is_last)
        if outbox:
            self.schedule(stream)

    def _send_trailers(self, stream: MessageStream, trailers: Headers) -> None:
        # They fitted when they were queued, and the peer may have lowered its limit since then.
        if self.headers_room(trailers) < 0:
            trailers = [header for header in trailers if header[0] == "grpc-status"]
        self._h2.send.headers(stream.id, trailers, end=True)

    def _block(self, stream: MessageStream) -> None:
        if self._h2.outbound_flow_control_window > 0:
            self._blocked[stream.id] = stream
        else:
            self._starved[stream] = None

    def _headers_or_data_sent(self, stream: MessageStream, *, is_last: bool) -> None:
        self.frames_sent += 1
        self._pinger.data_sent()
        self._strikes.data_sent()
        if is_last:
            self._streams.end_local(stream)
        stream.room_made()

    def _try_send(self, queued: bytearray) -> int:
        """Write what the socket takes at once, and return its size; the rest is the writer's."""
        if not isinstance(self._transport, TrySendStream):
            return 0
        size = self._transport.send_nowait(queued)
        if size:
            self._streams.mark_sent()
        return size
