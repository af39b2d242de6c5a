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

import ctypes
import os
import select
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from struct import calcsize, pack
from typing import Any, cast

import trio

from relay_gateway.server.worker import current_worker

__all__ = ["SeveralListener", "SeveralListenersTrio", "refuse_new_connections"]

_Handler = Callable[[Any], Awaitable[object]]
_Run = Callable[[Any, _Handler], Awaitable[object]]

#: Seconds that the other tasks may run between two accepts before more are accepted at once.
_LONG_TURN = 0.003
#: Connections that are accepted then in one turn. Not all that wait, because other workers may be
#: waiting at the same socket, and because requests that have been accepted go first.
_AT_ONCE = 16


#: Drops a TCP segment that has SYN and not ACK in its flags, the byte 13 (BPF, see filter(4)).
_DROP_SYN = b"".join(
    pack("HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, 13),  # load the flags
        (0x54, 0, 0, 0x12),  # of SYN and ACK ...
        (0x15, 0, 1, 0x02),  # ... is there SYN alone?
        (0x06, 0, 0, 0),  # drop it
        (0x06, 0, 0, 2**32 - 1),  # take it whole
    )
)
_SO_ATTACH_FILTER = 26


def refuse_new_connections(listening: socket.socket) -> None:
    """Let no new connection come, while those that wait can still be accepted.

    A connection that the kernel makes after the last accept would be closed without a byte. So on
    Linux the kernel drops what asks for one, and the client asks again after a second: by then the
    socket is closed, or belongs to the next process. Elsewhere nothing happens, and what comes in
    the last microseconds is closed.

    For the program that closes the socket afterwards, because nothing undoes this.
    """
    if sys.platform != "linux" or listening.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    code = ctypes.create_string_buffer(_DROP_SYN, len(_DROP_SYN))
    program = pack("HP", len(_DROP_SYN) // calcsize("HBBI"), ctypes.addressof(code))
    with suppress(OSError):  # a sandbox may forbid it
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


class SeveralListener(trio.abc.Listener[trio.SocketStream]):
    """trio's ``SocketListener``, with fewer checkpoints while turns of the loop are long."""

    def __init__(self, listening: trio.socket.SocketType) -> None:
        """Take over a listening socket."""
        self._listener = trio.SocketListener(listening)
        # The same socket again, because trio's accept is always a checkpoint.
        self._raw = socket.socket(fileno=os.dup(listening.fileno()))
        self._raw.settimeout(0)
        if (worker := current_worker.get()) is not None:
            worker.listeners.append(self)
        #: How many may still be accepted in this turn.
        self._more = 0

    @property
    def has_waiting(self) -> bool:
        """Whether a connection waits to be accepted."""
        if self._raw.fileno() < 0:
            return False
        poll = select.poll()  # select.select takes no number above 1023
        poll.register(self._raw, select.POLLIN)
        return bool(poll.poll(0))

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
