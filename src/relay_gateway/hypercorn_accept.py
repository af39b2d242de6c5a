"""hypercorn's listening sockets, from which several connections at a time are taken.

trio lets everything else run between two of them. While answers pour in, that is some milliseconds
of work, and with a burst of browsers the last waits for as many turns as there are browsers before
it. Measured with 64 that came at once: 0.36 s until the last one's request was on its way.

Few at a time: other workers may be waiting at the same socket, requests that have been accepted
already go first, and those that are accepted together go on together, each behind the others.
"""

import os
import socket
from typing import Any

import hypercorn.trio.run
import trio

__all__ = ["SeveralListener", "listen_for_several"]

#: Connections that are taken before the rest runs.
_AT_ONCE = 4


class SeveralListener(trio.abc.Listener[trio.SocketStream]):
    """trio's ``SocketListener``, which lets the rest run less often."""

    def __init__(self, listening: trio.socket.SocketType) -> None:
        """Take over a listening socket."""
        self._listener = trio.SocketListener(listening)
        # The same socket, for what trio's objects do not do without letting others run.
        self._raw = socket.socket(fileno=os.dup(listening.fileno()))
        self._raw.settimeout(0)
        self._taken = 0

    async def accept(self) -> trio.SocketStream:
        """Wait for a connection; a checkpoint if there is none yet, and now and then.

        Raises:
            OSError: as trio's: it meets the same error, and knows which to go on after.
            ClosedResourceError: the listener has been closed.

        """
        self._taken += 1
        if self._taken < _AT_ONCE and (stream := self._accept_nowait()) is not None:
            return stream  # noqa: ASYNC910 - see the docstring
        self._taken = 0
        return await self._listener.accept()

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
