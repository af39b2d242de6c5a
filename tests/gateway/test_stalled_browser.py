"""A browser that never reads, through hypercorn's connections and over sockets, to the moment.

The model is stopped at the deadline, whatever the browser does; the browser is given up when a
write has waited for as long as it may; and nobody holds what the model would have sent.
"""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any, cast

import pytest
import trio
from h2.errors import ErrorCodes
from hypercorn.config import Config
from hypercorn.typing import ConnectionState
from hypercorn.utils import wrap_app  # pyright: ignore[reportUnknownVariableType] - has a bare `dict`
from hyperframe.frame import PingFrame, SettingsFrame, WindowUpdateFrame

from harness.clock import on_mock_clock
from relay_gateway.server.tcp import BoundedTCPServer
from relay_gateway.server.worker import DrainingContext, Worker, current_worker, serve
from tests.support.browsers import SMALL_BUFFER, Http1, Http2
from tests.support.gateways import ASK, application_to, gateway_to
from tests.support.models import Model, Wire

pytestmark = pytest.mark.trio(run=on_mock_clock)

DEADLINE, WRITE_TIMEOUT, KEEP_ALIVE = 2.0, 5.0, 5.0
DRAIN, LAST_WRITE = 7.0, 0.25
KIB = 1024
#: KiB that may be on their way: two sockets and a window of HTTP/2 on either side of the gateway.
MOST_ON_THE_WAY = 512
LARGE_BUFFER = 1024 * KIB


async def ask_and_read_nothing(stream: trio.SocketStream, http: str) -> None:
    if http == "HTTP/1.1":
        await Http1(stream).send(ASK)
    else:
        browser = Http2(stream)
        await browser.start()
        await browser.send(ASK)


@pytest.mark.parametrize(
    ("http", "buffer_size", "gone"),
    [
        ("HTTP/1.1", SMALL_BUFFER, WRITE_TIMEOUT),
        ("HTTP/2", SMALL_BUFFER, WRITE_TIMEOUT),
        # The socket takes all that HTTP/2's window lets through: it is the stream that is given up,
        # and the connection with the last of them.
        ("HTTP/2", LARGE_BUFFER, WRITE_TIMEOUT + KEEP_ALIVE),
    ],
    ids=["HTTP/1.1", "HTTP/2, full socket", "HTTP/2, no window"],
)
async def test_model_is_stopped_at_the_deadline_and_the_browser_given_up(
    http: str, buffer_size: int, gone: float, logs: list[Any]
) -> None:
    model, wire = Model(lambda: repeat("x" * KIB)), Wire()
    limits: dict[str, Any] = {"deadline_seconds": DEADLINE, "write_timeout_seconds": WRITE_TIMEOUT}
    ours, theirs = (trio.SocketStream(sock) for sock in trio.socket.socketpair())
    ours.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_SNDBUF, buffer_size)
    async with gateway_to(model, wire, **limits) as client, ours, theirs:
        app = wrap_app(cast("Any", client.application), 0, "asgi")
        server = BoundedTCPServer(app, Config(), DrainingContext(None), ConnectionState({}), ours)
        start = trio.current_time()
        await ask_and_read_nothing(theirs, http)
        await server.run()
        assert trio.current_time() - start == gone
        assert wire.resets == [(start + DEADLINE, ErrorCodes.CANCEL)]
        assert model.ended == [start + DEADLINE]
    (entry,) = [entry for entry in logs if entry["event"] == "request ended"]
    assert (entry["cause"], entry["seconds"]) == ("deadline", WRITE_TIMEOUT)
    assert model.pulled < MOST_ON_THE_WAY


async def test_reader_that_has_to_write_holds_up_no_shutdown() -> None:
    """It answers pings that nobody reads: shielded, and not the one to see the cancellation."""
    worker = Worker()
    current_worker.set(worker)
    ours, theirs = (trio.SocketStream(sock) for sock in trio.socket.socketpair())
    ours.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_SNDBUF, SMALL_BUFFER)
    server = BoundedTCPServer(
        cast("Any", None), Config(), DrainingContext(None), ConnectionState({}), ours
    )
    async with ours, theirs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.hurry_when_cancelled)
            nursery.start_soon(server.run)
            browser = Http2(theirs)
            await browser.start()
            with trio.move_on_after(1):
                while True:
                    await browser.send_frames([PingFrame(0, b"12345678")] * 100)
            start = trio.current_time()
            nursery.cancel_scope.cancel()
        assert trio.current_time() - start == LAST_WRITE


@asynccontextmanager
async def three_that_read_nothing(path: str) -> AsyncGenerator[None]:
    """Ask over HTTP/1.1, over HTTP/2, and over HTTP/2 with windows that are never full."""
    async with AsyncExitStack() as stack:
        one, two, three = [
            await stack.enter_async_context(await trio.open_unix_socket(path)) for _ in range(3)
        ]
        await ask_and_read_nothing(one, "HTTP/1.1")
        await ask_and_read_nothing(two, "HTTP/2")
        browser = Http2(three)
        await browser.start()
        window = {SettingsFrame.INITIAL_WINDOW_SIZE: LARGE_BUFFER}
        await browser.send_frames(
            [SettingsFrame(settings=window), WindowUpdateFrame(0, window_increment=LARGE_BUFFER)]
        )
        await browser.send(ASK)
        yield


async def test_server_ends_in_time_with_browsers_that_read_nothing(
    tmp_path: Path, logs: list[Any]
) -> None:
    """After its drain and the last chance of a write; a process has the rest of a second to leave.

    See test_programs.py for processes.
    """
    model, stop, path = Model(lambda: repeat("x" * KIB)), trio.Event(), str(tmp_path / "gateway")
    config = Config()
    config.bind = [f"unix:{path}"]
    sockets = config.create_sockets()
    for listener in sockets.insecure_sockets:
        listener.listen()
    async with application_to(model, drain_seconds=DRAIN) as application:
        app = wrap_app(cast("Any", application), 0, "asgi")
        async with three_that_read_nothing(path), trio.open_nursery() as nursery:
            options = {"sockets": sockets, "shutdown_trigger": stop.wait}
            await nursery.start(partial(serve, app, config, **cast("Any", options)))
            await model.until_stalled(1)
            start = trio.current_time()
            stop.set()
        assert trio.current_time() - start == DRAIN + LAST_WRITE
        assert model.ended == [start] * 3
    assert [entry["cause"] for entry in logs if entry["event"] == "request ended"] == [
        "shutdown"
    ] * 3


class Goodbyeless:
    """Ends as TLS does with a client that reads nothing: there is no room for the good-bye."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.transport_stream = stream
        self.receive_some = stream.receive_some
        self.send_all = stream.send_all

    async def do_handshake(self) -> None:
        await trio.lowlevel.checkpoint()

    def selected_alpn_protocol(self) -> str:
        return "http/1.1"

    async def aclose(self) -> None:
        try:
            if self.transport_stream.socket.fileno() >= 0:
                await trio.sleep_forever()
        finally:
            await trio.aclose_forcefully(self.transport_stream)


async def test_good_bye_of_tls_holds_up_no_end() -> None:
    """Neither when the connection was idle, which hypercorn closes in a shield."""
    ours, theirs = (trio.SocketStream(sock) for sock in trio.socket.socketpair())
    server = BoundedTCPServer(
        cast("Any", None), Config(), DrainingContext(None), ConnectionState({}), Goodbyeless(ours)
    )
    async with ours, theirs:
        start = trio.current_time()
        await server.run()
        assert trio.current_time() - start == KEEP_ALIVE + LAST_WRITE
