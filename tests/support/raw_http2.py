"""A browser that writes HTTP/2 byte by byte, right or wrong, and what it talks to.

For example, one that resets its request, beside one that reads tokens::

    async with serving() as service:
        reader, rude = await service.connect(), await service.connect()
        await reader.ask(1, TOKENS)
        await rude.write(frame(HEADERS, END_HEADERS, 1, get(WAITS)) + frame(RST, 0, 1, CANCEL))
        await service.say(b"token")
        assert reader.data(1) == b"token"
"""

import os
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import trio
import trio.testing
from h2.errors import ErrorCodes
from hpack import Decoder
from hypercorn.config import Config
from hypercorn.typing import ConnectionState
from hypercorn.utils import wrap_app  # pyright: ignore[reportUnknownVariableType] - has a bare `dict`
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, HeadersFrame, PingFrame, RstStreamFrame

from grpclib_anyio.testing import FrameParser
from harness.frames import END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, SETTINGS, block, frame
from relay_gateway.server.tcp import BoundedTCPServer
from relay_gateway.server.worker import DrainingContext

__all__ = [
    "ANSWERS",
    "CANCEL",
    "ECHO",
    "TOKENS",
    "WAITS",
    "RawBrowser",
    "Service",
    "get",
    "serving",
]

#: Paths of the application: it waits for the disconnect, answers by the request's body as it comes,
#: answers at once and without reading, or gives tokens when it is told to.
WAITS, ECHO, ANSWERS, TOKENS = "/waits", "/echo", "/answers", "/tokens"
CANCEL = struct.pack(">L", ErrorCodes.CANCEL)
_ACK = 1
_ALIVE = b"alive???"
_READ_SIZE = 1 << 20


def get(path: str, *more: tuple[str, str], method: str = "GET") -> bytes:
    """Encode the headers of a request, in a way that leaves HPACK's table alone."""
    pseudo = ((":method", method), (":scheme", "http"), (":authority", "test"), (":path", path))
    return block(*pseudo, *more)


class Application:
    """An ASGI application that counts what it runs."""

    def __init__(self) -> None:
        #: The paths of the requests that were begun, and of those that were told of a disconnect.
        self.begun: list[str] = []
        self.disconnected: list[str] = []
        self.headers: list[Any] = []
        self._listeners: dict[object, Any] = {}

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        path = scope["path"]
        self.begun.append(path)
        self.headers = scope["headers"]
        if path != WAITS:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        if path == TOKENS:
            self._listeners[receive] = send
        if path in {WAITS, TOKENS}:
            while (await receive())["type"] != "http.disconnect":
                pass
            self._listeners.pop(receive, None)
            self.disconnected.append(path)
        else:
            more = path == ECHO
            while more and (message := await receive())["type"] != "http.disconnect":
                more = message["more_body"]
                body = {"type": "http.response.body", "body": message["body"], "more_body": True}
                await send(body)
            await send({"type": "http.response.body", "body": b""})

    async def say(self, token: bytes) -> None:
        """Send a token to all that listen."""
        for send in list(self._listeners.values()):
            await send({"type": "http.response.body", "body": token, "more_body": True})


