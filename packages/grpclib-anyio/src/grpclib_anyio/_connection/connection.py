"""One HTTP/2 connection: its socket, its tasks, and how it ends.

Theory of operation::

                          ┌─ _reader ──▶ Receiver ──▶ MessageStream.headers_received, …
    socket (ByteStream) ──┤                               ▲ receive       │ send
                          │                               the calls' own tasks
                          │                                               ▼
                          ├─ _writer ◀── Sender ◀── outboxes, one frame a stream and turn
                          └─ _keepalive ──▶ PING

    Connection   the tasks, opening a stream, and the end of all of it      this file
    Receiver     what each frame means for the streams                      receiver.py
    Sender       the order of the streams' bytes, and waiting for a window  sender.py
    Streams      the table of streams, and the peer's limit of them         streams.py
    Http2        h2: frames, HPACK, the windows' sizes                      http2.py

- **Only the writer waits for the socket.** A task that is cancelled while it writes leaves half a
  frame on the wire. The writer is not cancelled while the connection lives.
- **The reader never waits for a call.** It puts what arrives into the streams' inboxes. These are
  bounded, because HTTP/2's windows are.
- **h2 is called synchronously.** To encode a frame and to queue it is one step, so HPACK's state
  and the order on the wire are right after any cancellation. What a call asks for while it is being
  cancelled (``reset``) is therefore a plain call.
- **The connection outlives its calls.** Its tasks are shielded. Cancelling the scope around a
  channel cancels the calls first, and their resets are queued. Only leaving ``async with`` ends the
  tasks, after at most ``close_timeout`` seconds for what is queued.

For example, a client that makes one call::

    async with Connection(transport, config, client_side=True) as connection:
        await connection.wait_ready()                     # the peer's SETTINGS are here
        stream = await connection.open_stream(headers)    # waits for a slot; HEADERS are queued
        await stream.send(message, end=True)              # waits if the outbox is full
        answer = await stream.receive()
        stream.release()                                  # RST_STREAM unless both sides ended it
                                                          # GOAWAY, and the socket is closed
"""

import logging
from collections.abc import Callable
from typing import Self

import anyio
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint
from grpclib.const import Status
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError

from grpclib_anyio._base.config import Configuration
from grpclib_anyio._base.errors import GRPCError, TerminatedError, unavailable
from grpclib_anyio._base.headers import Headers
from grpclib_anyio._base.memory_budget import MemoryBudget, Share
from grpclib_anyio._base.trio_io import current_time
from grpclib_anyio._connection.http2 import Http2, without_values
from grpclib_anyio._connection.keepalive import Pinger, Strikes
from grpclib_anyio._connection.receiver import Receiver
from grpclib_anyio._connection.sender import Sender
from grpclib_anyio._connection.streams import ConnectionStatistics, Streams
from grpclib_anyio._stream.stream import MessageStream

__all__ = ["Connection", "ConnectionStatistics"]

#: What is handled before the calls' own tasks run: of small messages, a few milliseconds' worth.
_READ_SIZE = 16_384
#: Tells the answer to the PING of ``announce_goaway`` from the answers to keepalive's.
_ROUND_TRIP = b"lastcall"
_KEEPALIVE = b"keepaliv"

#: What a byte stream raises when it has ended. TLS adds errors of its own (they are OSErrors), and
#: may find the peer's end while it sends.
_LOSSES = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)

_log = logging.getLogger("grpclib_anyio")


