"""What has come to a server that stops is answered, over sockets, to the moment.

That is: connections that wait to be accepted, requests that are on their way, and, for a second
order, answers that had a grace.
"""

import socket
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from typing import Any, cast

import pytest
import trio
from hypercorn.config import Config, Sockets
from hypercorn.utils import wrap_app  # pyright: ignore[reportUnknownVariableType] - has a bare `dict`
from hyperframe.frame import Frame, GoAwayFrame
from trio.testing import wait_all_tasks_blocked

from harness.clock import on_mock_clock
from relay_gateway.relay.outcome import STOPPED
from relay_gateway.server.accept import refuse_new_connections
from relay_gateway.server.worker import serve
from tests.support.browsers import READ_SIZE, Http2, http1, http2
from tests.support.event_stream import DONE, Event
from tests.support.gateways import ASK, application_to
from tests.support.models import Model

pytestmark = [pytest.mark.trio(run=on_mock_clock), pytest.mark.usefixtures("logs")]

FOREVER = float("inf")
GRACE, DRAIN, LAST = 30.0, 7.0, 0.25
TELLS = Event(STOPPED.message, "error")
REQUEST = f"GET {ASK} HTTP/1.1\r\nHost: gateway\r\n\r\n".encode()
#: More than are accepted in one turn.
BURST = 40


