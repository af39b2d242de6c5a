"""What hypercorn tells the application of a request, and what becomes of it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
import trio
from hypercorn.config import Config
from hypercorn.typing import ASGIReceiveEvent, ConnectionState
from hypercorn.utils import wrap_app  # pyright: ignore[reportUnknownVariableType] - has a bare `dict`
from trio.testing import wait_all_tasks_blocked

from harness.clock import on_mock_clock
from relay_gateway.server.requests import Inbox
from relay_gateway.server.tcp import BoundedTCPServer
from relay_gateway.server.worker import DrainingContext
from tests.support.asgi import Client
from tests.support.gateways import gateway_to
from tests.support.models import Model

pytestmark = pytest.mark.trio(run=on_mock_clock)

SIZE = 3
LEFT = cast("ASGIReceiveEvent", {"type": "http.disconnect"})
FOREVER = float("inf")


def part(number: int) -> ASGIReceiveEvent:
    body: Any = {"type": "http.request", "body": b"%d" % number, "more_body": True}
    return cast("ASGIReceiveEvent", body)


async def fill(inbox: Inbox, count: int) -> None:
    for number in range(count):
        await inbox.put(part(number))


async def test_full_inbox_makes_the_connection_wait() -> None:
    inbox = Inbox(SIZE)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fill, inbox, 2 * SIZE)
        await wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 1
        assert [await inbox.receive() for _ in range(2 * SIZE)] == list(map(part, range(2 * SIZE)))


@pytest.mark.parametrize("protocol", ["http", "websocket"])
async def test_leaving_is_told_although_the_inbox_is_full_and_the_task_is_cancelled(
    protocol: str,
) -> None:
    inbox, left = Inbox(SIZE), cast("ASGIReceiveEvent", {"type": f"{protocol}.disconnect"})
    await fill(inbox, SIZE)
    with trio.CancelScope() as scope:
        scope.cancel()
        await inbox.put(left)
    assert inbox.disconnected
    assert [await inbox.receive() for _ in range(SIZE + 1)][-1] == left


async def test_client_that_leaves_cancels_a_scope() -> None:
    inbox = Inbox(SIZE)
    with trio.CancelScope() as scope:
        inbox.cancel_on_disconnect(scope)
        await inbox.put(LEFT)
        assert scope.cancel_called
    scope = trio.CancelScope()
    inbox.cancel_on_disconnect(scope)
    assert scope.cancel_called, "it has left before"


async def test_client_that_leaves_is_told_by_a_call_before_anything_is_cancelled() -> None:
    inbox, was_cancelled = Inbox(SIZE), list[bool]()
    with trio.CancelScope() as scope:
        inbox.cancel_on_disconnect(scope)
        inbox.on_disconnect(lambda: was_cancelled.append(scope.cancel_called))
        await inbox.put(LEFT)
        assert was_cancelled == [False]
        assert scope.cancel_called


async def test_body_that_nobody_takes_is_dropped() -> None:
    inbox = Inbox(SIZE)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fill, inbox, 2 * SIZE)
        await wait_all_tasks_blocked()
        with trio.CancelScope() as scope:
            inbox.cancel_on_disconnect(scope)
            await wait_all_tasks_blocked()
            assert not nursery.child_tasks
            await fill(inbox, 2 * SIZE)
            await inbox.put(LEFT)
            assert scope.cancel_called


BODY = b"".join(b"1\r\nx\r\n" for _ in range(100))
ASK = b"""\
GET /api/ai/stream?prompt=hi HTTP/1.1\r
Host: gateway\r
Transfer-Encoding: chunked\r
\r
"""


async def read_until(stream: trio.SocketStream, mark: bytes) -> bytes:
    data = b""
    while mark not in data:
        more = await stream.receive_some()
        assert more
        data += more
    return data


@asynccontextmanager
async def connected(client: Client) -> AsyncGenerator[trio.SocketStream]:
    """Connect a browser to a gateway; waits for the gateway's end of the connection."""
    near, far = (trio.SocketStream(sock) for sock in trio.socket.socketpair())
    app = wrap_app(cast("Any", client.application), 0, "asgi")
    server = BoundedTCPServer(app, Config(), DrainingContext(None), ConnectionState({}), near)
    async with near, trio.open_nursery() as nursery:
        nursery.start_soon(server.run)
        async with far:
            yield far


@pytest.mark.parametrize("end", [b"0\r\n\r\n", b""], ids=["whole", "goes on"])
async def test_get_with_a_body_is_answered(end: bytes) -> None:
    """Nobody reads the body, and it holds up nothing."""
    async with gateway_to(Model(["x", 1.0])) as client, connected(client) as browser:
        await browser.send_all(ASK + BODY + end)
        answer = await read_until(browser, b"\r\n0\r\n\r\n")
    assert b"data: x\n\n" in answer
    assert b"event: done" in answer


async def test_browser_that_sends_a_body_by_get_and_leaves() -> None:
    model = Model(["x", FOREVER])
    async with gateway_to(model) as client:
        async with connected(client) as browser:
            await browser.send_all(ASK + BODY)
            await read_until(browser, b"data: x")
        await wait_all_tasks_blocked()
        assert len(model.ended) == 1
