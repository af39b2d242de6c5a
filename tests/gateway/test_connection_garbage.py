"""A browser's connection goes with the last reference to it, not when the collector comes."""

import gc
from collections.abc import Awaitable, Callable, Generator
from typing import Any, cast
from weakref import ref

import pytest
import trio
import trio.testing
from hypercorn.config import Config
from hypercorn.typing import ConnectionState
from hypercorn.utils import wrap_app  # pyright: ignore[reportUnknownVariableType] - hypercorn's

from relay_gateway.server.tcp import BoundedTCPServer
from relay_gateway.server.worker import DrainingContext
from tests.gateway.test_tcp import Answer
from tests.support.browsers import Http2

Ask = Callable[[trio.SocketStream], Awaitable[None]]


async def nothing(_stream: trio.SocketStream) -> None:
    await trio.lowlevel.checkpoint()


async def to_the_end(stream: trio.SocketStream) -> None:
    await stream.send_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    await stream.receive_some()


async def held(stream: trio.SocketStream) -> None:
    await stream.send_all(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n")


async def held_over_http2(stream: trio.SocketStream) -> None:
    browser = Http2(stream)
    await browser.start()
    await browser.until_events(await browser.send("/held"), 1)


@pytest.fixture(autouse=True)
def uncollected() -> Generator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.trio
@pytest.mark.parametrize("ask", [nothing, to_the_end, held, held_over_http2])
async def test_connection_that_is_over_is_in_no_cycle(ask: Ask) -> None:
    """There is one for each request at worst, of thirty objects."""
    ours, theirs = (trio.SocketStream(end) for end in trio.socket.socketpair())
    app = wrap_app(cast("Any", Answer()), 0, "asgi")
    server = BoundedTCPServer(app, Config(), DrainingContext(None), ConnectionState({}), ours)
    async with theirs, trio.open_nursery() as nursery:
        nursery.start_soon(server.run)
        await ask(theirs)
        await trio.testing.wait_all_tasks_blocked()
        parts: list[ref[Any]] = [ref(part) for part in (server, server.protocol)]
        del server
        assert all(part() is not None for part in parts)
        await theirs.aclose()
    assert [part() for part in parts] == [None, None]