class Server:
    """A gateway that serves on a socket."""

    def __init__(self, port: int, stop: trio.Event) -> None:
        self.port, self.stop, self.scope = port, stop, trio.CancelScope()
        self.origin = f"http://127.0.0.1:{port}"
        self.ended = trio.Event()

    def connect(self, data: bytes = b"") -> socket.socket:
        """Connect and send something, without letting the server run."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=5)
        connection.sendall(data)
        return connection


@asynccontextmanager
async def serving(
    model: Model, *, host: str = "127.0.0.1", **settings: Any
) -> AsyncGenerator[Server]:
    """Serve until told to stop, and at most until the block is left."""
    stop, config = trio.Event(), Config()
    config.bind, config.errorlog = [f"{host}:0"], None
    sockets = config.create_sockets()
    for listening in sockets.insecure_sockets:
        listening.listen(2 * BURST)
    port = sockets.insecure_sockets[0].getsockname()[1]
    async with application_to(model, drain_seconds=DRAIN, **settings) as application:
        app = wrap_app(cast("Any", application), 0, "asgi")
        async with trio.open_nursery() as nursery:
            server = Server(port, stop)

            async def run(task_status: trio.TaskStatus[Any]) -> None:  # noqa: ASYNC114, ASYNC128 - hypercorn says that it has started
                with server.scope:
                    await serve(
                        app,
                        config,
                        sockets=sockets,
                        shutdown_trigger=stop.wait,
                        last_call=partial(_refuse, sockets),
                        task_status=task_status,
                    )
                server.ended.set()

            await nursery.start(run)
            yield server
            await server.ended.wait()


async def _refuse(sockets: Sockets) -> None:
    await trio.lowlevel.checkpoint()
    for listening in sockets.insecure_sockets:
        refuse_new_connections(listening)


async def read_all(connection: socket.socket) -> bytes:
    """Read to the end, beside the server."""
    connection.settimeout(0)
    stream, data = trio.SocketStream(trio.socket.from_stdlib_socket(connection)), b""
    while more := await stream.receive_some(READ_SIZE):
        data += more
    return data


def is_refusal(data: bytes) -> bool:
    head, _, body = data.partition(b"\r\n\r\n")
    return (
        head.startswith(b"HTTP/1.1 503 ")
        and b"connection: close" in head.lower()
        and b"the gateway is being restarted" in body
    )


async def test_connections_in_the_backlog_are_answered() -> None:
    """They come in the moment of the order; the server has not run since."""
    async with serving(Model(["x"])) as server:
        with ExitStack() as stack:
            server.stop.set()
            connections = [stack.enter_context(server.connect(REQUEST)) for _ in range(BURST)]
            start = trio.current_time()
            for connection in connections:
                assert is_refusal(await read_all(connection))
            await server.ended.wait()
            assert trio.current_time() == start


async def test_connections_that_come_with_the_last_call_are_answered() -> None:
    """The drain is over by then."""
    async with serving(Model([FOREVER])) as server, http1(server.origin) as browser:
        await browser.send(ASK)
        await browser.headers()
        server.stop.set()
        assert await browser.events() == [TELLS]
        with ExitStack() as stack:
            connections = [stack.enter_context(server.connect(REQUEST)) for _ in range(BURST)]
            for connection in connections:
                assert is_refusal(await read_all(connection))


@pytest.mark.parametrize(
    ("seconds", "is_answered"), [(LAST / 2, True), (2 * LAST, False)], ids=["in time", "late"]
)
async def test_connection_without_a_request_may_still_send_it(
    seconds: float, *, is_answered: bool
) -> None:
    async with serving(Model(["x"])) as server:
        with server.connect() as connection:
            await wait_all_tasks_blocked()
            start = trio.current_time()
            server.stop.set()
            async with trio.open_nursery() as nursery:

                async def send() -> None:
                    await trio.sleep(seconds)
                    if is_answered:
                        connection.send(REQUEST)

                nursery.start_soon(send)
                data = await read_all(connection)
            assert is_refusal(data) == is_answered
            await server.ended.wait()
            assert trio.current_time() - start == (seconds if is_answered else 2 * LAST)


async def test_request_on_a_kept_connection_is_answered_in_its_last_moment() -> None:
    async with serving(Model(["x"])) as server, http1(server.origin) as browser:
        assert await browser.ask(ASK) == [Event("x"), DONE]
        server.stop.set()
        browser.send_nowait(ASK)
        response = await browser.headers()
        assert response.status_code == 503
        await server.ended.wait()


async def test_idle_connections_hold_up_nothing() -> None:
    async with (
        serving(Model(["x"])) as server,
        http1(server.origin) as one,
        http2(server.origin) as two,
    ):
        assert await one.ask(ASK) == [Event("x"), DONE]
        assert await two.until_end(await two.send(ASK)) == [Event("x"), DONE]
        start = trio.current_time()
        server.stop.set()
        await one.until_closed()
        await server.ended.wait()
        assert trio.current_time() == start


async def test_connection_is_closed_when_its_answer_has_ended_in_the_grace() -> None:
    """At the end of the stop, and not before: it may have another request on its way."""
    async with (
        serving(Model([5.0, "x"]), shutdown_grace_seconds=GRACE) as server,
        http1(server.origin) as browser,
    ):
        await browser.send(ASK)
        await browser.headers()
        start = trio.current_time()
        server.stop.set()
        assert await browser.events() == [Event("x"), DONE]
        await browser.until_closed()
        assert trio.current_time() - start == 5


async def test_second_order_tells_answers_on_the_wire() -> None:
    """They get the event that says why, in the last quarter of a second."""
    async with (
        serving(Model(["x", FOREVER]), shutdown_grace_seconds=GRACE) as server,
        http1(server.origin) as one,
        http2(server.origin) as two,
    ):
        await one.send(ASK)
        await one.headers()
        number = await two.send(ASK)
        await two.until_events(number, 1)
        start = trio.current_time()
        server.stop.set()
        await trio.sleep(3)
        server.scope.cancel()
        assert await one.events() == [Event("x"), TELLS]
        assert await two.until_end(number) == [Event("x"), TELLS]
        assert trio.current_time() - start == 3


async def test_second_order_waits_a_quarter_of_a_second_for_browsers_that_do_not_read() -> None:
    model = Model(lambda: iter(["x" * 1024] * 10_000))
    async with (
        serving(model, shutdown_grace_seconds=GRACE) as server,
        http1(server.origin, buffer_size=4096) as browser,
    ):
        await browser.send(ASK)
        await wait_all_tasks_blocked()
        await trio.sleep(1)
        server.stop.set()
        await trio.sleep(1)
        start = trio.current_time()
        server.scope.cancel()
        await server.ended.wait()
        assert trio.current_time() - start == LAST


# -- HTTP/2 ----------------------------------------------------------------------------------------


class Frames(Http2):
    """A client that keeps what it reads."""

    def __init__(self, stream: trio.SocketStream) -> None:
        super().__init__(stream)
        self.data = b""
        self._inner = stream

    async def until_closed(self) -> None:
        while data := await self._inner.receive_some(READ_SIZE):
            self.data += data

    def goaways(self) -> list[GoAwayFrame]:
        rest, found = memoryview(self.data), list[GoAwayFrame]()
        while rest:
            frame, length = Frame.parse_frame_header(rest[:9])
            frame.parse_body(rest[9 : 9 + length])
            rest = rest[9 + length :]
            if isinstance(frame, GoAwayFrame):
                found.append(frame)
        return found


async def test_idle_http2_connection_is_sent_elsewhere_and_loses_nothing() -> None:
    """GOAWAY names the highest stream, so that what is on its way is answered."""
    async with (
        serving(Model([5.0, "x"]), shutdown_grace_seconds=GRACE) as server,
        http1(server.origin) as idle,
        http1(server.origin) as busy,
    ):
        client = Frames(idle.stream)
        await client.start()
        await busy.send(ASK)
        await busy.headers()
        await wait_all_tasks_blocked()
        server.stop.set()
        await wait_all_tasks_blocked()
        await client.send(ASK)
        await client.until_closed()
        (goaway,) = client.goaways()
        assert (goaway.last_stream_id, goaway.error_code) == (2**31 - 1, 0)
        assert b"the gateway is being restarted" in client.data


async def test_http2_streams_under_way_end_before_goaway() -> None:
    """Some clients, of which httpx is one, give up every stream when GOAWAY comes."""
    async with (
        serving(Model([5.0, "x"]), shutdown_grace_seconds=GRACE) as server,
        http2(server.origin) as browser,
    ):
        first = await browser.send(ASK)
        await browser.until_status(first)
        server.stop.set()
        await wait_all_tasks_blocked()
        second = await browser.send(ASK)
        assert await browser.until_status(second) == "503"
        assert await browser.until_end(first) == [Event("x"), DONE]


async def test_http1_refusal_ends_its_connection() -> None:
    async with (
        serving(Model([5.0, "x"]), shutdown_grace_seconds=GRACE) as server,
        http1(server.origin) as busy,
        http1(server.origin) as other,
    ):
        await busy.send(ASK)
        await busy.headers()
        await other.get("/healthz")
        server.stop.set()
        await wait_all_tasks_blocked()
        await other.send("/readyz")
        assert (await other.headers()).status_code == 503
        await other.until_closed()
        assert await busy.events() == [Event("x"), DONE]
