"""Browsers for a benchmark: raw sockets in one thread, with a record of what each one received.

For example, one browser that reads a whole answer::

    crowd = Crowd(port)
    browser = crowd.open(Work(tokens=100))
    crowd.read_until(lambda: browser.is_over, seconds=5.0, on_read=print)
"""

import re
import select
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from urllib.parse import quote

from bench.work import STAMP_SIZE, Work

__all__ = ["Browser", "Crowd"]

_HOST = "127.0.0.1"
#: Connections from one client address. After these, the next address is used, 127.0.0.2.
_PORTS = 20_000
_RECEIVED_AT_ONCE = 1 << 18
_STAMP = re.compile(rb"data: (\d{%d})" % STAMP_SIZE)


class Browser:
    """One request and its answer; times are ``time.monotonic_ns()``."""

    def __init__(self, port: int, work: Work, *, client: str) -> None:
        """Connect, and send the request.

        Args:
            port: the gateway's, on 127.0.0.1.
            work: the answer to ask for.
            client: the address to connect from.

        """
        self.work = work
        self.asked_at = time.monotonic_ns()
        self.headers_at = self.first_token_at = 0
        self.tokens = 0
        self.pings: list[int] = []
        #: Nanoseconds from the model to here, for each stamped token.
        self.latencies: list[int] = []
        self.is_over = False
        #: The reason why the answer was cut short; empty if it was not.
        self.error = b""
        self._rest = b""
        self.socket = socket.create_connection((_HOST, port), source_address=(client, 0))
        self.socket.setblocking(False)  # noqa: FBT003 - the standard library's
        path = f"/api/ai/stream?prompt={quote(work.prompt())}&session_id=bench"
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())

    def read(self) -> None:
        """Read what has arrived, without waiting."""
        try:
            data = self.socket.recv(_RECEIVED_AT_ONCE)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        now = time.monotonic_ns()
        if not data:
            self._end(b"" if self.is_over else b"closed early")
            return
        if not self.headers_at:
            self._begin(data, now)
        whole, separator, self._rest = (self._rest + data).rpartition(b"\n\n")
        if separator:
            self._take(whole, now)

    def _begin(self, head: bytes, now: int) -> None:
        self.headers_at = now
        if not head.startswith(b"HTTP/1.1 200"):
            self._end(head[:100])

    def _take(self, events: bytes, now: int) -> None:
        tokens = events.count(b"data: ")
        if b"event: " in events:
            tokens -= 1
            self._end(b"" if b"event: done" in events else events[-100:])
        if b": ping" in events:
            self.pings.append(now)
        self.tokens += tokens
        if tokens and not self.first_token_at:
            self.first_token_at = now
        if self.work.is_stamped:
            self.latencies += (now - int(stamp) for stamp in _STAMP.findall(events))

    def _end(self, error: bytes) -> None:
        self.is_over = True
        self.error = self.error or error


class Crowd:
    """All browsers of a run."""

    def __init__(self, port: int) -> None:
        """Begin with no browsers, for a gateway's port on 127.0.0.1."""
        self._port = port
        self._poll = select.epoll()
        self._browsers: dict[int, Browser] = {}
        self._opened = 0

    @property
    def browsers(self) -> Iterator[Browser]:
        """The browsers that are connected."""
        return iter(self._browsers.values())

    def __len__(self) -> int:
        """Return how many browsers are connected."""
        return len(self._browsers)

    def open(self, work: Work) -> Browser:
        """Let one more browser ask; its work has the browser's number as its name."""
        client = f"127.0.0.{1 + self._opened // _PORTS}"
        browser = Browser(self._port, replace(work, name=self._opened), client=client)
        self._opened += 1
        self._browsers[browser.socket.fileno()] = browser
        self._poll.register(browser.socket.fileno(), select.EPOLLIN)
        return browser

    def leave(self, browser: Browser) -> int:
        """Close a browser's connection, and return the time, in ns."""
        self._poll.unregister(browser.socket.fileno())
        del self._browsers[browser.socket.fileno()]
        left_at = time.monotonic_ns()
        browser.socket.close()
        return left_at

    def read_until(
        self, is_enough: Callable[[], bool], seconds: float, on_read: Callable[[Browser], None]
    ) -> bool:
        """Read until ``is_enough()``; False if ``seconds`` were over first.

        ``on_read`` is called with a browser after each read from it.
        """
        deadline = time.monotonic() + seconds
        while not is_enough():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            for descriptor, _ in self._poll.poll(left):
                browser = self._browsers.get(descriptor)
                if browser is not None:
                    browser.read()
                    on_read(browser)
        return True

    def close(self) -> None:
        """Close all connections."""
        for browser in list(self.browsers):
            self.leave(browser)
        self._poll.close()
