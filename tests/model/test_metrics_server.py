"""Metrics over HTTP: a real socket, and clients that are rude."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import anyio
import pytest
from prometheus_client import CollectorRegistry, Counter

from relay_model import metrics_server

pytestmark = pytest.mark.anyio

OK, BAD, MISSING, WRONG_METHOD = b"HTTP/1.1 200", b"", b"HTTP/1.1 404", b"HTTP/1.1 405"


@asynccontextmanager
async def metrics_port() -> AsyncGenerator[int, None]:
    """Serve one counter; give the port."""
    registry = CollectorRegistry()
    Counter("turtles", "All the way down", registry=registry).inc(3)
    async with anyio.create_task_group() as tasks:
        yield await tasks.start(partial(metrics_server.serve, registry, "127.0.0.1", 0))
        tasks.cancel_scope.cancel()


async def answer(port: int, *pieces: bytes) -> bytes:
    """Send a request, and give all that comes back."""
    received = b""
    with anyio.fail_after(10):
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            for piece in pieces:
                await stream.send(piece)
            try:
                while True:
                    received += await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return received


async def test_prometheus_gets_its_metrics() -> None:
    async with metrics_port() as port:
        response = await answer(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    head, _, body = response.partition(b"\r\n\r\n")
    assert head.startswith(OK)
    assert b"text/plain" in head
    assert b"turtles_total 3.0\n" in body
    assert f"Content-Length: {len(body)}".encode() in head


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /metrics?name[]=x HTTP/1.1\r\nHost: x\r\n\r\n", OK),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", MISSING),
        (b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", WRONG_METHOD),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", BAD),
        (b"GET /metrics HTTP/1.1\r\n" + b"X: " + b"y" * 30_000, BAD),
    ],
)
async def test_each_request_is_answered_or_dropped(request_: bytes, status: bytes) -> None:
    async with metrics_port() as port:
        assert (await answer(port, request_))[: len(OK)] == status


async def test_a_request_may_come_in_pieces() -> None:
    async with metrics_port() as port:
        pieces = (b"GET /met", b"rics HTTP/1.1\r", b"\nHost: x\r\n", b"\r\n")
        assert (await answer(port, *pieces)).startswith(OK)


async def test_a_client_that_says_nothing_is_dropped_and_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metrics_server, "_MAX_SECONDS", 0.3)
    async with metrics_port() as port, anyio.create_task_group() as tasks:
        for _ in range(20):  # more than are served at a time
            tasks.start_soon(answer, port)
        request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
        assert (await answer(port, request)).startswith(OK)


async def test_cancelled_it_closes_every_connection() -> None:
    async with anyio.create_task_group() as tasks:
        async with metrics_port() as port:
            stream = await anyio.connect_tcp("127.0.0.1", port)
            await anyio.wait_all_tasks_blocked()
        async with stream:
            with anyio.fail_after(5), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await stream.receive()
        tasks.cancel_scope.cancel()
