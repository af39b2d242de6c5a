"""Chunks that an application writes itself, on real sockets: what a browser makes of them."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

import hypercorn.trio
import pytest
import trio
from hypercorn.config import Config

from relay_gateway.extensions import CHUNK_WRITER, FLUSH, ChunkWriter
from relay_gateway.server.patch import install
from tests.support.browsers import READ_SIZE, SMALL_BUFFER, http1, http2
from tests.support.event_stream import Event

pytestmark = pytest.mark.trio

#: Seconds for what is to come soon, on a machine that is busy.
SOON = 5.0
COUNT = 3000


def _event(number: int) -> bytes:
    return f"data: {number}{'x' * number}\n\n".encode()


EVENTS = [Event(f"{number}{'x' * number}") for number in range(COUNT)]


class Numbers:
    """An application that writes numbers past the server, as far as it is let."""

    def __init__(self) -> None:
        self.offered: list[bool] = []
        self.waited = 0

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for stage in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{stage}.complete"})
            return
        writer: ChunkWriter | None = scope["extensions"].get(CHUNK_WRITER)
        self.offered.append(writer is not None)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if writer is not None:
            await self._write(writer, send)
        await send({"type": "http.response.body", "body": b""})

    async def _write(self, writer: ChunkWriter, send: Any) -> None:
        for number in range(COUNT):
            if number % 3 == 0:
                await send(
                    {"type": "http.response.body", "body": _event(number), "more_body": True}
                )
            elif number % 3 == 1:
                await writer.write(_event(number))
            elif not writer.write_nowait(_event(number)):
                self.waited += 1
                await writer.write(FLUSH)


@asynccontextmanager
async def served(application: Numbers) -> AsyncGenerator[str]:
    """Serve an application as the gateway is served; give its URL."""
    install(write_timeout=30)
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = None
    async with trio.open_nursery() as nursery:
        serve = cast("Any", hypercorn.trio).serve  # of a type that is known in part
        urls = await nursery.start(serve, application, config)
        with trio.fail_after(SOON):  # noqa: ASYNC100 - for what the test awaits
            yield urls[0]
        nursery.cancel_scope.cancel()


async def test_a_slow_browser_gets_every_chunk_in_order() -> None:
    """Whichever way it took, and although most are written in pieces."""
    numbers = Numbers()
    async with served(numbers) as url, http1(url, buffer_size=SMALL_BUFFER) as browser:
        assert await browser.ask("/") == EVENTS
        assert await browser.ask("/") == EVENTS, "the connection is used again"
    assert numbers.offered == [True, True]
    assert numbers.waited > 0


async def test_browser_that_leaves_ends_the_writing() -> None:
    numbers = Numbers()
    async with served(numbers) as url:
        async with http1(url, buffer_size=SMALL_BUFFER) as browser:
            await browser.send("/")
            await browser.headers()
        async with http1(url) as browser:
            assert await browser.ask("/") == EVENTS


async def test_no_chunks_over_http2() -> None:
    numbers = Numbers()
    async with served(numbers) as url, http2(url) as browser:
        assert await browser.until_end(await browser.send("/")) == []
    assert numbers.offered == [False]


async def test_no_chunks_for_http10() -> None:
    numbers = Numbers()
    async with served(numbers) as url, http1(url) as browser:
        await browser.stream.send_all(b"GET / HTTP/1.0\r\n\r\n")
        answer = b""
        while data := await browser.stream.receive_some(READ_SIZE):
            answer += data
    assert answer.endswith(b"\r\n\r\n")
    assert b"chunked" not in answer
    assert numbers.offered == [False]
