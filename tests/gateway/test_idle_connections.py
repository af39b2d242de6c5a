"""Requests that come in the moment in which their connection has been idle for too long."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
import trio
from hypercorn.config import Config
from hypercorn.typing import ConnectionState
from hypercorn.utils import wrap_app  # pyright: ignore[reportUnknownVariableType] - has a bare `dict`
from trio.testing import wait_all_tasks_blocked

from harness.clock import jump, on_mock_clock
from harness.scheduling import ORDERS, in_order
from relay_gateway.server.tcp import BoundedTCPServer
from relay_gateway.server.worker import DrainingContext
from tests.support.browsers import Http1, Http2
from tests.support.event_stream import DONE, Event
from tests.support.gateways import ASK, gateway_to
from tests.support.models import Model

pytestmark = pytest.mark.trio(run=on_mock_clock)

#: hypercorn's.
KEEP_ALIVE = 5.0
ANSWER = [Event("x"), DONE]


@asynccontextmanager
async def connected() -> AsyncGenerator[trio.SocketStream]:
    """Connect to a gateway by a socket pair."""
    ours, theirs = (trio.SocketStream(sock) for sock in trio.socket.socketpair())
    async with gateway_to(Model(["x"])) as client, ours, trio.open_nursery() as nursery:
        app = wrap_app(cast("Any", client.application), 0, "asgi")
        server = BoundedTCPServer(app, Config(), DrainingContext(None), ConnectionState({}), ours)
        nursery.start_soon(server.run)
        async with theirs:
            yield theirs


@pytest.mark.parametrize("requests", [0, 1], ids=["first", "next"])
async def test_request_that_comes_while_the_loop_stands_still(requests: int) -> None:
    """For longer than a connection may be idle."""
    async with connected() as stream:
        for _ in range(requests):
            assert await Http1(stream).ask(ASK) == ANSWER
        await wait_all_tasks_blocked()
        browser = Http1(stream)
        browser.send_nowait(ASK)
        jump(KEEP_ALIVE + 1)
        await browser.headers()
        assert await browser.events() == ANSWER


async def test_request_over_http2_that_comes_while_the_loop_stands_still() -> None:
    async with connected() as stream:
        browser = Http2(stream)
        await browser.start()
        await wait_all_tasks_blocked()
        number = browser.send_nowait(ASK)
        jump(KEEP_ALIVE + 1)
        assert await browser.until_end(number) == ANSWER


@pytest.mark.parametrize("order", ORDERS)
async def test_request_that_comes_as_the_time_is_up(order: str) -> None:
    """It comes when the timer has woken the reader, which has not run yet; or has just run."""
    async with connected() as stream:
        due = trio.current_time() + KEEP_ALIVE
        browser = Http1(stream)
        with in_order(ORDERS[order]):
            await trio.sleep_until(due)
            browser.send_nowait(ASK)
            await browser.headers()
        assert await browser.events() == ANSWER


async def test_part_of_a_request_does_not_extend_the_time() -> None:
    async with connected() as stream:
        start = trio.current_time()
        await trio.sleep(KEEP_ALIVE - 1)
        await stream.send_all(b"GET / HTTP/1.1\r\n")
        assert await stream.receive_some() == b""
        assert trio.current_time() == start + KEEP_ALIVE
