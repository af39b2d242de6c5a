"""What tests of services, and of this transport itself, need: a wire without a network.

- :class:`ChannelFor` connects a channel to services, as ``grpclib.testing.ChannelFor`` does;
- :class:`ChannelOver` is a channel whose connections a test makes itself;
- :func:`memory_pair` is the wire: two connected byte streams, bounded as sockets are;
- :class:`FrameRecorder` notes the HTTP/2 frames that pass a byte stream.

Everything runs on trio and on asyncio. There is no clock and no thread in here, so with trio's
``MockClock`` every test is exact and repeatable.
"""

from collections.abc import Awaitable, Callable, Collection, Iterator
from dataclasses import dataclass
from types import TracebackType

import anyio
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint
from grpclib._typing import IServable
from grpclib.config import Configuration as GrpclibConfiguration
from grpclib.encoding.base import CodecBase, StatusDetailsCodecBase
from hyperframe.frame import Frame

from grpclib_anyio._base.notify import Notify
from grpclib_anyio.client import Channel
from grpclib_anyio.server import Server

__all__ = [
    "ChannelFor",
    "ChannelOver",
    "FrameParser",
    "FrameRecorder",
    "MemoryStatistics",
    "MemoryStream",
    "memory_pair",
]

#: What the buffers of a local TCP connection hold, about.
_DEFAULT_BUFFER_SIZE = 65_536
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#: RFC 9113 § 4.1: length (3), type, flags, stream (4).
_FRAME_HEADER_SIZE = 9


class _Pipe:
    """One direction of a pair."""

    def __init__(self, size: int) -> None:
        # Bounded by `size`: a full buffer makes the sender wait, as a full socket does.
        self.buffer = bytearray()
        self.size = size
        #: The sender sends nothing more: the end of the stream, once the buffer is empty.
        self.is_ended = False
        #: The receiver is gone: nothing that is sent arrives.
        self.is_abandoned = False
        self.is_reset = False
        self.changed = Notify()

    def end(self) -> None:
        self.is_ended = True
        self.changed.notify()

    def abandon(self) -> None:
        self.is_abandoned = True
        self.buffer.clear()
        self.changed.notify()

    def reset(self) -> None:
        self.is_reset = True
        self.buffer.clear()
        self.changed.notify()

    def put(self, data: memoryview) -> int:
        """Take what there is room for, and return how much that is."""
        taken = min(len(data), self.size - len(self.buffer))
        if taken:
            self.buffer += data[:taken]
            self.changed.notify()
        return taken

    def get(self, max_bytes: int) -> bytes:
        data = bytes(self.buffer[:max_bytes])
        del self.buffer[:max_bytes]
        self.changed.notify()
        return data


@dataclass(frozen=True)
class MemoryStatistics:
    """What one end of a pair holds at this moment."""

    #: This end has been closed.
    is_closed: bool
    #: Bytes that arrived here and have not been received.
    unread_bytes: int
    #: Bytes sent from here that the other end has not received.
    unreceived_bytes: int
    #: A task waits here to receive, or to send.
    is_awaited: bool


