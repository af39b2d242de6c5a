"""Browsers, the gateway and the model in one trio run, on a network in memory.

Everything in between is the product as it ships: hypercorn's worker with our bounds on it, the
application with its own channel, and the transport's server. What is replaced are the sockets on
both sides of the gateway.
"""

import errno
import logging
import os
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any
from unittest import mock

import trio
from hypercorn.config import Config, Sockets
from hypercorn.utils import wrap_app  # pyright: ignore[reportUnknownVariableType] - has a bare `dict`
from structlog.testing import capture_logs

import grpclib_anyio.server
from grpclib_anyio._connection.connection import Connection
from grpclib_anyio.client import Channel
from grpclib_anyio.config import Configuration
from grpclib_anyio.testing import ChannelOver
from relay_gateway.relay.relay import Relay
from relay_gateway.server import accept, tcp, worker
from relay_gateway.settings import GatewaySettings
from relay_gateway.web import routes
from relay_gateway.web.asgi import create_app
from relay_gateway.web.openai import routes as openai_routes
from relay_proto.ai import GenerateRequest
from tests.cancellation.browsers import Browser, Direct, Exchange, Http1, Http2, Peer
from tests.cancellation.journal import Journal
from tests.cancellation.models import Models
from tests.cancellation.network import BUFFER_SIZE, End, Link, Weather


