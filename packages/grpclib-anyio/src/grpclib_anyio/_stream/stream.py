"""One gRPC call on the wire: the messages that come in and the messages that go out.

A :class:`MessageStream` has two ends. The call's own task uses the awaiting one (``receive``,
``send``). The connection's reader and writer use the other, which is plain calls throughout.
Nothing here knows HTTP/2 frames: a :class:`Wire` is asked for what has to be sent. For example, a
unary call, with what the connection does in between on the right::

    await stream.send(request, end=True)
                                              # the writer takes it from stream.outbox
                                              stream.headers_received(headers)
                                              stream.data_received(data, padding=0)
    answer = await stream.receive()
                                              stream.trailers_received(trailers)
                                              stream.end_received()
    trailers = await stream.receive_trailers()
    stream.release()

Both buffers are bounded, and a full one stops one sender only:

- The :class:`Inbox` is bounded by the stream's HTTP/2 window (the peer stops sending this call's
  messages) and by the largest message allowed (the call fails).
- The :class:`Outbox` is bounded by ``max_outbox_size`` (``send`` waits for the peer to read).
"""

from time import monotonic
from typing import TYPE_CHECKING, Protocol

from anyio.lowlevel import checkpoint
from grpclib.const import Status
from h2.errors import ErrorCodes

from grpclib_anyio._base.config import Configuration
from grpclib_anyio._base.errors import DeadlineExceededError, GRPCError, again
from grpclib_anyio._base.headers import Headers
from grpclib_anyio._base.notify import Notify
from grpclib_anyio._base.trio_io import current_time
from grpclib_anyio._stream.buffers import COMPRESSED, Inbox, Outbox
from grpclib_anyio._stream.compression import ENCODING, Compressed, deflate, inflate
from grpclib_anyio._stream.flow_control import ReceiveWindow
from grpclib_anyio._stream.state import StreamState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["MessageStream", "Wire"]

_SUCCESS: Headers = [("grpc-status", "0")]
#: A fast peer could keep a task from ever yielding. One real checkpoint in this many messages
#: keeps the others served, and costs a fraction of a microsecond a message.
_MESSAGES_PER_TURN = 64
#: Seconds after which the next message has a checkpoint, because a handler that blocks between two
#: messages stops everybody. Not on the loop's clock, which costs more to read than a message.
_TURN_SECONDS = 0.01
#: What arrived while a handler blocked takes three turns of the event loop to reach it: the
#: socket is read, the frames are handled, the handler's task is cancelled.
_TURNS_TO_HEAR = 3
#: Bytes compressed or inflated that count as one more message: the event loop waits for these.
_BYTES_PER_MESSAGE = 65_536


class Wire(Protocol):
    """What a stream asks of its connection. Plain calls: they never wait."""

    def open_window(self, stream: "MessageStream", increment: int) -> None:
        """Tell the peer that it may send ``increment`` more bytes on this stream."""

    def send_headers(self, stream: "MessageStream", headers: Headers, *, end: bool = False) -> None:
        """Send HEADERS."""

    def headers_room(self, headers: Headers) -> int:
        """Return the bytes of headers that the peer takes beyond ``headers``, or less than 0."""
        ...

    def schedule(self, stream: "MessageStream") -> None:
        """Note that the stream's outbox holds something to send."""

    def reset(self, stream: "MessageStream", code: ErrorCodes) -> None:
        """Send RST_STREAM, unless the stream is closed already."""

    def release(self, stream: "MessageStream") -> None:
        """Forget the stream: its call has ended."""