class MemoryStream(ByteStream):
    """One end of a :func:`memory_pair`; it behaves as a socket does.

    Sending waits while the other end does not read. A send that is cancelled may have sent a part
    of its bytes. One task may receive and another may send at the same time.
    """

    def __init__(self, incoming: _Pipe, outgoing: _Pipe) -> None:
        """Join two directions; use :func:`memory_pair`."""
        self._incoming = incoming
        self._outgoing = outgoing
        self._is_closed = False
        self._receive_guard = anyio.ResourceGuard("receiving from")
        self._send_guard = anyio.ResourceGuard("sending to")

    async def receive(self, max_bytes: int = _DEFAULT_BUFFER_SIZE) -> bytes:
        """Return the next bytes, from 1 to ``max_bytes``; a checkpoint.

        Raises:
            EndOfStream: the other end sends nothing more.
            BrokenResourceError: the connection was reset.
            ClosedResourceError: this end has been closed.

        """
        with self._receive_guard:
            await checkpoint()
            while not self._incoming.buffer:
                self._raise_if_over()
                if self._incoming.is_ended:
                    raise anyio.EndOfStream
                await self._incoming.changed.wait()
            return self._incoming.get(max_bytes)

    def receive_nowait(self, max_bytes: int = _DEFAULT_BUFFER_SIZE) -> bytes:
        """Return what has arrived, at most ``max_bytes``, and nothing if nothing has."""
        return self._incoming.get(max_bytes)

    async def send(self, item: bytes) -> None:
        """Send all bytes of ``item``; a checkpoint.

        Raises:
            BrokenResourceError: the other end was closed, or the connection was reset.
            ClosedResourceError: this end has been closed, or has said that it sends no more.

        """
        with self._send_guard:
            await checkpoint()
            rest = memoryview(item)
            while True:
                self._raise_if_over()
                if self._outgoing.is_ended:
                    raise anyio.ClosedResourceError
                if self._outgoing.is_abandoned:
                    raise anyio.BrokenResourceError from BrokenPipeError("the other end is closed")
                rest = rest[self._outgoing.put(rest) :]
                if not rest:
                    return
                await self._outgoing.changed.wait()

    def send_nowait(self, item: bytes) -> None:
        """Send all bytes of ``item``, or none of them; a plain call.

        Raises:
            WouldBlock: there is no room for all of them.

        """
        if self._outgoing.size - len(self._outgoing.buffer) < len(item):
            raise anyio.WouldBlock
        self._outgoing.put(memoryview(item))

    async def send_eof(self) -> None:
        """Say that this end sends nothing more; it can still receive. A checkpoint."""
        self._outgoing.end()
        await checkpoint()

    async def aclose(self) -> None:
        """Close this end: the other one receives what was sent and then the end. A checkpoint."""
        self.close()
        await checkpoint()

    def close(self) -> None:
        """Close this end as :meth:`aclose` does; a plain call."""
        self._is_closed = True
        self._outgoing.end()
        self._incoming.abandon()

    def reset(self) -> None:
        """Break the connection: both ends lose what is under way and fail from now on."""
        self._outgoing.reset()
        self._incoming.reset()

    def statistics(self) -> MemoryStatistics:
        """Count what this end holds; nothing is left once both ends are closed."""
        return MemoryStatistics(
            is_closed=self._is_closed,
            unread_bytes=len(self._incoming.buffer),
            unreceived_bytes=len(self._outgoing.buffer),
            is_awaited=self._incoming.changed.is_awaited or self._outgoing.changed.is_awaited,
        )

    def _raise_if_over(self) -> None:
        if self._is_closed:
            raise anyio.ClosedResourceError
        if self._incoming.is_reset:
            raise anyio.BrokenResourceError from ConnectionResetError("the connection was reset")


def memory_pair(buffer_size: int = _DEFAULT_BUFFER_SIZE) -> tuple[MemoryStream, MemoryStream]:
    """Return two connected byte streams; needs no event loop.

    ``buffer_size`` is how many bytes each direction holds before its sender has to wait.
    """
    there, back = _Pipe(buffer_size), _Pipe(buffer_size)
    return MemoryStream(back, there), MemoryStream(there, back)


