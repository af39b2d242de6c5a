"""One HTTP/2 connection: its socket, its tasks, its streams.

Theory of operation::

                        ┌── _reader ──▶ h2 ──▶ MessageStream.headers_received, data_received, …
    socket (ByteStream) │                           ▲ receive        │ send
                        │                        the calls' own tasks ▼
                        └── _writer ◀── h2 ◀── outboxes, one frame a stream and turn
                            _pinger ──▶ h2

- **Only the writer waits for the socket.** A task that is cancelled within a write leaves half a
  frame on the wire; the writer is not cancelled while the connection lives. A reset is written by
  who asks for it, as a plain call; what the socket does not take, the writer sends first.
- **The reader never waits for a call.** It puts what arrives into the streams' inboxes, which the
  HTTP/2 windows bound.
- **h2 is called synchronously.** Encoding a frame and queueing it is one step, so HPACK's state
  and the order on the wire are right whatever is cancelled. What a call asks for while it is being
  cancelled (``reset``) is therefore a plain call too.
- **The connection outlives its calls.** Its tasks are shielded: cancelling the scope around a
  channel cancels the calls first, their resets are queued, and only leaving ``async with`` ends
  the tasks, after at most ``close_timeout`` seconds for what is queued.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self, cast

import anyio
from anyio.abc import ByteStream
from grpclib.const import Status
from h2 import events as h2_events
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError, StreamClosedError
from h2.settings import SettingCodes

from grpclib_anyio._base.config import Configuration
from grpclib_anyio._base.errors import (
    TerminatedError,
    goaway_message,
    reset_error,
    unavailable,
    unprocessed,
)
from grpclib_anyio._base.headers import Headers
from grpclib_anyio._base.notify import Notify
from grpclib_anyio._base.rate_limit import LeakyBucket
from grpclib_anyio._base.trio_io import current_time
from grpclib_anyio._connection.http2 import Http2
from grpclib_anyio._connection.keepalive import Pinger, Strikes
from grpclib_anyio._connection.stream_limit import StreamLimit
from grpclib_anyio._fast.received_frames import OnFrames
from grpclib_anyio._fast.trio_stream import TrySendStream
from grpclib_anyio._stream.flow_control import ReceiveWindow
from grpclib_anyio._stream.stream import MessageStream

__all__ = ["Connection", "ConnectionStatistics"]

#: What is handled before the calls' own tasks run: of small messages, a few milliseconds' worth.
_READ_SIZE = 16_384
#: The largest DATA frame, whatever the peer would take, and what one write to the socket holds when
#: it is full: a reset, a ping or a small message waits for one frame of a large one, not for more.
_FRAME_SIZE = 16_384
#: A client may cancel all of its calls and make as many again before our handlers have run.
_HANDLERS_PER_SLOT = 2
_TOO_MANY_PINGS = b"too_many_pings"
#: Tells the answer to our PING from other pings' answers.
_ROUND_TRIP = b"lastcall"

#: What a byte stream raises when it has ended. TLS adds its own errors, which are OSErrors, and
#: may find the peer's end while it sends.
_LOSSES = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)

_log = logging.getLogger("grpclib_anyio")


@dataclass(frozen=True)
class ConnectionStatistics:
    """What a connection holds at this moment; all zero when no call is in progress."""

    streams: int
    waiting_for_slot: int
    unsent_bytes: int


class Connection:
    """Owns a byte stream and speaks HTTP/2 on it, for a client or for a server.

    An async context manager. Leaving it resets what streams are left, says GOAWAY, sends what is
    queued for at most ``close_timeout`` seconds, and closes the byte stream; leaving it is safe in
    a cancelled scope. A lost connection does not cancel the body: see :meth:`wait_closed`.
    """

    def __init__(
        self,
        transport: ByteStream,
        config: Configuration,
        *,
        client_side: bool,
    ) -> None:
        """Take over ``transport``."""
        self.transport = transport
        self.streams: dict[int, MessageStream] = {}
        #: Why the connection takes no new calls; None while it does.
        self.error: TerminatedError | None = None
        #: The peer found our pings too frequent.
        self.got_too_many_pings = False
        self.last_received = float("-inf")
        #: Called with each new request; without it, requests are refused.
        self.on_request: Callable[[MessageStream], None] | None = None
        self._config = config
        self._client_side = client_side
        self._writable = Notify()
        self._h2 = Http2(
            config,
            client_side=client_side,
            on_output=self._writable.notify,
            send_nowait=self._write_nowait,
            on_frames=(
                OnFrames(self._bytes_received, self._headers_received, self._pinged)
                if config.reads_data_past_h2
                else None
            ),
        )
        self._window = ReceiveWindow(config.http2_connection_window_size)
        self._pinger = Pinger(self, config)
        self._strikes = Strikes(config)
        self._resets = LeakyBucket(b"too_many_resets", config.max_resets)
        self._pings = LeakyBucket(_TOO_MANY_PINGS, config.max_pings)
        self._settings = LeakyBucket(b"too_many_settings", config.max_settings)
        self._empty_frames = LeakyBucket(b"too_many_empty_frames", config.max_empty_frames)
        self._sending: deque[MessageStream] = deque()
        #: Those that wait for a window, which goes to them in the order in which they began to.
        self._blocked: dict[MessageStream, None] = {}
        #: Client's streams whose HEADERS are queued, not written.
        self._unsent: set[MessageStream] = set()
        self._stream_limit = StreamLimit(self._max_streams, config.max_waiting_streams)
        self._is_closing = False
        self._handlers: dict[type[h2_events.Event], Callable[..., None]] = {
            h2_events.RequestReceived: self._request_received,
            h2_events.ResponseReceived: self._response_received,
            h2_events.DataReceived: self._data_received,
            h2_events.TrailersReceived: self._trailers_received,
            h2_events.StreamEnded: self._stream_ended,
            h2_events.StreamReset: self._stream_reset,
            h2_events.WindowUpdated: self._window_updated,
            h2_events.RemoteSettingsChanged: self._settings_changed,
            h2_events.SettingsAcknowledged: self._settings_acknowledged,
            h2_events.UnknownFrameReceived: self._unknown_received,
            h2_events.PingReceived: self._ping_received,
            h2_events.PingAckReceived: self._ping_answered,
            h2_events.ConnectionTerminated: self._goaway_received,
        }

    async def __aenter__(self) -> Self:
        """Start the tasks; not a checkpoint."""
        self.last_received = current_time()
        self._ready = anyio.Event()
        self._closed = anyio.Event()
        self._answered = anyio.Event()
        self._unused: anyio.Event | None = None
        self._scope = anyio.CancelScope(shield=True)
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._run, name=f"{self!r}")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Close the connection and wait for its tasks, which takes ``close_timeout`` at most."""
        self.close()
        self._tasks.cancel_scope.shield = True  # bounded: close has set a deadline
        # Not told of the body's exception, the task group does not wrap it in a group.
        await self._tasks.__aexit__(None, None, None)  # noqa: ASYNC102 - bounded: see above

    # -- for the owner --------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether new calls can be made."""
        return self.error is None

    @property
    def has_calls(self) -> bool:
        """Whether a stream is open."""
        return bool(self.streams)

    async def wait_ready(self) -> None:
        """Wait for the peer's SETTINGS: it speaks HTTP/2, and its limits are known.

        Raises:
            TerminatedError: the connection was lost first.

        """
        await self._ready.wait()
        if self.error is not None:
            raise self.error.copy()

    async def wait_closed(self) -> None:
        """Wait until the connection is lost, or closed by either side."""
        await self._closed.wait()

    def statistics(self) -> ConnectionStatistics:
        """Count what the connection holds."""
        unsent = sum(len(stream.outbox) for stream in self.streams.values())
        return ConnectionStatistics(
            streams=len(self.streams),
            waiting_for_slot=self._stream_limit.waiting,
            unsent_bytes=unsent + self._h2.queued,
        )

    def close(
        self, code: ErrorCodes = ErrorCodes.NO_ERROR, detail: bytes = b"", message: str = ""
    ) -> None:
        """Say GOAWAY, fail what calls are left and let the tasks end once all is sent.

        A client's calls are reset first, so that the peer stops working for them. Plain call; the
        tasks take ``close_timeout`` seconds at most. Does nothing on a closed connection.
        """
        if self._is_closing:
            return
        if self._client_side:
            for stream in list(self.streams.values()):
                self.reset(stream, ErrorCodes.CANCEL)
        self._h2.goaway(code, detail)
        self._unsent.clear()  # they are ours to end, not to be made again
        self._end(unavailable(message or "The connection was closed"))
        self._scope.deadline = current_time() + self._config.close_timeout

    def announce_goaway(self) -> None:
        """Queue a GOAWAY that refuses nothing yet; :meth:`retire` follows."""
        if not self._is_closing:
            self._h2.announce_goaway()

    async def ping(self) -> None:
        """Send a PING and wait until it is answered, or until the connection is closed."""
        if not self._is_closing:
            self._h2.ping(_ROUND_TRIP)
        await self._answered.wait()

    async def retire(self) -> None:
        """Say GOAWAY and refuse what comes after; wait until the last call has ended.

        Returns at once on a closed connection. The connection is not closed by this: see
        :meth:`wait_closed` and :meth:`close`.
        """
        self._unused = anyio.Event()
        if not self._is_closing:
            self._h2.goaway(ErrorCodes.NO_ERROR)
        self._close_if_unused()
        await self._unused.wait()

    # -- for calls ------------------------------------------------------------------------------

    async def open_stream(self, headers: Callable[[], Headers]) -> MessageStream | None:
        """Open a client's stream as soon as the peer's limit of concurrent streams admits it.

        ``headers`` is called at that moment. Callers wait in the order in which they came; one
        that is cancelled gives up its place. Not a checkpoint when there is a slot.

        Returns:
            The stream, or None if the connection takes no new calls.

        Raises:
            GRPCError: RESOURCE_EXHAUSTED, too many callers wait.

        """
        if not self._stream_limit.is_free:
            await self._stream_limit.wait()
        return self._open_stream(headers)

    def open_stream_nowait(self, headers: Callable[[], Headers]) -> MessageStream | None:
        """Open a client's stream if there is a free slot and nobody waits for it; None if not."""
        return self._open_stream(headers) if self._stream_limit.is_free else None

    def _open_stream(self, headers: Callable[[], Headers]) -> MessageStream | None:
        if self.error is not None:
            return None
        stream_id = self._h2.get_next_available_stream_id()
        self._h2.send.headers(stream_id, headers())
        stream = self._add_stream(stream_id)
        self._unsent.add(stream)
        return stream

    def open_window(self, stream: MessageStream, increment: int) -> None:
        """Queue WINDOW_UPDATE for a stream."""
        if not (self._is_closing or stream.is_closed):
            with suppress(StreamClosedError):  # see reset
                self._h2.increment_flow_control_window(increment, stream.id)

    def send_headers(self, stream: MessageStream, headers: Headers, *, end: bool = False) -> None:
        """Queue HEADERS; with ``end`` they are trailers, and nothing follows."""
        if self._is_closing or stream.is_reset or stream.local_ended:
            return
        stream.is_answered = True
        self._h2.send.headers(stream.id, headers, end=end)
        self._headers_or_data_sent(stream, is_last=end)

    def schedule(self, stream: MessageStream) -> None:
        """Let the writer serve a stream's outbox."""
        if not stream.is_sending:
            stream.is_sending = True
            self._sending.append(stream)
            self._writable.notify()

    def reset(self, stream: MessageStream, code: ErrorCodes) -> None:
        """Send RST_STREAM unless the stream is closed."""
        if self._is_closing or stream.is_closed:
            return
        stream.is_reset = True
        # A frame with END_STREAM closes the stream in h2 before we have handled what it means.
        with suppress(StreamClosedError):
            self._h2.send.reset(stream.id, code)
        self._stream_limit.give_back()

    def release(self, stream: MessageStream) -> None:
        """Forget a stream whose call has ended."""
        self.streams.pop(stream.id, None)
        self._blocked.pop(stream, None)
        self._close_if_unused()

    # -- tasks ----------------------------------------------------------------------------------

    async def _run(self) -> None:
        with self._scope:
            try:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._reader, name="reader")
                    tasks.start_soon(self._writer, name="writer")
                    tasks.start_soon(self._keepalive, name="keepalive")
            except Exception:  # noqa: BLE001 - a bug of ours or of h2's: the process goes on
                _log.exception("%r failed", self)
            finally:
                self._lose("The connection was closed")
                await anyio.aclose_forcefully(self.transport)

    async def _reader(self) -> None:
        try:
            while True:
                data = await self.transport.receive(_READ_SIZE)
                self.last_received = current_time()
                self._receive(data)
        except _LOSSES as error:
            self._lose(_describe_loss(error))

    async def _writer(self) -> None:
        try:
            while not (self._is_closing and not self._h2.queued):
                self._fill()
                if data := self._h2.data_to_send():
                    self._unsent.clear()
                    await self.transport.send(data)
                elif not self._is_closing:
                    await self._writable.wait()
        except _LOSSES as error:
            self._lose(_describe_loss(error))
        self._scope.cancel()

    def _write_nowait(self, queued: bytearray) -> int:
        """Write what the socket takes at once, and return its size; the rest is the writer's."""
        if not isinstance(self.transport, TrySendStream):
            return 0
        size = self.transport.send_nowait(queued)
        if size:
            self._unsent.clear()
        return size

    async def _keepalive(self) -> None:
        time = self._config._keepalive_time  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - grpclib's name
        if time is not None:
            await self._pinger.run(time, lambda: self._lose("The peer does not answer pings"))

    def ping_nowait(self) -> None:
        """Queue a PING frame."""
        if not self._is_closing:
            self._h2.ping(b"keepaliv")

    # -- sending --------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Move what the windows allow from the outboxes to h2: one frame a stream and turn."""
        sending = self._sending
        while sending and self._h2.queued < _FRAME_SIZE:
            stream = sending.popleft()
            stream.is_sending = False
            if stream.error is None and not (stream.is_closed or stream.local_ended):
                self._send_frame(stream)

    def _send_frame(self, stream: MessageStream) -> None:
        outbox = stream.outbox
        if not (outbox or outbox.is_ending):
            return
        window = self._h2.local_flow_control_window(stream.id)
        size = min(len(outbox), window, _FRAME_SIZE)
        # Below zero, where a setting of the peer's can take it, not even an empty frame may go.
        if size < 0 or (outbox and not size):
            self._blocked[stream] = None
            return
        is_last = outbox.is_ending and size == len(outbox)
        ends_here = is_last and outbox.trailers is None
        if size or ends_here:
            self._h2.send.data(stream.id, outbox.take(size), end=ends_here)
        if is_last and outbox.trailers is not None:
            self._h2.send.headers(stream.id, outbox.trailers, end=True)
        self._headers_or_data_sent(stream, is_last=is_last)
        if outbox:
            self.schedule(stream)

    def _headers_or_data_sent(self, stream: MessageStream, *, is_last: bool) -> None:
        self._pinger.data_sent()
        self._strikes.data_sent()
        if is_last:
            stream.local_ended = True
            self._check_closed(stream)
        stream.room_made()

    def _unblock(self, stream_id: int) -> None:
        """Let streams try again: all of them for stream 0, the connection itself."""
        candidates = [s for s in self._blocked if stream_id in (0, s.id)]
        for stream in candidates:
            self._blocked.pop(stream, None)
            self.schedule(stream)

    # -- receiving ------------------------------------------------------------------------------

    def _receive(self, data: bytes) -> None:
        # What arrives while we close has no meaning any more; read it all the same, for bytes
        # left unread would turn the close into a reset that overtakes our GOAWAY.
        events = self._h2.receive(data)
        while not self._is_closing and (event := self._next_event(events)):
            handle = self._handlers.get(type(event))
            if handle is not None:
                handle(event)
        if self._h2.queued > self._config.max_write_buffer_size:
            self._lose("The peer does not read")

    def _next_event(self, events: Iterator[h2_events.Event]) -> h2_events.Event | None:
        try:
            return next(events, None)
        except ProtocolError as error:
            # h2 has queued a GOAWAY that says what it was.
            self._fail_protocol(error)
            return None

    def _fail_protocol(self, error: ProtocolError) -> None:
        if self._is_closing:
            return
        _log.warning("%r: the peer broke the protocol: %s", self, error)
        self._end(TerminatedError(Status.INTERNAL, "The peer broke the HTTP/2 protocol"))
        self._scope.deadline = current_time() + self._config.close_timeout

    def _request_received(self, event: h2_events.RequestReceived) -> None:
        if self.on_request is None or self._is_full:
            self._refuse(event.stream_id)
            return
        stream = self._add_stream(event.stream_id)
        stream.headers_received(cast("Headers", event.headers))
        self.on_request(stream)

    @property
    def _is_full(self) -> bool:
        limit = self._config.max_concurrent_streams
        return (
            self._unused is not None  # retired
            or self._stream_limit.taken >= limit
            or len(self.streams) >= _HANDLERS_PER_SLOT * limit
        )

    def _refuse(self, stream_id: int) -> None:
        with suppress(StreamClosedError):  # see reset
            self._h2.send.reset(stream_id, ErrorCodes.REFUSED_STREAM)
        self._spend(self._resets)

    def _spend(self, budget: LeakyBucket) -> None:
        if not budget.allow(self.last_received):
            _log.warning("%r: a flood from the peer: %s", self, budget.name.decode())
            self.close(ErrorCodes.ENHANCE_YOUR_CALM, budget.name)

    def _response_received(self, event: h2_events.ResponseReceived) -> None:
        if stream := self.streams.get(event.stream_id):
            stream.headers_received(cast("Headers", event.headers))

    def _headers_received(self, stream_id: int, headers: Headers) -> None:
        """Take the headers of a response that h2 has not made an event of."""
        if stream := self.streams.get(stream_id):
            stream.headers_received(headers)

    def _bytes_received(self, stream_id: int, data: bytes, size: int) -> None:
        """Take a DATA frame that h2 has not made an event of, see ``OnFrames``."""
        if increment := self._window.credit(size):
            self._h2.increment_flow_control_window(increment)
        if data and (stream := self.streams.get(stream_id)):
            stream.data_received(data, 0)

    def _data_received(self, event: h2_events.DataReceived) -> None:
        size = event.flow_controlled_length
        if increment := self._window.credit(size):
            self._h2.increment_flow_control_window(increment)
        if stream := self.streams.get(event.stream_id):
            stream.data_received(event.data, size - len(event.data))
        if not event.data:
            self._empty_data_received(event, size)

    def _empty_data_received(self, event: h2_events.DataReceived, size: int) -> None:
        stream = self.streams.get(event.stream_id)
        # What crossed our reset on the wire comes without its data: see Http2.
        is_late = size > 0 and (stream is None or stream.is_closed)
        if event.stream_ended is None and not is_late:
            self._spend(self._empty_frames)

    def _trailers_received(self, event: h2_events.TrailersReceived) -> None:
        if stream := self.streams.get(event.stream_id):
            stream.trailers_received(cast("Headers", event.headers))

    def _stream_ended(self, event: h2_events.StreamEnded) -> None:
        if stream := self.streams.get(event.stream_id):
            stream.end_received()
            self._check_closed(stream)

    def _stream_reset(self, event: h2_events.StreamReset) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is None or stream.is_closed:
            return
        stream.is_reset = True
        if not (self._client_side or stream.is_answered):
            self._spend(self._resets)
        if event.remote_reset:
            stream.fail(reset_error(event.error_code))
        else:
            stream.fail(TerminatedError(Status.INTERNAL, "The peer broke the HTTP/2 protocol"))
        self._stream_limit.give_back()

    def _window_updated(self, event: h2_events.WindowUpdated) -> None:
        self._unblock(event.stream_id or 0)

    def _settings_changed(self, event: h2_events.RemoteSettingsChanged) -> None:
        self._ready.set()
        self._spend(self._settings)
        if SettingCodes.INITIAL_WINDOW_SIZE in event.changed_settings:
            self._unblock(0)
        self._stream_limit.admit()

    def _settings_acknowledged(self, _event: h2_events.SettingsAcknowledged) -> None:
        self._spend(self._settings)

    def _unknown_received(self, _event: h2_events.UnknownFrameReceived) -> None:
        self._spend(self._empty_frames)

    def _ping_answered(self, event: h2_events.PingAckReceived) -> None:
        self._spend(self._pings)
        if event.ping_data == _ROUND_TRIP:
            self._answered.set()

    def _ping_received(self, _event: h2_events.PingReceived) -> None:
        self._pinged()

    def _pinged(self) -> None:
        self._spend(self._pings)
        if not self._client_side and self._strikes.is_out():
            self.close(ErrorCodes.ENHANCE_YOUR_CALM, _TOO_MANY_PINGS)

    def _goaway_received(self, event: h2_events.ConnectionTerminated) -> None:
        code, detail = event.error_code or ErrorCodes.NO_ERROR, event.additional_data or b""
        too_many_pings = code == ErrorCodes.ENHANCE_YOUR_CALM and detail == _TOO_MANY_PINGS
        self.got_too_many_pings = self.got_too_many_pings or too_many_pings
        error = unavailable(goaway_message(code, detail))
        self._stop_opening(error)
        if self._client_side:
            self._fail_unprocessed(event.last_stream_id or 0, error)
        self._close_if_unused()

    def _fail_unprocessed(self, last_stream_id: int, error: TerminatedError) -> None:
        for stream in [s for s in self.streams.values() if s.id > last_stream_id]:
            stream.fail(unprocessed(error))

    # -- streams, the end ------------------------------------------------------------------------

    def _add_stream(self, stream_id: int) -> MessageStream:
        stream = MessageStream(self, stream_id, self._config)
        self.streams[stream_id] = stream
        self._stream_limit.take()
        self._pinger.call_opened()
        return stream

    def _max_streams(self) -> int:
        limit: int = self._h2.remote_settings.max_concurrent_streams
        return limit

    def _check_closed(self, stream: MessageStream) -> None:
        if stream.local_ended and stream.remote_ended and not stream.is_reset:
            self._stream_limit.give_back()

    def _stop_opening(self, error: TerminatedError) -> None:
        if self.error is None:
            self.error = error
        self._ready.set()
        self._stream_limit.close()

    def _close_if_unused(self) -> None:
        if self.streams:
            return
        if self._unused is not None:
            self._unused.set()
        elif self.error is not None:
            self.close()

    def _lose(self, message: str) -> None:
        """End everything now: there is nobody to send anything to."""
        self._end(unavailable(message))
        self._scope.cancel()

    def _end(self, error: TerminatedError) -> None:
        if self._is_closing:
            return
        self._is_closing = True
        self._stop_opening(error)
        for stream in list(self.streams.values()):
            stream.fail(unprocessed(error) if stream in self._unsent else error.copy())
        # A stream lives no longer than its call; we are in a cycle, and live until it is collected.
        self._sending.clear()
        self._unsent.clear()
        self._closed.set()
        self._answered.set()
        if self._unused is not None:
            self._unused.set()
        self._writable.notify()

    def __repr__(self) -> str:
        """Name the side, for logs and task names."""
        return f"<{'client' if self._client_side else 'server'} connection>"


def _describe_loss(error: Exception) -> str:
    if isinstance(error, anyio.EndOfStream):
        return "The peer closed the connection"
    return f"The connection was lost: {error.__cause__ or error!r}"
