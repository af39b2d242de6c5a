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
from importlib.metadata import version
from itertools import repeat

import pytest
import trio

from grpclib_anyio.server import Server
from relay_common.log import LogSettings
from relay_gateway.settings import GatewaySettings
from tests.support.browsers import SMALL_BUFFER, Http1, http1, http2
from tests.support.event_stream import Event
from tests.support.models import Model

ASK = "/api/ai/stream?prompt=hi&session_id=s"
FOREVER = float("inf")
#: Seconds in which a program that ends "at once" has ended, on a machine that is busy.
AT_ONCE = 4.0
#: Seconds that a machine which is busy may add.
BUSY = 2.0
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

    async def until_printed(self) -> None:
        """Wait until it prints something."""
        await self._printed.park()

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

TELLS = Event(
    "The service is restarting and stopped the answer. Please try again in a moment.", "error"
)
#: The two ways to run the gateway; the first has the exit codes of our own programs.
WAYS = {
    "relay-gateway": ("relay_gateway", "--port=0"),
    "hypercorn": ("hypercorn", *UNDER_HYPERCORN),
}
EACH_WAY = pytest.mark.parametrize("command", WAYS.values(), ids=WAYS)
#: Seconds that the last chance of a write, and leaving the interpreter, may take.
A_SECOND = 1.0


@asynccontextmanager
async def gateway(
    command: tuple[str, ...], model: Model, **environment: str
) -> AsyncGenerator[tuple[Running, str]]:
    """Run the gateway in front of a model; gives its origin as well."""
    async with (
        model_on_tcp(model) as target,
        running(*command, RELAY_MODEL_TARGET=target, **environment) as program,
    ):
        yield program, (await program.until(RUNNING))[1]
        assert "Traceback" not in program.output


@pytest.mark.trio
@EACH_WAY
@SIGNALS
async def test_gateway_tells_its_streams_and_ends_at_once(
    command: tuple[str, ...], number: signal.Signals, code: int
) -> None:
    model = Model(["x", FOREVER])
    async with (
        gateway(command, model) as (program, origin),
        http1(origin) as one,
        http1(origin) as other,
    ):
        await open_streams([one, other], model)
        for browser in (one, other):
            await browser.headers()
            assert await browser.event() == Event("x")
        exit_code = await program.end(number)
        assert exit_code == (code if command[0] == "relay_gateway" else 0)
        for browser in (one, other):
            assert await browser.events() == [TELLS]
            await browser.until_closed()
        await model.until(lambda: len(model.ended) == 2)
        assert program.output.count("cause='shutdown'") == 2


@pytest.mark.trio
@EACH_WAY
async def test_gateway_that_is_idle_ends_at_once(command: tuple[str, ...]) -> None:
    """With connections that are idle, or have begun a request and never finish it."""
    model = Model(["x"])
    async with (
        gateway(command, model) as (program, origin),
        http1(origin) as idle,
        http1(origin) as slow,
        http1(origin),
    ):
        await slow.stream.send_all(b"GET / HTTP/1.1\r\nHost:")
        await idle.ask(ASK)
        assert await program.end(signal.SIGTERM) == 0


@asynccontextmanager
async def stalled_gateway(
    command: tuple[str, ...], drain: float
) -> AsyncGenerator[tuple[Running, str]]:
    """Run the gateway with browsers that read nothing."""
    model = Model(lambda: repeat("x" * 1024))
    async with (
        gateway(command, model, RELAY_DRAIN_SECONDS=str(drain)) as (program, origin),
        http1(origin, buffer_size=SMALL_BUFFER) as one,
        http2(origin, buffer_size=SMALL_BUFFER) as other,
    ):
        await one.send(ASK)
        await other.send(ASK)
        await model.until_stalled(0.5)
        yield program, origin
        await model.until(lambda: len(model.ended) == 2)
        assert program.output.count("cause='shutdown'") == 2


