"""An ASGI server with one client, in the test's own tasks.

Quart's test client cannot leave: it hangs after a disconnect. So the application is called as a
server calls it.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

import trio

from tests.support.described import check_response, operation_at
from tests.support.event_stream import Event, parse

Message = dict[str, Any]
Application = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]


class Exchange:
    """One request and its response."""

    def __init__(
        self,
        target: str,
        *,
        method: str = "GET",
        body: bytes | Iterable[bytes] = b"",
        host: str = "gateway",
        headers: Iterable[tuple[str, str]] = (),
        is_whole: bool = True,
        after: trio.Event | None = None,
        takes: float = float("inf"),
        pause: float = 0.0,
    ) -> None:
        """Prepare a request.

        Unless it `is_whole`, more of its body is to come and never does; nothing of it comes until
        `after`. Its client `takes` so many pieces of the response, of which the headers are the
        first, with a `pause` in seconds before each, and then reads nothing.
        """
        path, _, query = target.partition("?")
        self._scope: Message = {
            "type": "http",
            "asgi": {"spec_version": "2.1", "version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode("latin-1"),
            "root_path": "",
            "headers": [(b"host", host.encode("latin-1"))]
            + [(name.encode(), value.encode()) for name, value in headers],
            "client": ("192.0.2.1", 50_000),
            "server": ("192.0.2.2", 80),
            "state": {},
            "extensions": {},
        }
        chunks = [body] if isinstance(body, bytes) else list(body)
        self._incoming = [
            {"type": "http.request", "body": chunk, "more_body": not is_whole or chunk is not last}
            for last in chunks[-1:]
            for chunk in chunks
        ]
        #: Both of OpenAI's forms are JSON.
        self._asks_for_json = path.startswith("/v1/") or b'"format": "json"' in b"".join(chunks)
        self._left = trio.Event()
        self._after = after
        self._takes = takes
        self._pause = pause
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        #: The pieces of the body, and when each was sent.
        self.chunks: list[tuple[float, bytes]] = []
        self.is_complete = False

    async def run(self, application: Application) -> None:
        """Send the request, and answer the application until it returns."""
        await application(self._scope, self._receive, self._send)

    def leave(self) -> None:
        """Close the connection."""
        self._left.set()

    def check(self) -> None:
        """See that the response is one that the OpenAPI document has for the request."""
        operation = operation_at(self._scope["method"], self._scope["path"])
        if operation is not None:
            is_json = b"json" in self._scope["query_string"] or self._asks_for_json
            headers = dict(self.headers)
            check_response(operation, self.status, headers, self.body, is_json=is_json)

    @property
    def body(self) -> bytes:
        return b"".join(chunk for _, chunk in self.chunks)

    @property
    def events(self) -> list[Event]:
        return parse(self.body)

    async def _receive(self) -> Message:
        if self._incoming:
            if self._after is not None:
                await self._after.wait()
            await trio.lowlevel.checkpoint()
            return self._incoming.pop(0)
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        assert not self.is_complete
        if self._takes <= 0:
            await trio.sleep_forever()
        self._takes -= 1
        await trio.sleep(self._pause)
        if message["type"] == "http.response.start":
            assert self.status == 0
            self.status = message["status"]
            self.headers = [(name.decode(), value.decode()) for name, value in message["headers"]]
        else:
            assert message["type"] == "http.response.body"
            if message["body"]:
                self.chunks.append((trio.current_time(), message["body"]))
            self.is_complete = not message["more_body"]


class Client:
    """Sends requests to an application that has been started."""

    def __init__(self, application: Application, nursery: trio.Nursery) -> None:
        self.application = application
        self._nursery = nursery

    async def send(self, target: str, **request: Any) -> Exchange:
        """Send a request and read the whole response, which has to be one that is described."""
        exchange = Exchange(target, **request)
        await exchange.run(self.application)
        assert exchange.is_complete
        exchange.check()
        return exchange

    async def run(self, exchange: Exchange) -> None:
        """Send a request until its response is over, or the application's call of it is."""
        await exchange.run(self.application)

    def start(self, target: str, **request: Any) -> Exchange:
        """Send a request, and let its response come."""
        exchange = Exchange(target, **request)
        self._nursery.start_soon(exchange.run, self.application)
        return exchange

    async def metrics(self) -> dict[str, float]:
        """Read the samples of the metrics by name and labels."""
        text = (await self.send("/metrics")).body.decode()
        samples = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in samples}


@asynccontextmanager
async def started(application: Application) -> AsyncGenerator[Client]:
    """Start an application as a server does, and stop it."""
    to_application, receive = trio.open_memory_channel[Message](1)
    send, from_application = trio.open_memory_channel[Message](1)
    async with trio.open_nursery() as nursery:
        scope: Message = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
        nursery.start_soon(application, scope, receive.receive, send.send)
        await to_application.send({"type": "lifespan.startup"})
        assert await from_application.receive() == {"type": "lifespan.startup.complete"}
        yield Client(application, nursery)
        await to_application.send({"type": "lifespan.shutdown"})
        assert await from_application.receive() == {"type": "lifespan.shutdown.complete"}
