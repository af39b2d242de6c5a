"""HTTP clients down to their sockets, which leave in every way that a browser can."""

import os
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import h2.connection
import h2.events
import h11
import trio
from h2.errors import ErrorCodes
from hyperframe.frame import Frame

from tests.support.event_stream import Event, Parser

READ_SIZE = 65_536
#: Bytes that the socket of a client takes which reads nothing: as few as there can be.
SMALL_BUFFER = 4096


class Http1:
    """One connection with one request at a time."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.parser = Parser()
        self._http = h11.Connection(h11.CLIENT)
        self._events: deque[Event] = deque()

    async def send(self, target: str, *, method: str = "GET", body: bytes = b"") -> None:
        """Send a request."""
        await self.stream.send_all(self._request(target, method, body))

    def send_nowait(self, target: str) -> None:
        """Send a request from the middle of a task's step."""
        os.write(self.stream.socket.fileno(), self._request(target))

    def _request(self, target: str, method: str = "GET", body: bytes = b"") -> bytes:
        headers = [("host", "localhost"), ("content-length", str(len(body)))]
        request = h11.Request(method=method, target=target, headers=headers)
        data = self._http.send(request) or b""
        data += (self._http.send(h11.Data(data=body)) or b"") if body else b""
        return data + (self._http.send(h11.EndOfMessage()) or b"")

    async def headers(self) -> h11.Response:
        """Wait for the response's headers."""
        event = await self._next()
        assert isinstance(event, h11.Response)
        return event

    async def event(self) -> Event | None:
        """Wait for the next event of the stream; None at the end of the response."""
        while not self._events:
            event = await self._next()
            if isinstance(event, h11.EndOfMessage):
                self._http.start_next_cycle()
                return None
            assert isinstance(event, h11.Data)
            self._events.extend(self.parser.feed(bytes(event.data)))
        return self._events.popleft()

    async def events(self) -> list[Event]:
        """Read the rest of the response."""
        events: list[Event] = []
        while event := await self.event():
            events.append(event)
        return events

    async def ask(self, target: str, **request: Any) -> list[Event]:
        """Send a request and read its events."""
        await self.send(target, **request)
        await self.headers()
        return await self.events()

    async def get(self, target: str) -> h11.Response:
        """Ask for something that is not a stream, and drop its body."""
        await self.send(target)
        response = await self.headers()
        await self._body()
        return response

    async def read(self, target: str) -> bytes:
        """Ask for something that is not a stream, and read its body."""
        await self.send(target)
        await self.headers()
        return await self._body()

    async def _body(self) -> bytes:
        body = b""
        while isinstance(event := await self._next(), h11.Data):
            body += bytes(event.data)
        self._http.start_next_cycle()
        return body

    async def until(self, end: bytes) -> bytes:
        """Read what comes after the response until it ends so, or the connection does."""
        data = self._http.trailing_data[0]
        while not data.endswith(end) and (more := await self.stream.receive_some(READ_SIZE)):
            data += more
        return data

    async def until_closed(self) -> None:
        """Read until the server has closed the connection."""
        while await self.stream.receive_some(READ_SIZE):
            pass

    async def _next(self) -> Any:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self.stream.receive_some(READ_SIZE))
        return event


@asynccontextmanager
async def http1(origin: str, *, buffer_size: int | None = None) -> AsyncGenerator[Http1]:
    """Connect; leaving the context closes the connection at once."""
    parts = urlsplit(origin)
    with trio.socket.socket() as sock:
        if buffer_size is not None:
            sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, buffer_size)
        await sock.connect((parts.hostname, parts.port))
        yield Http1(trio.SocketStream(sock))


async def ask(origin: str, target: str, **request: Any) -> list[Event]:
    """Read the events of one request on a connection of its own."""
    async with http1(origin) as browser:
        return await browser.ask(target, **request)