class FrameParser:
    """Cuts the bytes of one direction into frames, a client's preface included.

    Bodies are parsed by ``hyperframe``; header blocks stay compressed.
    """

    def __init__(self) -> None:
        """Start at the beginning of a connection."""
        self._buffer = bytearray()
        self._is_start = True

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Add bytes and yield the frames that are complete.

        Raises:
            hyperframe.exceptions.HyperframeError: the bytes are not HTTP/2.

        """
        self._buffer += data
        if self._is_start and not self._skip_preface():
            return
        while (frame := self._next()) is not None:
            yield frame

    @property
    def is_torn(self) -> bool:
        """Whether the bytes so far end within a frame."""
        return bool(self._buffer)

    def _skip_preface(self) -> bool:
        start = bytes(self._buffer[: len(_PREFACE)])
        if start == _PREFACE:
            del self._buffer[: len(_PREFACE)]
        self._is_start = len(start) < len(_PREFACE) and _PREFACE.startswith(start)
        return not self._is_start

    def _next(self) -> Frame | None:
        if len(self._buffer) < _FRAME_HEADER_SIZE:
            return None
        header = memoryview(bytes(self._buffer[:_FRAME_HEADER_SIZE]))
        frame, size = Frame.parse_frame_header(header)
        end = _FRAME_HEADER_SIZE + size
        if len(self._buffer) < end:
            return None
        frame.parse_body(memoryview(bytes(self._buffer[_FRAME_HEADER_SIZE:end])))
        del self._buffer[:end]
        return frame


class FrameRecorder(ByteStream):
    """Passes everything on to another byte stream, and records the frames that go by.

    The lists grow as long as the connection lives; a test that sends a lot clears them.
    """

    def __init__(self, stream: ByteStream) -> None:
        """Wrap ``stream``."""
        #: Frames that this end has sent whole.
        self.sent: list[Frame] = []
        #: Frames that have arrived here whole.
        self.received: list[Frame] = []
        self._stream = stream
        self._sent = FrameParser()
        self._received = FrameParser()

    @property
    def is_torn(self) -> bool:
        """Whether what was sent, or what arrived, ends within a frame."""
        return self._sent.is_torn or self._received.is_torn

    async def receive(self, max_bytes: int = _DEFAULT_BUFFER_SIZE) -> bytes:
        """Receive from the wrapped stream."""
        data = await self._stream.receive(max_bytes)
        self.received.extend(self._received.feed(data))
        return data

    async def send(self, item: bytes) -> None:
        """Send to the wrapped stream; bytes of a cancelled send are not noted."""
        await self._stream.send(item)
        self.sent.extend(self._sent.feed(item))

    async def send_eof(self) -> None:
        """Half-close the wrapped stream."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """Close the wrapped stream."""
        await self._stream.aclose()


class ChannelOver(Channel):
    """A channel that is given its byte streams, by a function, instead of an address."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[ByteStream]],
        *,
        codec: CodecBase | None = None,
        status_details_codec: StatusDetailsCodecBase | None = None,
        config: GrpclibConfiguration | None = None,
    ) -> None:
        """Prepare a channel; ``connect`` is called for each connection and may raise OSError."""
        super().__init__(
            "memory",
            codec=codec,
            status_details_codec=status_details_codec,
            config=config,
        )
        self._make_stream = connect

    async def _connect(self) -> ByteStream:
        return await self._make_stream()


class ChannelFor:
    """A channel to services of this process, over memory.

    Example::

        async with ChannelFor([Greeter()]) as channel:
            reply = await GreeterStub(channel).say_hello(HelloRequest("Dr. Strange"))

    Every connection of the channel is served by a new connection of the same server, so closing
    and connecting again works as over a network.
    """

    def __init__(
        self,
        services: Collection[IServable],
        codec: CodecBase | None = None,
        status_details_codec: StatusDetailsCodecBase | None = None,
        *,
        config: GrpclibConfiguration | None = None,
        server_config: GrpclibConfiguration | None = None,
        wrap: Callable[[ByteStream], ByteStream] | None = None,
    ) -> None:
        """Prepare; no event loop is needed.

        Args:
            services: instances of generated base classes.
            codec: of both sides; chosen as for a ``Channel`` if not given.
            status_details_codec: of both sides.
            config: the channel's.
            server_config: the server's.
            wrap: is given the channel's end of each connection and returns what the channel
                uses instead, such as a :class:`FrameRecorder` around it.

        """
        self._server = Server(
            services, codec=codec, status_details_codec=status_details_codec, config=server_config
        )
        self._channel = ChannelOver(
            self._connect, codec=codec, status_details_codec=status_details_codec, config=config
        )
        self._wrap = wrap

    async def __aenter__(self) -> Channel:
        """Return the channel, entered."""
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        return await self._channel.__aenter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Close the channel, then end the server and wait for its handlers' clean-up."""
        await self._channel.__aexit__(exc_type, exc_val, exc_tb)  # noqa: ASYNC102 - takes close_timeout at most
        self._tasks.cancel_scope.cancel()
        # Not told of the body's exception, the task group does not wrap it in a group.
        await self._tasks.__aexit__(None, None, None)  # noqa: ASYNC102 - its scope is cancelled

    async def _connect(self) -> ByteStream:
        near, far = memory_pair()
        self._tasks.start_soon(self._server.serve_connection, far, name="server connection")
        return near if self._wrap is None else self._wrap(near)
