"""A program that is stopped while browsers come: whatever it has accepted is answered."""

import signal
import socket
import threading
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import pytest
import trio

from tests.gateway.test_programs import (
    ASK,
    EACH_WAY,
    SIGNALS,
    WAYS,
    gateway,
    open_streams,
)
from tests.support.browsers import http1
from tests.support.event_stream import DONE, Event
from tests.support.models import Model

REQUEST = f"GET {ASK} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n".encode()
FOREVER = float("inf")


class Visitors:
    """Threads that connect, ask and read to the end, again and again."""

    def __init__(self, port: int, count: int) -> None:
        self.outcomes: Counter[str] = Counter()
        self._address = ("127.0.0.1", port)
        self.are_busy = threading.Event()
        self._lock, self._over = threading.Lock(), threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(count)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Let each finish its visit, and wait for that."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            outcome = self._visit()
            with self._lock:
                self.outcomes[outcome] += 1
                if self.outcomes["200"] >= len(self._threads):
                    self.are_busy.set()
            if outcome == "refused":
                return

    def _visit(self) -> str:
        try:
            connection = socket.create_connection(self._address, timeout=10)
        except ConnectionRefusedError:
            return "refused"
        with connection:
            data = b""
            with suppress(ConnectionError):
                connection.sendall(REQUEST)
                while more := connection.recv(65536):
                    data += more
            return data[9:12].decode() or "nothing"


@asynccontextmanager
async def visiting(origin: str, count: int) -> AsyncGenerator[Visitors]:
    """Have visitors, from when each has been answered."""
    visitors = Visitors(int(origin.rpartition(":")[2]), count)
    visitors.start()
    try:
        assert await trio.to_thread.run_sync(visitors.are_busy.wait, 10)
        yield visitors
    finally:
        with trio.CancelScope(shield=True):  # each visit has a timeout
            await trio.to_thread.run_sync(visitors.end)


@pytest.mark.trio
@pytest.mark.parametrize("command", [WAYS["relay-gateway"]], ids=["relay-gateway"])
async def test_every_connection_is_answered(command: tuple[str, ...]) -> None:
    """By 503 at least, from the first that comes to the last that the kernel takes."""
    async with (
        gateway(command, Model(["x"])) as (program, origin),
        visiting(origin, 40) as visitors,
    ):
        assert await program.end(signal.SIGTERM) == 0
    assert visitors.outcomes["nothing"] == 0
    assert set(visitors.outcomes) <= {"200", "503", "refused"}


@pytest.mark.trio
@EACH_WAY
@SIGNALS
async def test_answer_ends_in_the_grace(
    command: tuple[str, ...], number: signal.Signals, code: int
) -> None:
    go_on = trio.Event()
    model = Model(["x", go_on, "y"])
    async with (
        gateway(command, model, RELAY_SHUTDOWN_GRACE_SECONDS="60") as (program, origin),
        http1(origin) as browser,
        http1(origin) as other,
    ):
        await open_streams([browser], model)
        program.process.send_signal(number)
        await program.until("stopping")
        await other.send("/readyz")
        assert (await other.headers()).status_code == 503
        go_on.set()
        await browser.headers()
        assert await browser.events() == [Event("x"), Event("y"), DONE]
        with trio.fail_after(4):
            exit_code = await program.process.wait()
        assert exit_code == (code if command[0] == "relay_gateway" else 0)
        await program.until("cause='done'")