class Http2:
    """One connection with many requests, and one window for all: whoever reads, reads them all."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._h2 = h2.connection.H2Connection()
        self._parsers: dict[int, Parser] = {}
        self.events: dict[int, list[Event]] = {}
        self.statuses: dict[int, str] = {}
        self.ended: set[int] = set()
        #: The streams that were reset.
        self.left: set[int] = set()
        self._is_sending = False

    async def start(self) -> None:
        """Send the preface."""
        self._h2.initiate_connection()
        await self._flush()

    async def send(self, target: str, *, is_whole: bool = True) -> int:
        """Send a request, and give its stream's number; unless it `is_whole`, a body follows."""
        number = self._request(target, is_whole=is_whole)
        await self._flush()
        return number

    def send_nowait(self, target: str) -> int:
        """Send a request from the middle of a task's step, and give its stream's number."""
        number = self._request(target)
        self._flush_nowait()
        return number

    def _request(self, target: str, *, is_whole: bool = True) -> int:
        number = self._h2.get_next_available_stream_id()
        headers = [(":method", "GET"), (":scheme", "http"), (":authority", "gateway")]
        self._h2.send_headers(number, [*headers, (":path", target)], end_stream=is_whole)
        self._parsers[number], self.events[number] = Parser(), []
        return number

    async def send_frames(self, frames: Iterable[Frame]) -> None:
        """Send what no browser would."""
        await self._stream.send_all(b"".join(frame.serialize() for frame in frames))

    async def until_status(self, number: int) -> str:
        """Read until a response has begun."""
        while number not in self.statuses:
            await self._read()
        return self.statuses[number]

    async def until_events(self, number: int, count: int) -> list[Event]:
        """Read until a stream has given so many events, or has ended."""
        while len(self.events[number]) < count and number not in self.ended:
            await self._read()
        return self.events[number]

    async def until_end(self, number: int) -> list[Event]:
        """Read until a stream has ended."""
        while number not in self.ended:
            await self._read()
        return self.events[number]

    async def cancel(self, number: int) -> None:
        """Reset a stream, as a browser does that leaves a page."""
        self._h2.reset_stream(number, ErrorCodes.CANCEL)
        await self._flush()

    def disconnect(self) -> None:
        """Reset the streams that are open; who waits for their end is woken by a pong."""
        for number in set(self.events) - self.ended:
            self._h2.reset_stream(number, ErrorCodes.CANCEL)
            self._h2.ping(b"has left")
            self.left.add(number)
        self.ended |= self.left
        self._flush_nowait()

    async def until_closed(self) -> None:
        """Read until the server has closed the connection."""
        while data := await self._stream.receive_some(READ_SIZE):
            self._h2.receive_data(bytes(data))

    async def send_and_cancel(self, target: str) -> None:
        """Send a request and take it back in one go."""
        await self.cancel(await self.send(target))

    async def _read(self) -> None:
        data = await self._stream.receive_some(READ_SIZE)
        if not data:
            raise trio.BrokenResourceError("the connection was closed")
        for event in self._h2.receive_data(bytes(data)):
            self._take(event)
        await self._flush()

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ResponseReceived):
            headers: dict[Any, Any] = dict(event.headers or ())
            self.statuses[event.stream_id or 0] = headers[b":status"].decode()
        elif isinstance(event, h2.events.DataReceived):
            number = event.stream_id or 0
            self.events[number] += self._parsers[number].feed(event.data or b"")
            self._h2.acknowledge_received_data(event.flow_controlled_length or 0, number)
        elif isinstance(event, h2.events.StreamEnded):
            self.ended.add(event.stream_id or 0)

    async def _flush(self) -> None:
        self._is_sending = True
        while data := self._h2.data_to_send():
            await self._stream.send_all(data)
        self._is_sending = False

    def _flush_nowait(self) -> None:
        if not self._is_sending:  # whoever is will send this as well
            os.write(self._stream.socket.fileno(), self._h2.data_to_send())


@asynccontextmanager
async def http2(origin: str, *, buffer_size: int | None = None) -> AsyncGenerator[Http2]:
    """Connect with prior knowledge; leaving the context closes the connection at once."""
    async with http1(origin, buffer_size=buffer_size) as browser:
        connection = Http2(browser.stream)
        await connection.start()
        yield connection
