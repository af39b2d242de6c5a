"""Browsers that leave together, in a process of their own.

For example, a thousand over HTTP/1.1::

    python -m tests.soak.leaver '{"port": 8080, "browsers": 1000, "version": 1, "path": "/…"}'

It prints a line when each has a token. A line on standard input has all of them leave: those of
HTTP/1.1 close their connections, those of HTTP/2 reset their streams. A second line says so.
"""

import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from tests.support.browsers import Http2, http1, http2

#: Streams of an HTTP/2 connection: as many as servers usually allow.
_STREAMS = 100
#: Requests without an answer at a time; below the backlog of any listener.
_OPENING = 32


class Crowd:
    """All browsers of the process."""

    def __init__(self, port: int, path: str) -> None:
        """Have them ask for one path."""
        self._origin = f"http://127.0.0.1:{port}"
        self._path = path
        self._opening = trio.Semaphore(_OPENING)
        self._leaving = trio.Event()

    async def run(self, browsers: int, version: int) -> None:
        """Open all streams, say so, and leave when told."""
        size = _STREAMS if version == 2 else 1
        come = self._come_over_http2 if size > 1 else self._come_over_http1
        sizes = [min(size, browsers - first) for first in range(0, browsers, size)]
        async with trio.open_nursery() as nursery:
            async with trio.open_nursery() as opening:
                for each in sizes:
                    opening.start_soon(nursery.start, self._come, come, each)
            _say("open")
            await trio.to_thread.run_sync(sys.stdin.readline)
            self._leaving.set()
        _say("left")

    async def _come(
        self,
        come: Callable[[int, Callable[[], None]], Awaitable[None]],
        size: int,
        *,
        task_status: trio.TaskStatus[None],
    ) -> None:
        await self._opening.acquire()

        def opened() -> None:
            self._opening.release()
            task_status.started()

        await come(size, opened)

    async def _come_over_http1(self, _size: int, opened: Callable[[], None]) -> None:
        async with http1(self._origin) as browser:
            await browser.send(self._path)
            await browser.headers()
            assert await browser.event()
            opened()
            await self._leaving.wait()

    async def _come_over_http2(self, size: int, opened: Callable[[], None]) -> None:
        async with http2(self._origin) as browser:
            numbers = await self._open(browser, size)
            opened()
            await self._leaving.wait()
            for number in numbers:
                await browser.cancel(number)

    async def _open(self, browser: Http2, size: int) -> list[int]:
        numbers = [await browser.send(self._path) for _ in range(size)]
        for number in numbers:
            assert await browser.until_events(number, 1)
        return numbers


def _say(moment: str) -> None:
    print(json.dumps(moment), flush=True)


def main() -> None:
    """Do what the command line says."""
    job: dict[str, Any] = json.loads(sys.argv[1])
    trio.run(Crowd(job["port"], job["path"]).run, job["browsers"], job["version"])


if __name__ == "__main__":
    main()
