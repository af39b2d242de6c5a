"""The programs as a person, a shell and a service manager meet them."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from grpclib_anyio.server import Server
from relay_gateway.settings import GatewaySettings
from relay_program.log import LogSettings
from tests.relay_gateway.browsers import SMALL_BUFFER, Http1, http1
from tests.relay_gateway.event_stream import Event
from tests.relay_gateway.models import Model

ASK = "/api/ai/stream?prompt=hi&session_id=s"
FOREVER = float("inf")
#: Seconds in which a program that ends "at once" has ended, on a machine that is busy.
AT_ONCE = 4.0
#: Seconds that hypercorn gives requests which are in progress when it is stopped.
GRACEFUL_TIMEOUT = 3.0
UNDER_HYPERCORN = ("--worker-class", "trio", "--bind", "127.0.0.1:0", "relay_gateway:app")
RUNNING = r"Running on (http://127\.0\.0\.1:\d+)"
ENDINGS = [(signal.SIGINT, 130), (signal.SIGTERM, 0)]
SIGNALS = pytest.mark.parametrize(
    ("number", "code"), ENDINGS, ids=[number.name for number, _ in ENDINGS]
)


class Running:
    """A program with what it has printed, standard error included."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.output = ""
        self._printed = trio.lowlevel.ParkingLot()
        self._closed = trio.Event()

    async def read(self) -> None:
        """Read what it prints, to the end."""
        assert self.process.stdout is not None
        async for data in self.process.stdout:
            self.output += data.decode()
            self._printed.unpark_all()
        self._closed.set()

    async def until(self, pattern: str) -> re.Match[str]:
        """Wait until it has printed something."""
        with trio.fail_after(20):
            return await self._until(pattern)

    async def _until(self, pattern: str) -> re.Match[str]:
        while (match := re.search(pattern, self.output)) is None:
            await self._printed.park()
        return match

    async def end(self, number: signal.Signals, seconds: float = AT_ONCE) -> int:
        """Send a signal, and give the exit code; it has to end in time."""
        self.process.send_signal(number)
        with trio.fail_after(seconds):
            code = await self.process.wait()
            await self._closed.wait()
        return code


