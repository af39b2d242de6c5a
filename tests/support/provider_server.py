"""An HTTP server that answers as a script says and sees what becomes of its connections.

Real sockets on 127.0.0.1, HTTP/1.1 by h11. It knows nothing of any provider: what the bytes of an
answer mean is defined in `provider_wires`.
"""

import json
import socket
import ssl
import struct
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

import h11
import trio

__all__ = ["Exchange", "ProviderServer", "Reply", "Step", "chopped", "provider_server"]


class _Action(Enum):
    CUT = auto()
    HANG_UP = auto()
    STALL = auto()


CUT = _Action.CUT
"""The connection is lost here: the body has no end."""

HANG_UP = _Action.HANG_UP
"""As the first step: the connection is closed without a response."""

STALL = _Action.STALL
"""Nothing more is sent, and nothing closed."""

Step = bytes | _Action | trio.Event
"""A piece of the body, sent in a chunk of its own; or what happens next. An event is waited for."""


@dataclass(frozen=True)
class Reply:
    """What a request is answered with."""

    steps: tuple[Step, ...] = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(eq=False)
class Exchange:
    """One request, and how far its answer came."""

    path: str
    headers: Mapping[str, str]
    body: Any
    sent: int = 0
    """Pieces of the answer that were handed to the socket."""
    closed: trio.Event = field(default_factory=trio.Event)
    """Set as soon as the client's end of the connection is closed."""
    changed: trio.Event = field(default_factory=trio.Event)

    def count(self) -> None:
        self.sent += 1
        self.changed.set()
        self.changed = trio.Event()

    async def until_sent(self, count: int) -> None:
        """Wait until `count` pieces were sent."""
        while self.sent < count:
            await self.changed.wait()


class ProviderServer:
    """Gives each request the next of its replies, and the last one to all that follow."""

    def __init__(self, replies: Iterable[Reply]) -> None:
        self._replies = list(replies)
        self._arrival = trio.Event()
        self.url = ""
        self.exchanges: list[Exchange] = []
        self.connections = 0
        """Connections that are open at the moment."""
        self.connections_made = 0
        self.is_silent = False
        """Whether requests are taken and never answered."""
        self.resets = False
        """Whether connections are closed by a reset."""
        self._scopes: set[trio.CancelScope] = set()

    def close_connections(self) -> None:
        """Close all connections, for example as a provider closes idle ones."""
        for scope in self._scopes:
            scope.cancel()

    async def exchange(self, number: int = 0) -> Exchange:
        """Wait for a request to have come."""
        while len(self.exchanges) <= number:
            await self._arrival.wait()
        return self.exchanges[number]

    async def until_no_connection(self) -> None:
        """Wait until the client has closed each of its connections."""
        while self.connections:
            await self._arrival.wait()

    async def handle(self, stream: trio.abc.Stream) -> None:
        self.connections += 1
        self.connections_made += 1
        scope = trio.CancelScope()
        self._scopes.add(scope)
        try:
            with scope:
                await _Connection(self, stream).serve()
        finally:
            self._scopes.remove(scope)
            self.connections -= 1
            if self.resets:
                _reset_when_closed(stream)
            self._notify()
            with trio.CancelScope(shield=True) as scope:
                scope.cancel()
                await stream.aclose()

    def take(self, exchange: Exchange) -> Reply:
        self.exchanges.append(exchange)
        self._notify()
        return self._replies[min(len(self.exchanges), len(self._replies)) - 1]

    def _notify(self) -> None:
        self._arrival.set()
        self._arrival = trio.Event()


class _Connection:
    """One connection: requests one after the other, while a task looks out for its end."""

    def __init__(self, server: ProviderServer, stream: trio.abc.Stream) -> None:
        self._server = server
        self._stream = stream
        self._h11 = h11.Connection(h11.SERVER)
        self._received, self._to_parse = trio.open_memory_channel[bytes](8)
        self._exchange: Exchange | None = None

    async def serve(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read, nursery.cancel_scope)
            with suppress(trio.BrokenResourceError):
                while await self._serve_one():
                    self._h11.start_next_cycle()
            nursery.cancel_scope.cancel()

    async def _read(self, everything: trio.CancelScope) -> None:
        """Pass on what comes; the connection ends when the client has closed it."""
        with suppress(trio.BrokenResourceError):
            async for data in self._stream:
                await self._received.send(bytes(data))
        if self._exchange is not None:
            self._exchange.closed.set()
        everything.cancel()

    async def _serve_one(self) -> bool:
        exchange = await self._request()
        reply = self._server.take(exchange)
        self._exchange = exchange
        if self._server.is_silent:
            await trio.sleep_forever()
        if reply.steps[:1] == (HANG_UP,):
            return False
        await self._send(_head(reply))
        for step in reply.steps:
            if step is CUT:
                return False
            await self._step(step, exchange)
        await self._send(h11.EndOfMessage())
        return self._h11.our_state is h11.DONE

    async def _step(self, step: Step, exchange: Exchange) -> None:
        if isinstance(step, bytes):
            await self._send(h11.Data(data=step))
            exchange.count()
        elif isinstance(step, trio.Event):
            await step.wait()
        else:
            await trio.sleep_forever()

    async def _request(self) -> Exchange:
        request, body = None, b""
        while not isinstance(event := await self._next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += event.data
        assert request is not None
        headers = {name.decode(): value.decode() for name, value in request.headers}
        return Exchange(request.target.decode(), headers, json.loads(body or b"null"))

    async def _next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        while (event := self._h11.next_event()) is h11.NEED_DATA:
            self._h11.receive_data(await self._to_parse.receive())
        return event

    async def _send(self, event: h11.Event) -> None:
        await self._stream.send_all(self._h11.send(event) or b"")


def _reset_when_closed(stream: trio.abc.Stream) -> None:
    assert isinstance(stream, trio.SocketStream)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _head(reply: Reply) -> h11.Response:
    headers = {"transfer-encoding": "chunked", **reply.headers}
    return h11.Response(status_code=reply.status, headers=list(headers.items()))


@asynccontextmanager
async def provider_server(
    *replies: Reply, context: ssl.SSLContext | None = None
) -> AsyncGenerator[ProviderServer]:
    """Serve on a free port of 127.0.0.1; at the end, every connection is closed."""
    server = ProviderServer(replies)
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]
        server.url = f"http://127.0.0.1:{port}"
        serving: trio.SocketListener | trio.SSLListener[trio.SocketStream] = listener
        if context is not None:
            server.url = f"https://127.0.0.1:{port}"
            serving = trio.SSLListener(listener, context, https_compatible=True)
        await nursery.start(trio.serve_listeners, server.handle, [serving])
        yield server
        nursery.cancel_scope.cancel()


def chopped(data: bytes, size: int = 1) -> tuple[bytes, ...]:
    """Cut into pieces that know no line, event or character."""
    return tuple(data[start : start + size] for start in range(0, len(data), size))