@pytest.mark.trio
@EACH_WAY
async def test_gateway_ends_in_time_with_a_browser_that_reads_nothing(
    command: tuple[str, ...],
) -> None:
    """Meanwhile it refuses requests, and says that it is not ready.

    In time is within the drain and a second. Of that second the server takes a quarter, to the
    moment: see test_stalled_browser.py. The rest is for leaving the interpreter (hypercorn has two,
    and looks ten times a second for whether to stop), which a busy machine draws out, so that what
    is asserted here is looser.
    """
    drain = 2.0
    async with stalled_gateway(command, drain) as (program, origin), http1(origin) as kept:
        await kept.get("/healthz")
        started = trio.current_time()
        program.process.send_signal(signal.SIGTERM)
        await program.until("stopping")
        for target, status in (("/readyz", 503), (ASK, 503), ("/", 503), ("/healthz", 200)):
            async with http1(origin) as new:
                await new.send(target)
                response = await new.headers()
                assert response.status_code == status
                assert (b"connection", b"close") in list(response.headers)
                if status == 503:
                    assert (b"retry-after", b"2") in list(response.headers)
        await kept.send("/readyz")
        assert (await kept.headers()).status_code == 503
        with trio.fail_after(drain + A_SECOND + AT_ONCE):
            await program.process.wait()
        seconds = trio.current_time() - started
    assert drain <= seconds <= drain + A_SECOND + BUSY


@pytest.mark.trio
@EACH_WAY
async def test_second_ctrl_c_ends_the_gateway_at_once(command: tuple[str, ...]) -> None:
    async with stalled_gateway(command, drain=60) as (program, _):
        group = program.process.pid  # a terminal sends it to all of them
        os.killpg(group, signal.SIGINT)
        await program.until("stopping")
        os.killpg(group, signal.SIGINT)
        with trio.fail_after(AT_ONCE):
            await program.process.wait()


@pytest.mark.trio
async def test_hypercorns_workers_are_all_drained() -> None:
    """A service manager's SIGTERM comes to all, and hypercorn ends the rest with the first."""
    command = ("hypercorn", "--workers", "2", *UNDER_HYPERCORN)
    async with stalled_gateway(command, drain=1) as (program, _):
        started = trio.current_time()
        os.killpg(program.process.pid, signal.SIGTERM)
        with trio.fail_after(1 + A_SECOND + AT_ONCE):
            await program.process.wait()
        assert trio.current_time() - started >= 1


@pytest.mark.trio
@SIGNALS
async def test_demo_tells_its_streams_and_ends_at_once(number: signal.Signals, code: int) -> None:
    async with running("relay_demo.__main__", "--port=0", "--demo-delay=0.01") as program:
        origin = (await program.until(RUNNING))[1]
        async with http1(origin) as browser:
            await browser.send(f"/api/ai/stream?prompt={'+'.join(['word'] * 1000)}")
            await browser.headers()
            assert await browser.event() == Event("Streaming ")
            assert await program.end(number) == code
            assert (await browser.events())[-1] == TELLS
        assert "Traceback" not in program.output
        assert len(re.findall(r"request ended.*cause='shutdown'", program.output)) >= 1


@pytest.mark.trio
async def test_nothing_is_left_of_a_browser_that_left_behind_a_pipelined_request() -> None:
    """Its reader is parked there by hypercorn; were it to stay, it would hold up the shutdown."""
    model = Model([FOREVER])
    command = WAYS["hypercorn"]
    async with gateway(command, model, RELAY_HEARTBEAT_SECONDS="0.1") as (program, origin):
        async with http1(origin) as browser:
            await open_streams([browser], model)
            await browser.stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n")
        await program.until("cause='client_disconnect'")
        await program.end(signal.SIGTERM)


# -- browsers that never read ---------------------------------------------------------------------