@asynccontextmanager
async def running(*command: str, **environment: str) -> AsyncGenerator[Running]:
    """Run `python -m` of a command; what does not end by itself is killed."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
        start_new_session=True,
    )
    assert process.stdout is not None
    program = Running(process)
    async with process.stdout, trio.open_nursery() as nursery:
        nursery.start_soon(program.read)
        try:
            yield program
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                with trio.CancelScope(shield=True):  # it cannot refuse
                    await process.wait()


@asynccontextmanager
async def model_on_tcp(model: Model) -> AsyncGenerator[str]:
    """Serve a model, and give its address."""
    async with trio.open_nursery() as nursery:
        addresses = await nursery.start(partial(Server([model]).serve, "127.0.0.1", 0))
        with trio.fail_after(30):  # noqa: ASYNC100 - for what the test awaits
            yield f"127.0.0.1:{addresses[0][1]}"
        nursery.cancel_scope.cancel()


async def open_streams(browsers: list[Http1], model: Model) -> None:
    """Ask from all browsers, and wait until the model is busy with each."""
    for browser in browsers:
        await browser.send(ASK)
    await model.until(lambda: len(model.requests) == len(browsers))


# -- ending ---------------------------------------------------------------------------------------


@pytest.mark.trio
@SIGNALS
async def test_gateway_ends_at_once_with_its_streams(number: signal.Signals, code: int) -> None:
    model = Model(["x", FOREVER])
    async with (
        model_on_tcp(model) as target,
        running("relay_gateway", "--port=0", f"--model-target={target}") as program,
    ):
        origin = (await program.until(RUNNING))[1]
        async with http1(origin) as one, http1(origin) as other:
            await open_streams([one, other], model)
            assert await program.end(number) == code
            await model.until(lambda: len(model.ended) == 2)
        assert program.output.count("cause='shutdown'") == 2
        assert "Traceback" not in program.output


@pytest.mark.trio
@SIGNALS
async def test_gateway_that_is_idle_ends_at_once(number: signal.Signals, code: int) -> None:
    async with running("relay_gateway", "--port=0") as program:
        await program.until(RUNNING)
        assert await program.end(number) == code
        assert "Traceback" not in program.output


@pytest.mark.trio
async def test_gateway_ends_at_once_with_a_browser_that_reads_nothing() -> None:
    model = Model(["x" * 1024] * 100_000)
    async with (
        model_on_tcp(model) as target,
        running("relay_gateway", "--port=0", f"--model-target={target}") as program,
    ):
        origin = (await program.until(RUNNING))[1]
        async with http1(origin, buffer_size=SMALL_BUFFER) as browser:
            await browser.send(ASK)
            await model.until_stalled(0.5)
            assert await program.end(signal.SIGTERM) == 0
            await model.until(lambda: len(model.ended) == 1)
        assert "Traceback" not in program.output


@pytest.mark.trio
@SIGNALS
async def test_demo_ends_at_once_with_its_streams(number: signal.Signals, code: int) -> None:
    async with running("relay_gateway.demo", "--port=0", "--demo-delay=0.01") as program:
        origin = (await program.until(RUNNING))[1]
        async with http1(origin) as browser:
            await browser.send(f"/api/ai/stream?prompt={'+'.join(['word'] * 1000)}")
            await browser.headers()
            assert await browser.event() == Event("Streaming ")
            assert await program.end(number) == code
        assert "Traceback" not in program.output
        assert len(re.findall(r"request ended.*cause='shutdown'", program.output)) >= 1


@pytest.mark.trio
@SIGNALS
async def test_hypercorn_ends_with_its_streams_in_its_time(
    number: signal.Signals, code: int
) -> None:
    """It lets requests go on for a while, and then cancels them."""
    del code
    model = Model(["x", FOREVER])
    async with (
        model_on_tcp(model) as target,
        running("hypercorn", *UNDER_HYPERCORN, RELAY_MODEL_TARGET=target) as program,
    ):
        origin = (await program.until(RUNNING))[1]
        async with http1(origin) as browser:
            await open_streams([browser], model)
            await program.end(number, GRACEFUL_TIMEOUT + AT_ONCE)
            await model.until(lambda: len(model.ended) == 1)
        assert program.output.count("cause='shutdown'") == 1
        assert "Traceback" not in program.output


@pytest.mark.trio
async def test_nothing_is_left_of_a_browser_that_left_behind_a_pipelined_request() -> None:
    """Its reader is parked there by hypercorn; were it to stay, it would hold up the shutdown."""
    model = Model([FOREVER])
    environment = {"RELAY_HEARTBEAT_SECONDS": "0.1"}
    async with model_on_tcp(model) as target:
        environment["RELAY_MODEL_TARGET"] = target
        async with running("hypercorn", *UNDER_HYPERCORN, **environment) as program:
            origin = (await program.until(RUNNING))[1]
            async with http1(origin) as browser:
                await open_streams([browser], model)
                await browser.stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n")
            await program.until("cause='client_disconnect'")
            await program.end(signal.SIGTERM, GRACEFUL_TIMEOUT - 0.5)


# -- starting -------------------------------------------------------------------------------------


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m` of a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", *command],
        check=False,
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, **environment},
        timeout=30,
    )


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize(
    ("module", "name"), [("relay_gateway", "relay-gateway"), ("relay_gateway.demo", "relay-demo")]
)
def test_port_in_use_is_one_line(module: str, name: str, taken_port: int) -> None:
    result = run(module, f"--port={taken_port}")
    last = result.stderr.splitlines()[-1]
    reason = "address already in use"
    assert last == f"{name}: error: cannot listen on 127.0.0.1:{taken_port}: {reason}"
    assert (result.returncode, result.stdout) == (1, "")
    assert "Traceback" not in result.stderr


def test_address_of_another_machine_is_one_line() -> None:
    result = run("relay_gateway", "--host=192.0.2.1", "--port=0")
    assert result.returncode == 1
    assert result.stderr == (
        "relay-gateway: error: cannot listen on 192.0.2.1:0: cannot assign requested address\n"
    )


@pytest.mark.parametrize(
    ("variable", "value", "flag"),
    [
        ("RELAY_PORT", "http", "--port"),
        ("RELAY_PORT", "65536", "--port"),
        ("RELAY_MODEL_TARGET", "localhost", "--model-target"),
        ("RELAY_HEARTBEAT_SECONDS", "0", "--heartbeat-seconds"),
        ("RELAY_DEADLINE_SECONDS", "inf", "--deadline-seconds"),
        ("RELAY_CHANNEL_SIZE", "0", "--channel-size"),
    ],
)
def test_wrong_variable_is_one_line(variable: str, value: str, flag: str) -> None:
    result = run("relay_gateway", **{variable: value})
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"relay-gateway: error: {flag} ({variable}): ")
    assert line.endswith(f", not {value!r}")


def test_wrong_flag_is_said() -> None:
    result = run("relay_gateway", "--port=http")
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("relay-gateway: error: --port (RELAY_PORT): ")


def test_wrong_variable_under_hypercorn_is_said_without_a_traceback() -> None:
    """The exit code is hypercorn's, which takes no notice of its worker's."""
    result = run("hypercorn", *UNDER_HYPERCORN, RELAY_PORT="http")
    assert "relay-gateway: error: --port (RELAY_PORT): " in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("module", ["relay_gateway", "relay_gateway.demo"])
def test_help_names_a_variable_for_each_flag(module: str) -> None:
    result = run(module, "--help")
    assert (result.returncode, result.stderr) == (0, "")
    flags = set(re.findall(r"^  (--[a-z-]+)", result.stdout, re.MULTILINE))
    variables = re.findall(r"\[env: +([A-Z_]+)\]", result.stdout.replace("\n", ""))
    assert len(variables) == len(flags)
    assert len(flags) >= 5


@pytest.mark.parametrize("name", sorted(set(GatewaySettings.model_fields)))
def test_variable_sets_what_its_flag_sets(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"host": "::1", "model_target": "[::1]:1", "log_format": "json", "log_level": "error"}
    value = values.get(name, "7")
    default = getattr(GatewaySettings(), name)
    monkeypatch.setenv(f"RELAY_{name.upper()}", value)
    assert str(getattr(GatewaySettings(), name)).removesuffix(".0") == value != default
    assert issubclass(GatewaySettings, LogSettings)