class MessageStream:
    """The messages, headers and end of one HTTP/2 stream.

    A failure (:meth:`fail`) wakes every waiting operation. Messages that had arrived before it
    can still be received, unless it says otherwise.
    """

    def __init__(self, wire: Wire, stream_id: int, config: Configuration) -> None:
        """Open the stream in memory; its HEADERS frame is the connection's business."""
        self.id = stream_id
        self.headers: Headers | None = None
        self.trailers: Headers | None = None
        self.error: GRPCError | None = None
        self.state = StreamState()
        self.outbox = Outbox()
        #: When our call expires, on the loop's clock.
        self.deadline: float | None = None
        #: Called once, in place, when the stream fails.
        self.on_failure: Callable[[], None] | None = None
        self._wire = wire
        self._inbox = Inbox(config.max_message_size)
        #: Why no message can be received after those that are in the inbox.
        self._refusal: GRPCError | None = None
        self._window = ReceiveWindow(config.http2_stream_window_size)
        self._max_message_size = config.max_message_size
        self._accepts_compression = config.accepts_compression
        self._max_outbox_size = config.max_outbox_size
        self._received = Notify()
        self._sent = Notify()
        self._is_hungry = False
        self._begin_turn()

    # -- the call's end -------------------------------------------------------------------------

    @property
    def is_handled(self) -> bool:
        """Whether a server's handler has begun."""
        return self.on_failure is not None

    async def receive_headers(self) -> Headers:
        """Wait for the peer's first HEADERS; not a checkpoint when they are there already.

        Raises:
            GRPCError: the stream failed first.

        """
        while self.headers is None:
            self._raise_error()
            await self._received.wait()
        return self.headers

    async def receive(self) -> bytes | None:
        """Return the next message, or None once the peer has ended the stream.

        Waits for the peer. Not a checkpoint when a message is there already, but for one in
        64, and the first after 10 ms. A cancelled receive loses no message.

        Raises:
            GRPCError: the stream failed, or the next message is refused, and what came before
                has been received.

        """
        if self._inbox.messages and self._is_turn_over():
            await self._share()
        if not (self._inbox.messages or await self._wait_for_message()):
            return None
        message, credit = self._inbox.take()
        self._credit(credit)
        return self._inflated(message) if self._inbox.max_flag else message

    async def receive_several(self, limit: int) -> list[bytes]:
        """Return the messages that are there, ``limit`` at most, or none once the peer has ended.

        Waits for the first one; otherwise as :meth:`receive`.
        """
        if self._inbox.max_flag:  # each is inflated when it is taken, and that may fail
            message = await self.receive()
            return [] if message is None else [message]
        if self._inbox.messages and self._is_turn_over():
            await self._share()
        if not (self._inbox.messages or await self._wait_for_message()):
            return []
        messages, credit = self._inbox.take_several(limit)
        self._turn_messages += len(messages) - 1
        self._credit(credit)
        return messages

    async def receive_trailers(self) -> Headers:
        """Wait for the peer to end the stream and return its trailers, empty if there are none.

        Messages that were not received are dropped.

        Raises:
            GRPCError: the stream failed first.

        """
        while await self.receive() is not None:
            pass
        return self.trailers or []

    async def send(self, message: bytes, *, end: bool = False) -> None:
        """Queue one message for the writer, whole; with ``end`` it is the last thing sent.

        Waits while the outbox is full: the peer does not read, or another call's data is being
        sent. Not a checkpoint when there is room, but for one in 64, and the first after
        10 ms. A cancelled send has queued nothing.

        Raises:
            GRPCError: the stream failed.

        """
        queued = len(self.outbox)
        if not queued:  # the writer has had its turn since the last message, and so have others
            self._begin_turn()
        elif self._is_turn_over():
            await self._share()
            queued = len(self.outbox)
        while queued >= self._max_outbox_size:
            self._raise_error()
            await self._sent.wait()
            queued = len(self.outbox)
        self._raise_error()
        if self.outbox.is_compressing:
            self._add_compressed(message)
        else:
            self.outbox.add(message)
        self.outbox.is_ending |= end
        self._wire.schedule(self)

    def resend(self, messages: "Iterable[bytes]", *, end: bool) -> None:
        """Queue what was sent on a stream that failed, beyond what an outbox holds otherwise."""
        add = self._add_compressed if self.outbox.is_compressing else self.outbox.add
        for message in messages:
            add(message)
        self.outbox.is_ending |= end
        self._wire.schedule(self)

    def headers_room(self, headers: Headers) -> int:
        """Return the bytes of headers that the peer takes beyond ``headers``, or less than 0."""
        return self._wire.headers_room(headers)

    def send_headers(self, headers: Headers) -> None:
        """Send a response's headers.

        Raises:
            GRPCError: the stream failed.

        """
        self._raise_error()
        self._wire.send_headers(self, headers)

    def end(self, trailers: Headers | None = None) -> None:
        """End our side of the stream after what is queued, with ``trailers`` if there are any.

        Does nothing on a stream that has failed.
        """
        if self.error is not None:
            return
        if trailers is not None and not self.outbox:
            self._wire.send_headers(self, trailers, end=True)
            return
        self.outbox.trailers = trailers
        self.outbox.is_ending = True
        self._wire.schedule(self)

    async def wait_sent(self) -> None:
        """Wait until everything queued, the end included, has been handed to the socket.

        Not a checkpoint if it has been.

        Raises:
            GRPCError: the stream failed first.

        """
        while not self.state.local_ended:
            self._raise_error()
            await self._sent.wait()

    def abort(self, error: GRPCError) -> None:
        """Fail the call with ``error`` and reset the stream with CANCEL."""
        self.fail(error, discard=True)
        self._wire.reset(self, ErrorCodes.CANCEL)

    def release(self, code: ErrorCodes = ErrorCodes.CANCEL) -> None:
        """Let go of the stream; resets it with ``code`` unless both sides have ended it.

        Plain call, so that a cancelled task can make it. May be called again.
        """
        self._wire.reset(self, code)
        self._inbox.clear()
        self.outbox.clear()
        self._wire.release(self)

    # -- the connection's end -------------------------------------------------------------------

    def headers_received(self, headers: Headers) -> None:
        """Take the peer's first HEADERS."""
        self.headers = headers
        if ENCODING in headers and self._accepts_compression:
            self._inbox.max_flag = COMPRESSED
        self._received.notify()

    def data_received(self, data: bytes, padding: int) -> bool:
        """Take the bytes of a DATA frame; ``padding`` bytes were counted with them.

        Returns:
            Whether they are one more of many that bring little, see ``Inbox``.

        """
        if self._refusal is not None:
            return False  # not credited, so the peer soon has to stop
        try:
            is_crumb = self._inbox.feed(data)
        except GRPCError as error:
            self._refuse(error)
            return False
        if padding:
            self._credit(padding)
        if self._inbox.messages:
            self._received.notify()
        elif self._is_hungry:
            self._credit(self._inbox.credit_incomplete())
        return is_crumb

    def trailers_received(self, trailers: Headers) -> None:
        """Take the peer's trailers; the end of the stream follows them."""
        self.trailers = trailers

    def end_received(self) -> None:
        """Wake the call's task: the peer sends nothing more, as ``state`` says."""
        self._received.notify()

    def room_made(self) -> None:
        """Wake the call's task if the outbox has room again, or the stream's end has been sent."""
        if self.state.local_ended or len(self.outbox) < self._max_outbox_size:
            self._sent.notify()

    def fail(self, error: GRPCError, *, discard: bool = False) -> None:
        """End the stream from outside: every task that waits, or will wait, is told ``error``.

        Only the first failure counts, and none does once both sides have ended. ``discard``
        also drops messages that arrived and were not received.
        """
        if self.error is not None or self.state.is_complete:
            return
        # A peer that keeps our deadline resets the stream at the same moment as we do.
        self.error = DeadlineExceededError() if self._is_late(error) else error
        self.outbox.clear()
        if discard:
            self._inbox.clear()
        self._received.notify()
        self._sent.notify()
        if self.on_failure is not None:
            self.on_failure()

    # -- inside ---------------------------------------------------------------------------------

    async def _wait_for_message(self) -> bool:
        """Wait until there is a message; False if there will be none."""
        while not self._inbox.messages:
            if self._refusal is not None:
                raise again(self._refusal)
            if self.state.remote_ended:
                self._raise_if_truncated()
                return False
            self._raise_error()
            await self._wait_for_bytes()
        return True

    async def _wait_for_bytes(self) -> None:
        self._credit(self._inbox.credit_incomplete())
        self._is_hungry = True
        try:
            await self._received.wait()
        finally:
            self._is_hungry = False
        self._begin_turn()

    def _begin_turn(self) -> None:
        """Note that others have had their turn just now."""
        self._turn_messages = 0
        self._turn_ends = monotonic() + _TURN_SECONDS

    def _is_turn_over(self) -> bool:
        """Count one more message of this turn, and say whether it is the others' turn."""
        self._turn_messages += 1
        return self._turn_messages >= _MESSAGES_PER_TURN or monotonic() >= self._turn_ends

    async def _share(self) -> None:
        """Give the others their turn; after a long one of ours, until what arrived is known."""
        for _ in range(_TURNS_TO_HEAR if monotonic() >= self._turn_ends else 1):
            await checkpoint()
        self._begin_turn()

    def _refuse(self, error: GRPCError) -> None:
        # For the call's task: a server answers with this status, a client resets.
        self._refusal = again(error)
        self._received.notify()

    def _inflated(self, message: bytes) -> bytes:
        if not isinstance(message, Compressed):
            return message
        try:
            inflated = self._inflate(message, self._max_message_size)
        except GRPCError as error:
            # The end of what can be received, as when a message is refused by its prefix.
            self._refusal = again(error)
            self._inbox.clear()
            raise
        self._turn_messages += len(inflated) // _BYTES_PER_MESSAGE
        return inflated

    def _inflate(self, message: Compressed, max_size: int) -> bytes:
        return inflate(message, max_size)

    def _add_compressed(self, message: bytes) -> None:
        deflated = deflate(message)
        if deflated is None:
            self.outbox.add(message)
        else:
            self.outbox.add(deflated, COMPRESSED)
        self._turn_messages += len(message) // _BYTES_PER_MESSAGE

    def _credit(self, size: int) -> None:
        increment = self._window.credit(size)
        if increment and not self.state.remote_ended:
            self._wire.open_window(self, increment)

    def _is_late(self, error: GRPCError) -> bool:
        is_cancelled = error.status is Status.CANCELLED
        return is_cancelled and self.deadline is not None and current_time() >= self.deadline

    def _raise_if_truncated(self) -> None:
        # A peer that gave up within a message says why in its trailers, and that is worth more.
        if self._inbox.is_incomplete and ("grpc-status", "0") in (self.trailers or _SUCCESS):
            raise GRPCError(Status.INTERNAL, "The stream ended within a message")

    def _raise_error(self) -> None:
        if self.error is not None:
            raise again(self.error)
