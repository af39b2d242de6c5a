"""hypercorn's listening sockets, from which several connections are taken when the loop is slow.

trio lets everything else run between two of them. While answers pour in, that is some milliseconds
of work, and with a burst of browsers the last waits for as many turns as there are browsers before
it. Measured with 64 that came at once: 0.36 s until the last one's request was on its way.

One at a time is better while turns are short: connections that are accepted together go on
together, and each waits for all others in everything that it does, its end included.

A connection is the handler's from then on. trio closes it once more behind the handler, which costs
a scope; that is left out for a plain socket, which ``tcp`` closes whatever happens.
"""

import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any, cast

import trio

__all__ = ["SeveralListener", "SeveralListenersTrio"]

_Handler = Callable[[Any], Awaitable[object]]
_Run = Callable[[Any, _Handler], Awaitable[object]]

#: Seconds for which the rest runs, after which connections have waited for too long.
_LONG_TURN = 0.003
#: Connections that are taken then, before it runs again. Not all: other workers may be waiting at
#: the same socket, and requests that have been accepted already go first.
_AT_ONCE = 16


class SeveralListener(trio.abc.Listener[trio.SocketStream]):
    """trio's ``SocketListener``, which lets the rest run less often when that takes long."""

    def __init__(self, listening: trio.socket.SocketType) -> None:
        """Take over a listening socket."""
        self._listener = trio.SocketListener(listening)
        # The same socket, for what trio's objects do not do without letting others run.
        self._raw = socket.socket(fileno=os.dup(listening.fileno()))
        self._raw.settimeout(0)
        #: How many may be taken before the rest runs again.
        self._more = 0

    async def accept(self) -> trio.SocketStream:
        """Wait for a connection; a checkpoint unless the turn before was a long one.

        Raises:
            OSError: as trio's: it meets the same error, and knows which to go on after.
            ClosedResourceError: the listener has been closed.

        """
        try:
            return await self._accept()
        except OSError:
            return await self._listener.accept()

    async def _accept(self) -> trio.SocketStream:
        if self._more and (stream := self._accept_nowait()) is not None:
            self._more -= 1
            return stream
        began = trio.current_time()
        await trio.lowlevel.checkpoint()
        self._more = _AT_ONCE - 1 if trio.current_time() - began > _LONG_TURN else 0
        while (stream := self._accept_nowait()) is None:
            await trio.lowlevel.wait_readable(self._raw)
        return stream

    def _accept_nowait(self) -> trio.SocketStream | None:
        try:
            connection, _ = self._raw.accept()
        except BlockingIOError:
            return None
        return trio.SocketStream(trio.socket.from_stdlib_socket(connection))

    async def aclose(self) -> None:
        """Close the socket; a checkpoint."""
        trio.lowlevel.notify_closing(self._raw)
        self._raw.close()
        await self._listener.aclose()


class _Handlers:
    """A nursery, as ``serve_listeners`` needs one, for handlers that close their socket."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    def start_soon(self, run: _Run, stream: trio.abc.Stream, handler: _Handler) -> None:
        # Not with TLS: hypercorn leaves a stream open whose handshake fails.
        if isinstance(stream, trio.SocketStream):
            self._nursery.start_soon(_handle, handler, stream)
        else:
            self._nursery.start_soon(run, stream, handler)


async def _handle(handler: _Handler, stream: trio.abc.Stream) -> None:
    await handler(stream)  # hypercorn's is not a coroutine, as a task has to be


class SeveralListenersTrio:
    """The module trio, as hypercorn's worker sees it."""

    SocketListener = SeveralListener

    @staticmethod
    async def serve_listeners(
        handler: _Handler, listeners: list[Any], *, handler_nursery: trio.Nursery
    ) -> None:
        """Serve as trio does."""
        handlers = cast("trio.Nursery", _Handlers(handler_nursery))
        await trio.serve_listeners(handler, listeners, handler_nursery=handlers)

    def __getattr__(self, name: str) -> Any:
        """Give whatever else trio has."""
        return getattr(trio, name)
