"""A connection of hypercorn's trio worker whose writes end, and that fails alone.

Three things in hypercorn 0.18 are not as a relay needs them; ``patch`` has them all in its table:

- ``TCPServer.protocol_send`` writes under an unbounded shield. A client that stops reading holds
  its request past every deadline, and the whole server past its shutdown. Here a write has
  ``write_timeout`` seconds, and what is still being written when the connection ends a quarter of a
  second more.
- An exception in one connection leaves the nursery of all of them. Here it is logged, and ends its
  own connection.
- The timer of an idle connection is restarted in the task of a request that is over, and with
  quart-trio that task is being cancelled just then. See ``idle``.

A connection without TLS reads and writes its socket itself, because trio's stream takes three
coroutines and a generator more for each read. For example, a token on its way to a browser::

    ChunkWriter.write_nowait ── os.write ──▶ socket        all of it was taken: nothing else runs
                                   └── a part was taken ──▶ ChunkWriter.write waits for the client
"""

import os
from collections.abc import Coroutine
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Any, cast

import trio
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol import ProtocolWrapper
from hypercorn.trio.tcp_server import MAX_RECV, TCPServer
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr  # pyright: ignore[reportUnknownVariableType] - a socket's own
from structlog.stdlib import get_logger

from relay_gateway.extensions import CHUNK_WRITER
from relay_gateway.server.http2 import ContainedH2Protocol
from relay_gateway.server.http2_receiver import BrokenOffError
from relay_gateway.server.idle import IdleTimer, Terminated
from relay_gateway.server.requests import RequestTasks
from relay_gateway.server.worker import Worker, current_worker

if TYPE_CHECKING:
    from hypercorn.trio.worker_context import TrioSingleTask
    from hypercorn.typing import AppWrapper

__all__ = ["BoundedTCPServer", "ChunkedBody"]

#: Seconds for a write in progress when its connection is being ended: enough for a client that
#: reads.
_LAST_WRITE_SECONDS = 0.25
#: Characters that are logged of what went wrong with a connection, since some errors quote all that
#: the client sent.
_LOGGED_ERROR_LENGTH = 200

_log = get_logger(__name__)


class ChunkedBody:
    """Writes chunks of one response to a connection; an ``extensions.ChunkWriter``."""

    def __init__(self, connection: "BoundedTCPServer") -> None:
        """Write to a connection."""
        self._connection = connection

    def write_nowait(self, data: bytes) -> bool:
        """Write one chunk as far as the client takes it at once."""
        return self._connection.write_nowait(b"%x\r\n%b\r\n" % (len(data), data))

    async def write(self, data: bytes) -> None:
        """Write what is left, and one chunk unless ``data`` is ``FLUSH``."""
        await self._connection.write(b"%x\r\n%b\r\n" % (len(data), data) if data else b"")