@pytest.mark.trio
async def test_model_is_stopped_and_browsers_given_up_in_time() -> None:
    """To the moment, and for the ways in which HTTP/2 stalls: see test_stalled_browser.py."""
    deadline, write_timeout = 2.0, 3.0
    limits = {
        "RELAY_DEADLINE_SECONDS": str(deadline),
        "RELAY_WRITE_TIMEOUT_SECONDS": str(write_timeout),
    }
    model = Model(lambda: repeat("x" * 1024))
    async with (
        gateway(WAYS["hypercorn"], model, **limits) as (program, origin),
        http1(origin, buffer_size=SMALL_BUFFER) as one,
        http2(origin, buffer_size=SMALL_BUFFER) as other,
    ):
        started = trio.current_time()
        await one.send(ASK)
        await other.send(ASK)
        await model.until(lambda: len(model.ended) == 2)
        assert deadline <= model.ended[0] - started <= model.ended[1] - started <= deadline + BUSY
        with trio.fail_after(write_timeout + BUSY):
            while program.output.count("cause='deadline'") < 2:
                await program.until_printed()
            # If it was HTTP/2's window that was full, its connection is idle now, for a while.
            assert (await read_metrics(origin))["relay_connections"] <= 2
        assert write_timeout <= trio.current_time() - started


async def read_metrics(origin: str) -> dict[str, float]:
    async with http1(origin) as browser:
        text = (await browser.read("/metrics")).decode()
    samples = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in samples}


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
    ("command", "name"),
    [
        (("relay_gateway",), "relay-gateway"),
        (("relay_gateway", "--workers=2"), "relay-gateway"),
        (("relay_demo.__main__",), "relay-demo"),
    ],
)
def test_port_in_use_is_one_line(command: tuple[str, ...], name: str, taken_port: int) -> None:
    result = run(*command, f"--port={taken_port}")
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


@pytest.mark.parametrize(
    "target", ["http://localhost:1", "::1:50051", "localhost:0", "localhost:70000", "a b:1", ""]
)
def test_malformed_target_is_one_line(target: str) -> None:
    result = run("relay_gateway", f"--model-target={target}")
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("relay-gateway: error: --model-target (RELAY_MODEL_TARGET): must ")


@pytest.mark.parametrize("host", [".x", "x" * 80, os.fsdecode(b"\xff"), "a..b"])
def test_host_that_cannot_be_is_one_line(host: str) -> None:
    result = run("relay_gateway", f"--host={host}", "--port=0")
    assert (result.returncode, result.stdout) == (1, "")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (("relay_gateway",), "relay-gateway"),
        (("relay_demo.__main__",), "relay-demo"),
        (("relay_model",), "relay-model"),
        (("relay_model", "ask"), "relay-model ask"),
        (("relay_model", "backends"), "relay-model backends"),
    ],
)
def test_every_program_has_a_version(command: tuple[str, ...], name: str) -> None:
    result = run(*command, "--version")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"{name} {version('token-relay')}\n"


def test_wrong_flag_is_said() -> None:
    result = run("relay_gateway", "--port=http")
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("relay-gateway: error: --port (RELAY_PORT): ")


def test_wrong_variable_under_hypercorn_is_said_without_a_traceback() -> None:
    """The exit code is hypercorn's, which takes no notice of its worker's."""
    result = run("hypercorn", *UNDER_HYPERCORN, RELAY_PORT="http")
    assert "hypercorn: error: --port (RELAY_PORT): " in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("more", [(), ("--worker-class", "asyncio"), ("--workers", "0")])
def test_wrong_worker_class_is_said_in_one_line(more: tuple[str, ...]) -> None:
    """At the start, and not as a 500 to every request."""
    result = run("hypercorn", *more, "--bind", "127.0.0.1:0", "relay_gateway:app")
    assert result.stderr.splitlines() == ["hypercorn: error: the gateway needs --worker-class trio"]


@pytest.mark.parametrize("module", ["relay_gateway", "relay_demo.__main__"])
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
