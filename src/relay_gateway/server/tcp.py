"""hypercorn's trio worker, held to bounds that it does not keep by itself.

Some things in hypercorn 0.18 defeat what a relay promises:

- ``TCPServer.protocol_send`` writes under an unbounded shield. A client that stops reading holds
  its request past every deadline, and the whole server past its shutdown.
- ``StreamBuffer.pop`` wakes a paused sender although it took nothing. With HTTP/2's window at
  zero, the buffer of a client that does not read grows without a bound. Bounded, its sender waits
  for good: nothing is written that could time out.
- An exception in one connection leaves the nursery of all: a client of HTTP/2 ends the whole
  worker with one frame, such as a path that is not ASCII. ``H2Protocol`` raises one of its own
  when a request's body goes on after its response.
- A request takes a memory channel and tasks that only wait; see ``hypercorn_requests``.
- h11 checks a response's headers three times; see ``h11_headers``.
- The timer of an idle connection is restarted in the task of the request that is over, and with
  quart-trio that task is cancelled right then. A connection that had a request was never closed.
  And the timer costs two tasks a request; ``hypercorn_idle`` has one that costs none.
- ``H2Protocol`` closes its state after ``keep_alive_max_requests``: the streams that are open on
  the connection are cut off, and neither the client nor the application is told.

Two more cost time and nothing else: with a burst of browsers, trio takes their connections one by
one between all that runs (``hypercorn_accept``), and without TLS each begins with a handshake.

:func:`install` puts the subclasses below in their places. The application does it when it is
made, so it holds under plain ``hypercorn`` too; with a version of hypercorn that has not been
looked at it refuses. A test for each says when upstream no longer needs it.
"""

import os
from collections.abc import Coroutine
from math import inf
from typing import TYPE_CHECKING, Any, cast

import trio
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol import ProtocolWrapper
from hypercorn.trio.tcp_server import MAX_RECV, TCPServer
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr  # pyright: ignore[reportUnknownVariableType] - a socket's own
from structlog.stdlib import get_logger

from relay_gateway.extensions import CHUNK_WRITER, ChunkWriter
from relay_gateway.server.idle import IdleTimer, Terminated
from relay_gateway.server.requests import RequestTasks
from relay_gateway.server.worker import (
    Worker,
    current_worker,
)

if TYPE_CHECKING:
    from hypercorn.trio.worker_context import TrioSingleTask
    from hypercorn.typing import AppWrapper

__all__ = ["BoundedTCPServer"]

#: For a write in progress when its connection is being ended: enough for a client that reads.
_LAST_WRITE_SECONDS = 0.25
#: Of what went wrong with a connection: some errors quote all that the client sent.
_LOGGED_ERROR_LENGTH = 200

_log = get_logger(__name__)


