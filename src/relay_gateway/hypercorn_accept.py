"""hypercorn's listening sockets, from which several connections are taken when the loop is slow.

trio lets everything else run between two of them. While answers pour in, that is some milliseconds
of work, and with a burst of browsers the last waits for as many turns as there are browsers before
it. Measured with 64 that came at once: 0.36 s until the last one's request was on its way.

One at a time is better while turns are short: connections that are accepted together go on
together, and each waits for all others in everything that it does, its end included.
"""

import os
import socket
from typing import Any

import hypercorn.trio.run
import trio

__all__ = ["SeveralListener", "listen_for_several"]

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
        if self._more and (stream := self._accept_nowait()) is not None:
            self._more -= 1
            return stream  # noqa: ASYNC910 - see the docstring
        began = trio.current_time()
        await trio.lowlevel.checkpoint()
        self._more = _AT_ONCE - 1 if trio.current_time() - began > _LONG_TURN else 0
        return self._accept_nowait() or await self._listener.accept()

    def _accept_nowait(self) -> trio.SocketStream | None:
        try:
            connection, _ = self._raw.accept()
        except OSError:
            return None
        return trio.SocketStream(trio.socket.from_stdlib_socket(connection))

    async def aclose(self) -> None:
        """Close the socket; a checkpoint."""
        self._raw.close()
        await self._listener.aclose()


class _Trio:
    """The module trio, as hypercorn's worker is to see it."""

    SocketListener = SeveralListener

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever trio has
        return getattr(trio, name)


def listen_for_several() -> None:
    """Have hypercorn's worker listen in this way, from now on in this process."""
    hypercorn.trio.run.__dict__["trio"] = _Trio()