class Connection:
    """Owns a byte stream and speaks HTTP/2 on it, for a client or for a server.

    An async context manager. Leaving it resets what streams are left, says GOAWAY, sends what is
    queued for at most ``close_timeout`` seconds, and closes the byte stream. Leaving it is safe in
    a cancelled scope. A lost connection does not cancel the body: see :meth:`wait_closed`.
    """

    def __init__(
        self,
        transport: ByteStream,
        config: Configuration,
        *,
        client_side: bool,
        budget: MemoryBudget | None = None,
    ) -> None:
        """Take over ``transport``; what a server's calls hold counts against ``budget``."""
        self.transport = transport
        #: Why the connection takes no new calls; None while it does.
        self.error: TerminatedError | None = None
        #: The peer found our pings too frequent.
        self.got_too_many_pings = False
        #: When bytes last came from the peer, on the loop's clock.
        self.last_received = float("-inf")
        #: When the last call ended, or the connection began; on the loop's clock.
        self.idle_since = float("-inf")
        #: Called with each new request; without it, requests are refused.
        self.on_request: Callable[[MessageStream], None] | None = None
        self._config = config
        self._client_side = client_side
        self._h2 = h2 = Http2(config, client_side=client_side)
        self._pinger, strikes = Pinger(self, config), Strikes(config)
        self.streams = Streams(
            config,
            max_streams=h2.max_streams,
            on_opened=self._pinger.call_opened,
            on_unused=self._close_if_unused,
            share=None if budget is None else Share(budget),
        )
        self._sender = Sender(h2, transport, self.streams, pinger=self._pinger, strikes=strikes)
        self._receiver = Receiver(
            self, h2, self.streams, self._sender, strikes=strikes, config=config
        )

    async def __aenter__(self) -> Self:
        """Start the tasks; not a checkpoint."""
        self.last_received = self.idle_since = current_time()
        self._ready = anyio.Event()
        self._closed = anyio.Event()
        self._round_trip = anyio.Event()
        self._unused: anyio.Event | None = None
        self._scope = anyio.CancelScope(shield=True)
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._run, name=f"{self!r}")
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Close the connection and wait for its tasks, for ``close_timeout`` at most."""
        self.close()
        self._tasks.cancel_scope.shield = True  # bounded: close has set a deadline
        # Not told of the body's exception, the task group does not wrap it in a group.
        await self._tasks.__aexit__(None, None, None)  # noqa: ASYNC102 - close has set a deadline

    # -- the tasks ------------------------------------------------------------------------------

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
                for _turn in self._receiver.receive(data):
                    await checkpoint()
                if self._h2.queued > self._config.max_write_buffer_size:
                    await self._let_writer_catch_up()
        except _LOSSES as error:
            self._lose(_describe_loss(error))

    async def _let_writer_catch_up(self) -> None:
        """Read no further until the peer has taken what is queued; give it up if it takes too long.

        What is queued now may be an honest burst, and the writer has not had its turn yet.
        """
        with anyio.move_on_after(self._config.close_timeout):  # noqa: ASYNC912 - the writer may have had its turn
            while self._h2.queued > self._config.max_write_buffer_size:
                await self._sender.wait_taken()
            return
        self._lose("The peer does not read")

    async def _writer(self) -> None:
        try:
            while data := await self._sender.next_output():
                await self.transport.send(data)
        except _LOSSES as error:
            self._lose(_describe_loss(error))
        self._scope.cancel()

    async def _keepalive(self) -> None:
        if self._config.keepalive_time is not None:
            await self._pinger.run(self._config.keepalive_time)
            self._lose("The peer does not answer pings")

    # -- opening streams ------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether new calls can be made."""
        return self.error is None

    async def wait_ready(self) -> None:
        """Wait for the peer's SETTINGS: it speaks HTTP/2, and its limits are known.

        Raises:
            TerminatedError: the connection was lost first.

        """
        await self._ready.wait()
        if self.error is not None:
            raise self.error.copy()

    async def open_stream(self, headers: Callable[[], Headers]) -> MessageStream | None:
        """Open a client's stream as soon as the peer's limit of concurrent streams admits it.

        ``headers`` is called at that moment. Callers wait in the order of their arrival; one
        that is cancelled gives up its place. Not a checkpoint when there is a slot.

        Returns:
            The stream, or None if the connection takes no new calls.

        Raises:
            GRPCError: RESOURCE_EXHAUSTED, too many callers wait, or ``headers`` are more than the
                peer takes.

        """
        if not self.streams.limit.is_free:
            await self.streams.limit.wait()
        return self._open_stream(headers)

    def open_stream_nowait(self, headers: Callable[[], Headers]) -> MessageStream | None:
        """Open a client's stream if there is a free slot and nobody waits for it; None if not."""
        return self._open_stream(headers) if self.streams.limit.is_free else None

    def _open_stream(self, headers: Callable[[], Headers]) -> MessageStream | None:
        if self.error is None and self._h2.is_used_up:
            self._stop_opening(unavailable("The connection has used up its stream numbers"))
            self._close_if_unused()
        if self.error is not None:
            return None
        try:
            return self._sender.open_stream(headers())
        except GRPCError:
            self.streams.limit.admit()  # the turn was not used: it is the next caller's
            raise

    def statistics(self) -> ConnectionStatistics:
        """Count what the connection holds."""
        return self.streams.statistics(queued=self._h2.queued)

    # -- what the peer is asked and what it says ------------------------------------------------

    @property
    def has_calls(self) -> bool:
        """Whether a stream is open."""
        return bool(self.streams)

    def send_ping(self) -> None:
        """Queue a PING frame of keepalive's: any answer of the peer will do."""
        if not self.streams.is_closed:
            self._h2.ping(_KEEPALIVE)

    def ping_answered(self, data: bytes) -> None:
        """Tell :meth:`announce_goaway` that its PING has come back."""
        if data == _ROUND_TRIP:
            self._round_trip.set()

    def settings_received(self) -> None:
        """Tell :meth:`wait_ready` that the peer speaks HTTP/2."""
        self._ready.set()

    def goaway_received(self, error: TerminatedError, *, too_many_pings: bool) -> None:
        """Take no new calls; close once the last of those there are has ended."""
        self.got_too_many_pings |= too_many_pings
        self._stop_opening(error)
        self._close_if_unused()

    # -- the end --------------------------------------------------------------------------------

    async def wait_closed(self) -> None:
        """Wait until the connection is lost, or closed by either side."""
        await self._closed.wait()

    async def announce_goaway(self) -> None:
        """Say GOAWAY that refuses nothing yet, and wait until the peer must have seen it.

        A PING goes to the peer and back meanwhile. Returns as well when the connection is closed.
        :meth:`retire` follows.
        """
        if not self.streams.is_closed:
            self._h2.announce_goaway()
            self._h2.ping(_ROUND_TRIP)
        await self._round_trip.wait()

    async def retire(self) -> None:
        """Say GOAWAY and refuse what comes after; wait until the last call has ended.

        Returns at once on a closed connection. The connection is not closed by this: see
        :meth:`wait_closed` and :meth:`close`.
        """
        self._unused = anyio.Event()
        self.on_request = None
        if not self.streams.is_closed:
            self._h2.goaway(ErrorCodes.NO_ERROR)
        self._close_if_unused()
        await self._unused.wait()

    def close(
        self, code: ErrorCodes = ErrorCodes.NO_ERROR, detail: bytes = b"", message: str = ""
    ) -> None:
        """Say GOAWAY, fail what calls are left and let the tasks end once all is sent.

        A client's calls are reset first, so that the peer stops working for them. Plain call; the
        tasks take ``close_timeout`` seconds at most. Does nothing on a closed connection.
        """
        if self.streams.is_closed:
            return
        if self._client_side:
            for stream in self.streams:
                self._sender.reset(stream, ErrorCodes.CANCEL)
        self._h2.goaway(code, detail)
        self.streams.mark_sent()  # they are ours to end, not to be made again
        self._end(unavailable(message or "The connection was closed"))
        self._scope.deadline = current_time() + self._config.close_timeout

    def protocol_broken(self, error: ProtocolError) -> None:
        """Fail all calls; h2 has queued a GOAWAY, and it is sent as in :meth:`close`."""
        if self.streams.is_closed:
            return
        _log.warning("%r: the peer broke the protocol: %s", self, without_values(error))
        self._end(TerminatedError(Status.INTERNAL, "The peer broke the HTTP/2 protocol"))
        self._scope.deadline = current_time() + self._config.close_timeout

    def _lose(self, message: str) -> None:
        """End everything now: there is nobody to send anything to."""
        self._end(unavailable(message))
        self._scope.cancel()

    def _end(self, error: TerminatedError) -> None:
        """Wake all tasks that wait for anything here; ``error`` is what calls are told."""
        if self.streams.is_closed:
            return
        self._stop_opening(error)
        self.streams.close(error)
        self._sender.wake()
        self._closed.set()
        self._round_trip.set()
        if self._unused is not None:
            self._unused.set()

    def _stop_opening(self, error: TerminatedError) -> None:
        if self.error is None:
            self.error = error
        self._ready.set()
        self.streams.limit.close()

    def _close_if_unused(self) -> None:
        if self.streams:
            return
        self.idle_since = current_time()
        if self._unused is not None:
            self._unused.set()
        elif self.error is not None:
            self.close()

    def __repr__(self) -> str:
        """Name the side, for logs and task names."""
        return f"<{'client' if self._client_side else 'server'} connection>"


def _describe_loss(error: Exception) -> str:
    if isinstance(error, anyio.EndOfStream):
        return "The peer closed the connection"
    return f"The connection was lost: {error.__cause__ or error!r}"