class BoundedTCPServer(TCPServer):
    """A connection whose writes end, in time or with the connection, and that fails alone."""

    #: Seconds for one write; a client that takes longer to read it loses its connection.
    write_timeout = 30.0

    def __init__(self, *args: Any) -> None:
        """Begin as hypercorn does."""
        super().__init__(*args)
        self._application, self.app = self.app, cast("AppWrapper", self._run_application)
        self._socket: trio.socket.SocketType | None = getattr(self.stream, "socket", None)
        #: The same socket, if the stream adds nothing to reading from it.
        is_plain = isinstance(cast("Any", self.stream), trio.SocketStream)
        self._incoming = self._socket if is_plain else None
        #: Bytes that could not be written at once. They go before anything else.
        self._unsent = b""
        self._reading = trio.CancelScope()
        terminated = cast("Terminated", self.context.terminated)  # our DrainingContext's
        self._idle = IdleTimer(terminated, self.config.keep_alive_timeout)
        self.idle_task = cast("TrioSingleTask", self._idle)
        self._writes: set[trio.CancelScope] = set()
        self._last_write_deadline = inf

    async def run(self) -> None:
        """Serve the client until either side closes the connection."""
        worker = current_worker.get() or Worker()
        worker.connections.add(self)
        try:
            await self._serve()
        except* Exception as errors:  # noqa: BLE001 - whatever it is, the other connections go on
            _log.exception("connection failed", exc_info=errors)
        finally:
            worker.connection_ended(self)
            # Each refers to us and we to it, so only the garbage collector would free them.
            del self.app
            self.__dict__.pop("protocol", None)  # absent if the client disconnected at once

    async def _serve(self) -> None:
        if self._socket is not None:
            await self._serve_protocol(self._socket, "http/1.1", ssl=False)
        elif (alpn_protocol := await self._handshake()) is not None:
            socket = self.stream.transport_stream.socket
            await self._serve_protocol(socket, alpn_protocol, ssl=True)

    async def _handshake(self) -> str | None:
        """Return what the client chose by ALPN, "" for nothing; None if it did not shake hands."""
        try:
            with trio.fail_after(self.config.ssl_handshake_timeout):
                await self.stream.do_handshake()
        except (trio.BrokenResourceError, trio.TooSlowError):
            return None
        return self.stream.selected_alpn_protocol() or ""

    async def _serve_protocol(
        self, socket: trio.socket.SocketType, alpn_protocol: str, *, ssl: bool
    ) -> None:
        try:
            family = socket.family
            client = parse_socket_addr(family, socket.getpeername())
            server = parse_socket_addr(family, socket.getsockname())
            async with RequestTasks() as self._task_group:
                self.protocol = ProtocolWrapper(
                    self.app,
                    self.config,
                    self.context,
                    self._task_group,
                    ConnectionState(self.state),
                    ssl,
                    client=client,
                    server=server,
                    send=self.protocol_send,
                    alpn_protocol=alpn_protocol,
                )
                await self.protocol.initiate()
                await self._idle.restart()
                await self._read_data()
        except OSError:
            pass  # the client is gone
        finally:
            await self._close()  # noqa: ASYNC102 - bounded with TLS, and no wait without

    def _run_application(self, scope: Any, *more: Any) -> Coroutine[Any, Any, None]:
        if self._socket and scope["type"] == "http" and scope["http_version"] == "1.1":
            scope["extensions"][CHUNK_WRITER] = ChunkedBody(self)
        return self._application(scope, *more)

    async def protocol_send(self, event: Event) -> None:
        """Write bytes to the client, or do whatever hypercorn does for another event."""
        if isinstance(event, RawData):
            await self.write(event.data)
        else:
            await super().protocol_send(event)

    def write_nowait(self, data: bytes) -> bool:
        """Write what the client takes at once; False if some is left for :meth:`write`.

        Nearly every token is taken whole, so it needs no lock, no scope and no checkpoint.
        """
        taken = 0 if self._unsent or self.send_lock.locked() else self._try_send(data)
        self._unsent += data[taken:]
        return not self._unsent

    async def write(self, data: bytes) -> None:
        """Write what is left and then ``data``, or close the connection."""
        if not self.write_nowait(data):
            await self._write_unsent()

    def _try_send(self, data: bytes) -> int:
        """Give the kernel what it takes, and return how much that was."""
        if self._socket is None:
            return 0  # TLS has a state of its own
        try:
            return os.write(self._socket.fileno(), data)
        except OSError:
            return 0  # full, or broken: the long way finds out

    async def _write_unsent(self) -> None:
        # Half a frame must not be followed by another: a write is finished, or it is the last.
        deadline = min(trio.current_time() + self.write_timeout, self._last_write_deadline)
        is_sent = False
        with trio.CancelScope(shield=True, deadline=deadline) as scope:  # noqa: ASYNC912 - a lock's wait
            self._writes.add(scope)
            try:
                async with self.send_lock:
                    data, self._unsent = self._unsent, b""
                    await self.stream.send_all(data)
                    is_sent = True
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # the client is gone
            finally:
                self._writes.discard(scope)
        if not is_sent:
            await self._give_up()

    async def _give_up(self) -> None:
        # This may be any task of the connection, also a cancelled one. The reader does the rest.
        try:
            await trio.aclose_forcefully(self.stream)
        finally:
            # hypercorn parks its reader while a pipelined request waits; nothing else wakes it.
            self._reading.cancel()

    async def _read_data(self) -> None:
        try:
            late: bytes | None = b""
            while late is not None:  # once, unless bytes come just as the time is up
                late = await self._read(late)
            await self.protocol.handle(Closed())
        finally:
            self._idle.stop_nowait()
            self.hurry()

    def hurry(self) -> None:
        """Finish soon what is being written: the client disconnected, or the server stops."""
        deadline = trio.current_time() + _LAST_WRITE_SECONDS
        self._last_write_deadline = min(self._last_write_deadline, deadline)
        for scope in self._writes:
            scope.deadline = min(scope.deadline, self._last_write_deadline)

    def announce_end(self) -> None:
        """Send GOAWAY over HTTP/2; with HTTP/1.1, the response says so."""
        protocol: ProtocolWrapper | None = getattr(self, "protocol", None)
        inner = None if protocol is None else protocol.protocol
        if isinstance(inner, ContainedH2Protocol):
            # In a task, because a client that does not read makes it wait.
            cast("Any", self._task_group).spawn(inner.announce_end)

    async def _close(self) -> None:
        if self._socket is None:
            # TLS sends a last message, and a client that reads nothing leaves no room for it.
            with trio.move_on_after(_LAST_WRITE_SECONDS):
                await super()._close()
        else:
            self._socket.close()

    async def _read(self, data: bytes) -> bytes | None:
        """Read as hypercorn does, but leave it to the caller to tell the protocol of the end.

        The caller is outside the scope that cancels this. Otherwise an application would not be
        told of the disconnect, and HTTP/2's sending task would never end.

        Args:
            data: bytes that have been read already.

        Returns:
            Bytes that came although the connection had been idle for too long. They have to be
            handled in another scope.

        """
        try:
            with self._idle.scope() as self._reading:
                data = data or await self._receive()
                while data and not self._reading.cancel_called:
                    await self.protocol.handle(RawData(data))
                    data = await self._receive()
                if not data:
                    await self.protocol.handle(RawData(data))
                return data or None
            # The loop may have been blocked when the time was up, and bytes may have come since.
            return await self._last_look() or None
        except (trio.ClosedResourceError, trio.BrokenResourceError, trio.TooSlowError):
            pass
        except BrokenOffError as error:
            _log.warning("connection closed", reason=str(error))
            await self._see_the_client_close()
        except Exception as error:  # noqa: BLE001 - a client's bytes can lead to any
            reason = f"{type(error).__name__}: {error}"[:_LOGGED_ERROR_LENGTH]
            _log.warning("connection closed: hypercorn cannot take what came", reason=reason)
            await trio.aclose_forcefully(self.stream)
        return None

    async def _see_the_client_close(self) -> None:
        """Read and drop what still comes, for a short while.

        Bytes that nobody reads would turn our close into a reset, which overtakes what we have
        written: the client would not read why.
        """
        stream: trio.abc.ReceiveStream = getattr(self.stream, "transport_stream", self.stream)
        with trio.move_on_after(_LAST_WRITE_SECONDS):
            with suppress(OSError):
                if self._socket is not None:
                    self._socket.shutdown(trio.socket.SHUT_WR)
            while await stream.receive_some(MAX_RECV):
                pass

    async def _receive(self) -> bytes:
        """Wait for bytes; ``b""`` means that the client sends no more."""
        self._idle.wait_begins()
        if self.config.read_timeout is None:  # as usual: a scope less
            data = await self._receive_some()
        else:
            with trio.fail_after(self.config.read_timeout):
                data = await self._receive_some()
        self._idle.wait_ends()
        return data

    async def _last_look(self) -> bytes | None:
        with trio.CancelScope() as scope:
            scope.deadline = trio.current_time()  # on entry, it would end the scope before the look
            return await self._receive_some()
        return None

    async def _receive_some(self) -> bytes:
        if self._incoming is None:
            return bytes(await self.stream.receive_some(MAX_RECV))
        # The stream would do the same, with three coroutines and a generator more.
        while (descriptor := self._incoming.fileno()) >= 0:
            await trio.lowlevel.wait_readable(descriptor)
            try:
                return os.read(self._incoming.fileno(), MAX_RECV)
            except BlockingIOError:
                continue  # the socket was reported as readable, and is not
            except OSError as error:
                raise trio.BrokenResourceError from error
        raise trio.ClosedResourceError
