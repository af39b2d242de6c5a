"""Accepting several connections in one turn of the event loop, when turns are long.

trio lets everything else run between two accepts. While answers pour in, that is some milliseconds
of work, so in a burst of browsers the last one waits for as many turns as there are browsers before
it. For example, when 64 browsers connected at once, the last one's request was on its way after
0.36 s.

While turns are short, one at a time is better, because connections that are accepted together also
run together: each then waits for all the others in everything that it does.

After its accept, a connection belongs to its handler. trio closes it once more after the handler,
and that costs a scope. It is left out for a plain socket, since ``tcp`` always closes it.
"""

import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any, cast

import trio

__all__ = ["SeveralListener", "SeveralListenersTrio"]

_Handler = Callable[[Any], Awaitable[object]]
_Run = Callable[[Any, _Handler], Awaitable[object]]

#: Seconds that the other tasks may run between two accepts before more are accepted at once.
_LONG_TURN = 0.003
#: Connections that are accepted then in one turn. Not all that wait, because other workers may be
#: waiting at the same socket, and because requests that have been accepted go first.
_AT_ONCE = 16


class SeveralListener(trio.abc.Listener[trio.SocketStream]):
    """trio's ``SocketListener``, with fewer checkpoints while turns of the loop are long."""

    def __init__(self, listening: trio.socket.SocketType) -> None:
        """Take over a listening socket."""
        self._listener = trio.SocketListener(listening)
        # The same socket again, because trio's accept is always a checkpoint.
        self._raw = socket.socket(fileno=os.dup(listening.fileno()))
        self._raw.settimeout(0)
        #: How many may still be accepted in this turn.
        self._more = 0

    async def accept(self) -> trio.SocketStream:
        """Wait for a connection; a checkpoint unless the turn before was a long one.

        Raises:
            OSError: what trio's own accept raises; trio goes on after some of them.
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
        # Not with TLS: hypercorn leaves a stream open when its handshake fails.
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
        """Give everything else that trio has."""
        return getattr(trio, name)