class RawBrowser:
    """Writes bytes, and reads frames; it has no idea of its own of HTTP/2."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._parser = FrameParser()
        self._decoder = Decoder()
        self.frames: list[Frame] = []
        self.statuses: dict[int, str] = {}
        #: The server has closed the connection.
        self.is_closed = False

    async def write(self, data: bytes, *, size: int = _READ_SIZE) -> None:
        """Write bytes, ``size`` at a time, and read all that comes of them."""
        for start in range(0, len(data), size):
            with suppress(trio.BrokenResourceError):
                await self._stream.send_all(data[start : start + size])
            await self.settle()

    async def send(self, data: bytes) -> None:
        """Write bytes, and wait for nothing."""
        await self._stream.send_all(data)

    async def settle(self) -> None:
        """Read all that the server writes before it waits for us."""
        await trio.testing.wait_all_tasks_blocked()
        while not self.is_closed and (data := self._read()) is not None:
            self.is_closed = not data
            self._take(data)
            await trio.testing.wait_all_tasks_blocked()

    async def settle_while_others_run(self) -> None:
        """Read until a PING is answered, while tasks run that never wait."""
        await self.send(frame(PING, 0, 0, _ALIVE))
        while not any(
            isinstance(one, PingFrame) and one.opaque_data == _ALIVE for one in self.frames
        ):
            self.frames += self._parser.feed(self._read() or b"")
            await trio.lowlevel.checkpoint()

    def _take(self, data: bytes) -> None:
        for one in self._parser.feed(data):
            self.frames.append(one)
            if isinstance(one, HeadersFrame):
                headers = self._decoder.decode(one.data, raw=True)
                self.statuses[one.stream_id] = dict(headers)[b":status"].decode()

    def _read(self) -> bytes | None:
        try:
            return os.read(self._stream.socket.fileno(), _READ_SIZE)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            return b""

    async def start(self) -> None:
        """Shake hands."""
        await self.write(PREFACE + frame(SETTINGS, 0, 0) + frame(SETTINGS, _ACK, 0))

    async def ask(
        self, stream_id: int, path: str, *more: tuple[str, str], end: bool = True
    ) -> None:
        """Send a request."""
        flags = END_HEADERS | (END_STREAM if end else 0)
        await self.write(frame(HEADERS, flags, stream_id, get(path, *more)))

    async def is_alive(self) -> bool:
        """Whether a PING is answered."""
        await self.write(frame(PING, 0, 0, _ALIVE))
        pings = [one for one in self.frames if isinstance(one, PingFrame)]
        return any(one.opaque_data == _ALIVE and "ACK" in one.flags for one in pings)

    def of(self, stream_id: int) -> list[Frame]:
        """Return the frames of a stream."""
        return [one for one in self.frames if one.stream_id == stream_id]

    def data(self, stream_id: int) -> bytes:
        """Return the bytes of a stream's DATA."""
        return b"".join([one.data for one in self.of(stream_id) if isinstance(one, DataFrame)])

    def has_headers(self, stream_id: int) -> bool:
        """Whether a response has begun."""
        return any(isinstance(one, HeadersFrame) for one in self.of(stream_id))

    def ends(self, stream_id: int) -> bool:
        """Whether the server has ended a stream."""
        return any("END_STREAM" in one.flags for one in self.of(stream_id))

    def resets(self, stream_id: int) -> list[ErrorCodes]:
        """Return the codes with which a stream was reset."""
        of_stream = self.of(stream_id)
        return [ErrorCodes(one.error_code) for one in of_stream if isinstance(one, RstStreamFrame)]

    def goaways(self) -> list[tuple[ErrorCodes, bytes]]:
        """Return the codes and details with which the connection was ended."""
        return [
            (ErrorCodes(one.error_code), bytes(one.additional_data))
            for one in self.frames
            if isinstance(one, GoAwayFrame)
        ]


class Service:
    """A server with an application of ours, and sockets to it."""

    def __init__(self, nursery: trio.Nursery, application: Any, config: Config) -> None:
        self._nursery = nursery
        self.application = application
        self._config = config
        self._context = DrainingContext(None)
        self._sockets: list[trio.SocketStream] = []

    async def connect(self) -> RawBrowser:
        """Make a connection, and shake hands on it."""
        ours, theirs = (trio.SocketStream(sock) for sock in trio.socket.socketpair())
        app = wrap_app(self.application, 0, "asgi")
        state = ConnectionState({})
        server = BoundedTCPServer(app, self._config, self._context, state, ours)
        self._nursery.start_soon(server.run)
        self._sockets.append(theirs)
        browser = RawBrowser(theirs)
        await browser.start()
        return browser

    async def say(self, token: bytes) -> None:
        """Send a token to all that listen."""
        await cast("Application", self.application).say(token)
        await trio.testing.wait_all_tasks_blocked()

    async def close(self) -> None:
        """Have all browsers leave."""
        for stream in self._sockets:
            await stream.aclose()


@asynccontextmanager
async def serving(application: Any = None, **options: Any) -> AsyncGenerator[Service]:
    """Serve on socket pairs; all connections have to end when the browsers leave."""
    config = Config()
    for name, value in options.items():
        setattr(config, name, value)
    async with trio.open_nursery() as nursery:
        service = Service(nursery, application or Application(), config)
        yield service
        await service.close()