class _Listener(trio.abc.Listener[End]):
    """Where browsers connect."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[End](1000)

    def connect_nowait(self, end: End) -> None:
        self._send.send_nowait(end)

    async def accept(self) -> End:
        return await self._receive.receive()

    async def aclose(self) -> None:
        self._receive.close()
        await trio.lowlevel.checkpoint()


class _Replacing:
    """A module with something of it replaced, for those who look it up by this name."""

    def __init__(self, module: object, **replaced: object) -> None:
        self._module = module
        self.__dict__.update(replaced)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


class World:
    """One gateway, its model, and the browsers that come."""

    def __init__(
        self,
        nursery: trio.Nursery,
        settings: GatewaySettings,
        journal: Journal,
        weather: Callable[[], Weather | None],
        config: Configuration,
    ) -> None:
        """Prepare; see :func:`open_world`."""
        self.journal = journal
        #: The log, by structlog.
        self.log: list[Any] = []
        #: Errors that libraries have logged.
        self.complaints: list[str] = []
        self.browsers: list[Browser] = []
        #: Others that are connected to the gateway, or to the model past it.
        self.strangers: list[Peer] = []
        self.models = Models(self.journal, nursery, self._link_to_model, config)
        self.channel: ChannelOver
        #: All that were opened, and the model's side of all connections to it.
        self.relays: list[Relay] = []
        self.served: list[Connection] = []
        self.settings = settings
        #: The gateway as an ASGI application.
        self.application: Any = None
        self.sigterm = trio.Event()
        self.gateway_stopped = trio.Event()
        #: Bytes that may be on their way to the next browser that connects.
        self.buffer_size = BUFFER_SIZE
        #: Bytes of one HTTP/2 stream that the next browser takes ahead; HTTP/2's default if None.
        self.window: int | None = None
        self._weather = weather
        self._nursery = nursery
        self._listener = _Listener()
        self._ends: dict[int, End] = {}

    # -- browsers -------------------------------------------------------------------------------

    def browse(self, *, http2: bool = False) -> Browser:
        """Connect a browser."""
        link = self.connect()
        name = f"browser:{len(self.browsers)}"
        if http2:
            browser: Browser = Http2(link, self.journal, name, window=self.window)
        else:
            browser = Http1(link, self.journal, name)
        self.browsers.append(browser)
        self._nursery.start_soon(browser.run)
        return browser

    def connect(self) -> Link:
        """Connect somebody to the gateway."""
        link = Link(self._weather(), back_size=self.buffer_size)
        self._ends[link.far.socket.fileno()] = link.far
        self._listener.connect_nowait(link.far)
        return link

    def call_directly(self) -> Direct:
        """Make a browser that needs no server."""
        name = f"browser:{len(self.browsers)}"
        browser = Direct(Link(), self.journal, name, lambda x: self._nursery.start_soon(serve, x))

        async def serve(exchange: Exchange) -> None:
            await browser.serve(self.application, exchange)

        self.browsers.append(browser)
        return browser

    def start_soon(self, function: Callable[[], Awaitable[None]]) -> None:
        """Start a task of a test's own."""
        self._nursery.start_soon(function)

    # -- what is recorded -----------------------------------------------------------------------

    def causes(self, session: str) -> list[str]:
        """Give the causes that have been recorded for a session."""
        return [str(line["cause"]) for line in self._ends_in_log(session)]

    def recorded(self, session: str) -> list[float]:
        """Give when they were."""
        return [float(line["time"]) for line in self._ends_in_log(session)]

    def _ends_in_log(self, session: str) -> Iterator[Any]:
        for line in self.log:
            if line["event"] == "request ended" and line["session_id"] == session:
                yield line

    # -- the gateway ----------------------------------------------------------------------------

    def terminate(self) -> None:
        """Send SIGTERM to the gateway."""
        self.journal.note("gateway", "gets SIGTERM")
        self.sigterm.set()

    async def run_gateway(  # noqa: ASYNC114, ASYNC128 - started once, and hypercorn says so
        self, *, task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until SIGTERM, as the programs do."""
        config = Config()
        config.errorlog = logging.getLogger("hypercorn.error")
        with self._on_the_network():
            self.application = create_app(self.settings)
            await worker.serve(
                wrap_app(self.application, config.wsgi_max_body_size, "asgi"),
                config,
                sockets=Sockets([], [], []),
                shutdown_trigger=self.sigterm.wait,
                task_status=task_status,
            )
        self.journal.note("gateway", "has stopped")
        self.gateway_stopped.set()

    @contextmanager
    def _on_the_network(self) -> Generator[None]:
        """Replace the sockets, and keep what a test looks at; each where it is looked up."""
        in_trio = _Replacing(trio, serve_listeners=self._serve_listeners)
        in_os = _Replacing(os, write=self._write)
        with ExitStack() as patches:
            for place, names in (
                (accept, {"trio": in_trio}),
                (tcp, {"os": in_os}),
                # The application makes its channel itself, and so its settings are the real ones.
                (sys.modules[create_app.__module__], {"Channel": self._channel_to}),
                (routes, {"Relay": self._relay}),
                (openai_routes, {"Relay": self._relay}),
                (grpclib_anyio.server, {"Connection": self._served}),
            ):
                patches.enter_context(mock.patch.dict(place.__dict__, names))
            yield

    async def _serve_listeners(
        self,
        handler: Any,
        _listeners: list[Any],
        *,
        handler_nursery: trio.Nursery,
    ) -> None:
        await trio.serve_listeners(handler, [self._listener], handler_nursery=handler_nursery)

    def _write(self, descriptor: int, data: bytes) -> int:
        try:
            size = self._ends[descriptor].send_nowait(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise OSError(errno.EPIPE, "broken") from error
        if not size:
            raise BlockingIOError
        return size

    def _channel_to(self, _host: str, _port: int, *, config: Configuration) -> Channel:
        self.channel = ChannelOver(self.models.connect, config=config)
        return self.channel

    def _relay(self, model: Channel, request: GenerateRequest, *arguments: Any) -> Relay:
        # OpenAI's API has no sessions; in a world, what such a request says is the session's name.
        request.session_id = request.session_id or request.prompt
        self.relays.append(Relay(model, request, *arguments))
        return self.relays[-1]

    def _served(self, *arguments: Any, **more: Any) -> Connection:
        self.served.append(Connection(*arguments, **more))
        return self.served[-1]

    def _link_to_model(self, _where: str) -> Link:
        return Link(self._weather())

    # -- what is left ---------------------------------------------------------------------------

    def tasks(self) -> Counter[str]:
        """Name the tasks of the world."""
        names: Counter[str] = Counter()
        waiting = [self._nursery]
        while waiting:
            for task in waiting.pop().child_tasks:
                names[task.name] += 1
                waiting.extend(task.child_nurseries)
        return names


class _Complaints(logging.Handler):
    def __init__(self, complaints: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._complaints = complaints

    def emit(self, record: logging.LogRecord) -> None:
        self._complaints.append(self.format(record))


@asynccontextmanager
async def open_world(
    *,
    weather: Callable[[], Weather | None] = lambda: None,
    model: Configuration | None = None,
    **settings: Any,
) -> AsyncGenerator[World]:
    """Start the gateway and the model; leaving it ends all, also when they hang."""
    journal = Journal()

    def stamp(_logger: Any, _method: str, line: Any) -> Any:
        journal.note("gateway", f"{line['event']}: {line.get('session_id')} {line.get('cause')}")
        line["time"] = trio.current_time()
        return line

    with capture_logs([stamp]) as log:
        async with trio.open_nursery() as nursery:
            configuration = model or Configuration()
            world = World(
                nursery,
                GatewaySettings(**settings, watchdog_seconds=0),
                journal,
                weather,
                configuration,
            )
            world.log = log
            with _complaints_in(world.complaints):
                await nursery.start(world.run_gateway)
                yield world
                nursery.cancel_scope.cancel()


@contextmanager
def _complaints_in(complaints: list[str]) -> Generator[None]:
    handler = _Complaints(complaints)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
