"""A socket of trio's, read and written without the layers around it.

What it saves: anyio's sockets on trio try to read before they wait, and let other tasks run after
each write. Both are right in general and too much for a connection. When tokens come one at a time,
there is never anything to read yet. A writer that has written everything waits for more anyway. A
token that arrives alone costs 60 µs, and 20 of them are for that. Besides, a plain call cannot
write to a socket of anyio's, and a plain call is how a reset leaves at once. For example::

    stream = unwrap_socket(await anyio.connect_tcp(host, port))
    data = await stream.receive()                # waits until the socket is readable, then reads
    if isinstance(stream, TrySendStream):        # not on asyncio, and not over TLS
        size = stream.send_nowait(data)          # what the socket takes now, in bytes

How it is switched off: let :func:`unwrap_socket` return the stream that it is given, as it does on
asyncio and for TLS. Nothing else changes.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import anyio
import trio
from anyio.abc import ByteStream, SocketAttribute
from trio.lowlevel import checkpoint, in_trio_run, wait_readable, wait_writable

__all__ = ["TrySendStream", "UnwrappedSocket", "unwrap_socket"]

#: What is sent without letting other tasks run; a peer may read as fast as we write.
_BYTES_PER_CHECKPOINT = 65_536


def unwrap_socket(stream: ByteStream) -> ByteStream:
    """Take ``stream`` over, and return what reads and writes its socket."""
    if in_trio_run() and stream.extra(SocketAttribute.raw_socket, None) is not None:
        return UnwrappedSocket(stream)
    return stream


class TrySendStream(ByteStream):
    """A byte stream with a plain call that tries to send."""

    @abstractmethod
    def send_nowait(self, item: bytes | bytearray) -> int:
        """Send what can be sent at once, and return its size in bytes.

        Nothing is sent while :meth:`send` waits, because its bytes go first. Nothing is sent
        either once the connection is lost; the next ``send`` raises then.
        """


class UnwrappedSocket(TrySendStream):
    """A byte stream over the socket of one of anyio's; one task may read and another may write."""

    def __init__(self, stream: ByteStream) -> None:
        """Take over ``stream``; :meth:`aclose` closes it."""
        self._stream = stream
        self._socket = stream.extra(SocketAttribute.raw_socket)
        self._sent_in_turn = 0
        #: A task has sent a part, and waits to send the rest.
        self._is_sending = False

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """The attributes of anyio's stream: the addresses."""
        return self._stream.extra_attributes  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - anyio leaves it open

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        """Wait until bytes have arrived and return them, ``max_bytes`` at most; a checkpoint.

        Raises:
            EndOfStream: the peer sends nothing more.
            BrokenResourceError: the connection is lost.
            ClosedResourceError: the socket has been closed here.

        """
        try:
            data = await self._receive(max_bytes)
        except trio.ClosedResourceError:
            raise anyio.ClosedResourceError from None
        except OSError as error:
            raise anyio.BrokenResourceError from error
        if not data:
            raise anyio.EndOfStream
        return data

    async def _receive(self, max_bytes: int) -> bytes:
        if self._socket.fileno() < 0:
            raise trio.ClosedResourceError
        while True:
            await wait_readable(self._socket)
            try:
                return self._socket.recv(max_bytes)
            except BlockingIOError:
                pass  # woken for nothing

    async def send(self, item: bytes) -> None:
        """Send all bytes; a checkpoint if the socket does not take them, or now and then.

        Raises:
            BrokenResourceError: the connection is lost.
            ClosedResourceError: the socket has been closed here.

        """
        try:
            await self._send(item)
        except trio.ClosedResourceError:
            raise anyio.ClosedResourceError from None
        except OSError as error:
            raise anyio.BrokenResourceError from error
        self._sent_in_turn += len(item)
        if self._sent_in_turn >= _BYTES_PER_CHECKPOINT:
            self._sent_in_turn = 0
            await checkpoint()

    async def _send(self, item: bytes) -> None:
        if self._socket.fileno() < 0:
            raise trio.ClosedResourceError
        sent = self._send_some(item)
        # Cancelled, it stays set: nothing may follow a part.
        self._is_sending = sent < len(item)
        while sent < len(item):
            await wait_writable(self._socket)
            sent += self._send_some(item[sent:])
        self._is_sending = False

    def send_nowait(self, item: bytes | bytearray) -> int:
        """Send what the socket takes at once; see :class:`TrySendStream`."""
        if self._is_sending:
            return 0
        try:
            return self._send_some(item)
        except OSError:
            return 0

    def _send_some(self, item: bytes | bytearray) -> int:
        try:
            return self._socket.send(item)
        except BlockingIOError:
            return 0

    async def send_eof(self) -> None:
        """Tell the peer that nothing more is sent."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """Close the socket; a checkpoint."""
        await self._stream.aclose()