class BoundedTCPServer(TCPServer):
    """A connection whose writes end, in time or with the connection, and that fails alone."""

    #: Seconds for one write; a client that takes longer to read it loses its connection.
    write_timeout = 30.0

    def __init__(self, *args: Any) -> None:
        """Take what hypercorn gives."""
        super().__init__(*args)
        self._application, self.app = self.app, cast("AppWrapper", self._run_application)
        self._socket: trio.socket.SocketType | None = getattr(self.stream, "socket", None)
        #: The same, if the stream does nothing but read from it.
        is_plain = isinstance(cast("Any", self.stream), trio.SocketStream)
        self._incoming = self._socket if is_plain else None
        #: What was to be written and is not: it goes before anything else.
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
            if self._incoming is None:
                await super().run()
            else:
                await self._serve(self._incoming)
        except* Exception as errors:  # noqa: BLE001 - whatever it is, the others go on
            _log.exception("connection failed", exc_info=errors)
        finally:
            worker.connections.discard(self)
            # Each is in a cycle with us, which would be there until the garbage collector comes.
            del self.app
            self.__dict__.pop("protocol", None)  # there is none yet if the client left at once

    async def _serve(self, socket: trio.socket.SocketType) -> None:
        # As hypercorn does when a handshake, in a scope of its own, has failed for want of TLS.
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
                    ssl=False,
                    client=client,
                    server=server,
                    send=self.protocol_send,
                    alpn_protocol="http/1.1",
                )
                await self.protocol.initiate()
                await self._idle.restart()
                await self._read_data()
        except OSError:
            pass  # the client is gone
        finally:
            socket.close()

    def _run_application(self, scope: Any, *more: Any) -> Coroutine[Any, Any, None]:
        if self._socket and scope["type"] == "http" and scope["http_version"] == "1.1":
            scope["extensions"][CHUNK_WRITER] = ChunkWriter(self)
        return self._application(scope, *more)

    async def protocol_send(self, event: Event) -> None:
        """Write bytes to the client, or do what else the protocol asks for."""
        if isinstance(event, RawData):
            await self.write(event.data)
        else:
            await super().protocol_send(event)

    def write_nowait(self, data: bytes) -> bool:
        """Write what the client takes at once; False if some is left for :meth:`write`.

        For nearly every token that is all of it, without a lock, a scope and a checkpoint.
        """
        taken = 0 if self._unsent or self.send_lock.locked() else self._send_nowait(data)
        self._unsent += data[taken:]
        return not self._unsent

    async def write(self, data: bytes) -> None:
        """Write what is left and then ``data``, or close the connection."""
        if not self.write_nowait(data):
            await self._write_unsent()

    def _send_nowait(self, data: bytes) -> int:
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
        with trio.CancelScope(shield=True, deadline=deadline) as scope:
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
        # In any task of the connection's, and perhaps a cancelled one: the reader does the rest.
        try:
            await trio.aclose_forcefully(self.stream)
        finally:
            # hypercorn parks its reader while a pipelined request waits, and would for good.
            self._reading.cancel()

    async def _read_data(self) -> None:
        try:
            late: bytes | None = b""
            while late is not None:  # once, but for what comes as the time is up
                late = await self._read(late)
            await self.protocol.handle(Closed())
        finally:
            self._idle.stop_nowait()
            self.hurry()

    def hurry(self) -> None:
        """Give up soon what is being written: the client has left, or the server stops."""
        deadline = trio.current_time() + _LAST_WRITE_SECONDS
        self._last_write_deadline = min(self._last_write_deadline, deadline)
        for scope in self._writes:
            scope.deadline = min(scope.deadline, self._last_write_deadline)

    async def _close(self) -> None:
        if self._socket is None:
            # TLS says good-bye, for which a client that reads nothing leaves no room.
            with trio.move_on_after(_LAST_WRITE_SECONDS):
                await super()._close()
        else:
            self._socket.close()

    async def _read(self, data: bytes) -> bytes | None:
        """Read as hypercorn does, but leave it to the caller to tell the protocol of the end.

        The caller is not cancelled where this is: an application would not be told that its client
        has left, and HTTP/2's sending task would wait for good.

        Args:
            data: what has been read already.

        Returns:
            What has come although the connection was idle for too long: it is to be handled, in
            another scope.

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
            # Others may have held up the loop since the time was up, and bytes have come.
            return await self._last_look() or None
        except (trio.ClosedResourceError, trio.BrokenResourceError, trio.TooSlowError):
            pass
        except Exception as error:  # noqa: BLE001 - whatever a client's bytes lead to
            reason = f"{type(error).__name__}: {error}"[:_LOGGED_ERROR_LENGTH]
            _log.warning("connection closed: hypercorn cannot take what came", reason=reason)
            await trio.aclose_forcefully(self.stream)
        return None

    async def _receive(self) -> bytes:
        """Wait for bytes; ``b""`` is their end."""
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
        # As the stream, which takes three coroutines and a generator more for it.
        while (descriptor := self._incoming.fileno()) >= 0:
            await trio.lowlevel.wait_readable(descriptor)
            try:
                return os.read(self._incoming.fileno(), MAX_RECV)
            except BlockingIOError:
                continue  # it was said to be readable, and is not
            except OSError as error:
                raise trio.BrokenResourceError from error
        raise trio.ClosedResourceError
