"""The real programs, with logs that nobody reads: requests go through, and lines are dropped."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager

import pytest
import trio

from tests.support.browsers import http1

#: More lines than a pipe of 64 KiB holds; without a thread, 267 requests were enough.
REQUESTS = 2000
BROWSERS = 4
WAYS = {
    "relay-gateway": ("relay_gateway",),
    "hypercorn": (
        "hypercorn",
        "--worker-class=trio",
        "--access-logfile=-",
        "--access-logformat=%(h)s %(r)s %(s)s " + "x" * 200,
        "relay_gateway:app",
    ),
}


@contextmanager
def free_port() -> Generator[int]:
    """Give a port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    yield port


@asynccontextmanager
async def running_unread(*command: str, **environment: str) -> AsyncGenerator[trio.Process]:
    """Run `python -m` of a command with pipes for its output that nobody reads."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    async with process.stdout, process.stderr:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                with trio.CancelScope(shield=True):  # it cannot refuse
                    await process.wait()


async def until_listening(port: int) -> None:
    with trio.fail_after(30):
        while True:
            try:
                await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
            except OSError:
                await trio.sleep(0.05)
            else:
                return


async def ask(origin: str, requests: int) -> None:
    async with http1(origin) as browser:
        for number in range(requests):
            body = await browser.read(f"/api/ai/stream?prompt=hi&session_id={number}" + "s" * 60)
            assert b"event: done" in body


async def metrics(port: int) -> str:
    """Read the metrics of either program: the model service closes the connection."""
    request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(request)
        return b"".join([data async for data in stream]).decode()


@pytest.mark.trio
@pytest.mark.parametrize("command", WAYS.values(), ids=WAYS)
async def test_requests_go_through_when_nobody_reads_the_logs(command: tuple[str, ...]) -> None:
    with free_port() as model_port, free_port() as port, free_port() as metrics_port:
        bind = (
            (f"--port={port}",) if command[0] == "relay_gateway" else (f"--bind=127.0.0.1:{port}",)
        )
        model = ("relay_model", f"--port={model_port}", f"--metrics-port={metrics_port}")
        origin = f"http://127.0.0.1:{port}"
        async with (
            running_unread(*model, "--backend=demo", "--demo-delay=0", RELAY_LOG_LEVEL="info"),
            running_unread(
                *command, *bind, RELAY_MODEL_TARGET=f"127.0.0.1:{model_port}"
            ) as gateway,
        ):
            await until_listening(model_port)
            await until_listening(port)
            with trio.fail_after(120):
                async with trio.open_nursery() as nursery:
                    for _ in range(BROWSERS):
                        nursery.start_soon(ask, origin, REQUESTS // BROWSERS)
            with trio.fail_after(5):
                async with http1(origin) as browser:
                    assert (await browser.get("/healthz")).status_code == 200
                text = await metrics(port) + await metrics(metrics_port)
            assert re.search(r'^relay_requests_total{cause="done"} 2000.0\r?$', text, re.MULTILINE)
            for name in ("relay_log", "relay_model_log"):
                assert re.search(rf"^{name}_lines_dropped_total 0.0\r?$", text, re.MULTILINE)
            gateway.send_signal(signal.SIGTERM)
            with trio.fail_after(10):
                await gateway.wait()
