"""`relay-gateway --workers`: one service of several processes."""

import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest
import trio
from structlog.testing import capture_logs

from relay_common.errors import EXIT_FAILURE, StartupError
from relay_gateway.settings import GatewaySettings
from relay_gateway.workers.process import Patience
from relay_gateway.workers.supervisor import supervise
from tests.gateway.test_programs import (
    ASK,
    AT_ONCE,
    FOREVER,
    SIGNALS,
    TELLS,
    Running,
    gateway,
    model_on_tcp,
    open_streams,
    read_metrics,
)
from tests.gateway.test_stop_of_programs import visiting
from tests.support.browsers import Http1, ask, http1
from tests.support.event_stream import DONE, Event
from tests.support.models import Model

pytestmark = [
    pytest.mark.trio,
    pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc"),
]

COMMAND = ("relay_gateway", "--port=0", "--workers=2")
#: Seconds in which a worker that has ended is replaced, on a busy machine.
REPLACED = 20.0


def children(process: int) -> list[int]:
    """Find the children of all threads of a process."""
    texts = [each.read_text() for each in Path(f"/proc/{process}/task").glob("*/children")]
    return sorted(int(number) for text in texts for number in text.split())


def is_running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state.split()[0] != "Z"


async def until(condition: Any, seconds: float = REPLACED) -> None:
    """Wait until something holds that no event tells: about other processes."""
    with trio.fail_after(seconds):  # noqa: ASYNC912 - it may be so already
        while not condition():  # noqa: ASYNC110 - see above
            await trio.sleep(0.02)


@asynccontextmanager
async def two_workers(
    model: Model, **environment: str
) -> AsyncGenerator[tuple[Running, str, list[int]]]:
    """Run a gateway of two workers that serve; gives its origin and their processes."""
    async with gateway(COMMAND, model, **environment) as (program, origin):
        await program.until(r"(?s)Running on.*Running on")
        yield program, origin, children(program.process.pid)


@asynccontextmanager
async def stream_of_each(
    model: Model, origin: str, workers: list[int]
) -> AsyncGenerator[dict[int, Http1]]:
    """Open streams until each worker has one; gives a browser of each worker."""
    async with trio.open_nursery() as nursery:
        browsers: dict[int, Http1] = {}
        opened = 0
        async with _Connections(origin) as connections:
            while browsers.keys() != set(workers):
                browser = await connections.open()
                await browser.send(ASK)
                await browser.headers()
                opened += 1
                await model.until(partial(_has_requests, model, opened))
                owner = _owner(browser, workers)
                browsers.setdefault(owner, browser)
                assert opened < 200, "one worker takes all connections"
            yield browsers
        nursery.cancel_scope.cancel()


async def each_has_begun(browsers: dict[int, Http1]) -> None:
    """Read the first token of each answer: a stop may come before it."""
    for browser in browsers.values():
        assert await browser.event() == Event("x")


def _has_requests(model: Model, count: int) -> bool:
    return len(model.requests) == count


class _Connections:
    def __init__(self, origin: str) -> None:
        self._port = int(origin.rpartition(":")[2])
        self._streams: list[trio.SocketStream] = []

    async def __aenter__(self) -> Self:
        await trio.lowlevel.checkpoint()
        return self

    async def open(self) -> Http1:
        stream = await trio.open_tcp_stream("127.0.0.1", self._port)
        self._streams.append(stream)
        return Http1(stream)

    async def __aexit__(self, *_: object) -> None:
        for stream in self._streams:
            await trio.aclose_forcefully(stream)


def _owner(browser: Http1, workers: list[int]) -> int:
    """Find the worker that has accepted a connection, by the inode of its socket."""
    port = browser.stream.socket.getsockname()[1]
    table = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    (inode,) = [
        fields[9]
        for fields in map(str.split, table)
        if int(fields[2].rpartition(":")[2], 16) == port and fields[3] == "01"
    ]
    (owner,) = [worker for worker in workers if f"socket:[{inode}]" in _descriptors(worker)]
    return owner


def _descriptors(process: int) -> Iterator[str]:
    for each in Path(f"/proc/{process}/fd").iterdir():
        try:
            yield str(each.readlink())
        except FileNotFoundError:
            continue


# -- metrics ---------------------------------------------------------------------------------------


async def test_metrics_are_one_truth_at_every_scrape() -> None:
    async with two_workers(Model(["x"])) as (_, origin, _workers):
        for count in (10, 20):
            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(ask, origin, ASK)
            for _ in range(6):
                metrics = await read_metrics(origin)
                assert metrics['relay_requests_total{cause="done"}'] == count
                assert metrics["relay_tokens_total"] == count
                assert metrics["relay_request_duration_seconds_count"] == count
                assert metrics["relay_workers"] == 2


async def test_gauges_are_those_of_all_workers() -> None:
    model = Model([FOREVER])
    async with two_workers(model) as (_, origin, workers), stream_of_each(model, origin, workers):
        opened = len(model.requests)
        for _ in range(6):
            metrics = await read_metrics(origin)
            assert metrics["relay_requests_in_progress"] == opened
            assert metrics["relay_model_calls"] == opened
            assert metrics["relay_connections"] == opened + 1


# -- a worker that ends ----------------------------------------------------------------------------


async def test_killed_worker_is_replaced_and_the_service_goes_on() -> None:
    """The other's streams go on, its counts stay, and every new connection is answered."""
    go_on = trio.Event()
    model = Model(["x", go_on, "y"])
    async with two_workers(model) as (program, origin, workers):
        async with stream_of_each(model, origin, workers) as browsers:
            before = await read_metrics(origin)
            victim, other = workers
            os.kill(victim, signal.SIGKILL)
            visits = 0
            while len(children(program.process.pid)) < 2 or visits < 20:
                async with http1(origin) as browser:
                    assert (await browser.get("/healthz")).status_code == 200
                visits += 1
            go_on.set()
            assert await browsers[other].events() == [Event("x"), Event("y"), DONE]
        await program.until(r"(?s)(Running on.*){3}")
        replaced = children(program.process.pid)
        assert len(replaced) == 2
        assert other in replaced
        metrics = await read_metrics(origin)
        assert metrics["relay_workers_ended_total"] == 1
        assert metrics["relay_tokens_total"] >= before["relay_tokens_total"]
        assert f"a worker has ended' exit_code=-{signal.SIGKILL}" in program.output.replace(
            "worker=1 ", ""
        ).replace("worker=2 ", "")
        assert await program.end(signal.SIGTERM) == 0


async def test_connections_in_the_backlog_outlive_a_worker() -> None:
    """They belong to the socket that all share."""
    async with two_workers(Model(["x"])) as (program, origin, workers):
        async with visiting(origin, 20) as visitors:
            for worker in workers:
                os.kill(worker, signal.SIGSTOP)  # neither accepts
            await trio.sleep(0.2)
            waiting = sum(visitors.outcomes.values())
            os.kill(workers[0], signal.SIGKILL)
            os.kill(workers[1], signal.SIGCONT)
            await until(lambda: sum(visitors.outcomes.values()) > waiting + 100)
        # Those that the killed one had accepted are lost with it, and no other.
        assert visitors.outcomes["refused"] == 0
        assert visitors.outcomes["nothing"] <= 20
        assert await program.end(signal.SIGTERM) == 0


async def test_signals_to_a_worker_are_the_supervisors_to_act_on() -> None:
    async with two_workers(Model(["x"])) as (program, origin, workers):
        for worker in workers:
            os.kill(worker, signal.SIGTERM)
            os.kill(worker, signal.SIGINT)
        assert await ask(origin, ASK) == [Event("x"), DONE]
        assert children(program.process.pid) == workers


# -- the end ---------------------------------------------------------------------------------------


@SIGNALS
async def test_all_workers_drain_and_end(number: signal.Signals, code: int) -> None:
    model = Model(["x", FOREVER])
    async with two_workers(model) as (program, origin, workers):
        async with stream_of_each(model, origin, workers) as browsers:
            await each_has_begun(browsers)
            assert await program.end(number) == code
            for browser in browsers.values():
                assert await browser.events() == [TELLS]
        assert not any(map(is_running, workers))
        assert program.output.count("cause='shutdown'") == len(model.requests)


async def test_a_service_managers_signal_to_all_processes_drains_them() -> None:
    model = Model(["x", 1.0, "y"])
    async with (
        two_workers(model, RELAY_SHUTDOWN_GRACE_SECONDS="60") as (program, origin, workers),
        stream_of_each(model, origin, workers) as browsers,
    ):
        for process in (*workers, program.process.pid):
            os.kill(process, signal.SIGTERM)
        for browser in browsers.values():
            assert await browser.events() == [Event("x"), Event("y"), DONE]
        with trio.fail_after(AT_ONCE):
            assert await program.process.wait() == 0


async def test_requests_are_refused_until_the_last_worker_has_drained() -> None:
    """By both workers: the one without an answer does not leave the other alone with them."""
    go_on = trio.Event()
    model = Model([go_on, "x"])
    async with (
        two_workers(model, RELAY_SHUTDOWN_GRACE_SECONDS="60") as (program, origin, workers),
        http1(origin) as browser,
    ):
        await open_streams([browser], model)
        await browser.headers()
        program.process.send_signal(signal.SIGTERM)
        await program.until(r"(?s)(stopping.*){3}")
        for _ in range(20):
            async with http1(origin) as other:
                await other.send("/readyz")
                assert (await other.headers()).status_code == 503
        assert all(map(is_running, workers))
        go_on.set()
        assert await browser.events() == [Event("x"), DONE]
        with trio.fail_after(AT_ONCE):
            assert await program.process.wait() == 0


async def test_every_connection_is_answered_at_a_stop() -> None:
    async with (
        two_workers(Model(["x"])) as (program, origin, _),
        visiting(origin, 40) as visitors,
    ):
        assert await program.end(signal.SIGTERM) == 0
    assert visitors.outcomes["nothing"] == 0


async def test_second_signal_tells_the_answers_and_ends_all() -> None:
    model = Model(["x", FOREVER])
    async with two_workers(model, RELAY_SHUTDOWN_GRACE_SECONDS="600") as (
        program,
        origin,
        workers,
    ):
        async with stream_of_each(model, origin, workers) as browsers:
            await each_has_begun(browsers)
            program.process.send_signal(signal.SIGINT)
            await program.until(r"(?s)(stopping.*){3}")
            assert await program.end(signal.SIGINT) == 130
            for browser in browsers.values():
                assert await browser.events() == [TELLS]
        assert not any(map(is_running, workers))


async def test_workers_end_with_a_supervisor_that_is_killed() -> None:
    """They tell their answers first."""
    model = Model(["x", FOREVER])
    async with two_workers(model, RELAY_SHUTDOWN_GRACE_SECONDS="600") as (
        program,
        origin,
        workers,
    ):
        async with stream_of_each(model, origin, workers) as browsers:
            await each_has_begun(browsers)
            program.process.kill()
            for browser in browsers.values():
                with trio.fail_after(AT_ONCE):
                    assert await browser.events() == [TELLS]
        await until(lambda: not any(map(is_running, workers)), AT_ONCE)


# -- workers that do not do as they should ---------------------------------------------------------

IMPATIENT = Patience(
    start=20.0, interval=0.1, hung=0.5, last_chance=0.1, first_pause=0.01, longest_pause=0.05
)


async def until_both_serve(origin: str) -> None:
    with trio.fail_after(REPLACED):
        while (await read_metrics(origin))["relay_workers"] < 2:
            pass


@asynccontextmanager
async def supervised(patience: Patience, **settings: Any) -> AsyncGenerator[tuple[str, trio.Event]]:
    """Supervise two workers from this process."""
    stop = trio.Event()
    async with model_on_tcp(Model(["x"])) as target, trio.open_nursery() as nursery:
        chosen = GatewaySettings(port=0, workers=2, model_target=target, **settings)
        urls = await nursery.start(partial(supervise, chosen, stop=stop, patience=patience))
        yield urls[0], stop
        stop.set()


async def test_worker_that_hangs_is_killed_and_replaced() -> None:
    with capture_logs() as logs:
        async with supervised(IMPATIENT) as (origin, _):
            await until_both_serve(origin)
            victim = children(os.getpid())[0]
            os.kill(victim, signal.SIGSTOP)
            await until(lambda: victim not in children(os.getpid()))
            assert await ask(origin, ASK) == [Event("x"), DONE]
            await until(lambda: len(children(os.getpid())) == 2)
    assert "a worker hangs and is killed" in [entry["event"] for entry in logs]


async def test_metrics_do_not_wait_for_a_worker_that_hangs() -> None:
    """Its last ones are used, for a second at most."""
    async with supervised(Patience(interval=0.1)) as (origin, _):
        await until_both_serve(origin)
        victim = children(os.getpid())[0]
        os.kill(victim, signal.SIGSTOP)
        try:
            with trio.fail_after(AT_ONCE):
                assert (await read_metrics(origin))["relay_workers"] == 2
        finally:
            os.kill(victim, signal.SIGCONT)


async def test_worker_that_hangs_holds_up_no_stop() -> None:
    patience = Patience(end=0.5)
    async with supervised(patience, drain_seconds=0.5) as (_, stop):
        await until(lambda: len(children(os.getpid())) == 2)
        workers = children(os.getpid())
        os.kill(workers[0], signal.SIGSTOP)
        start = trio.current_time()
        stop.set()
        await until(lambda: not any(map(is_running, workers)), AT_ONCE)
        assert trio.current_time() - start >= 0.5


@pytest.mark.parametrize(
    ("code", "said"),
    [("raise SystemExit(3)", "exit code 3"), ("import os; os.abort()", "exit code -6")],
)
async def test_supervisor_gives_up_when_no_worker_starts(code: str, said: str) -> None:
    program = (sys.executable, "-c", code)
    settings = GatewaySettings(port=0, workers=2)
    with capture_logs() as logs, pytest.raises(StartupError, match=said) as raised:
        await supervise(settings, stop=trio.Event(), patience=IMPATIENT, program=program)
    assert raised.value.exit_code == EXIT_FAILURE
    ends = [entry["worker"] for entry in logs if entry["event"] == "a worker has ended"]
    assert max(ends.count(1), ends.count(2)) == IMPATIENT.starts
    assert children(os.getpid()) == []


async def test_worker_that_does_not_start_in_time_is_killed() -> None:
    program = (sys.executable, "-c", "import time; time.sleep(600)")
    patience = Patience(start=0.2, first_pause=0.01, longest_pause=0.01, starts=2)
    settings = GatewaySettings(port=0, workers=2)
    with capture_logs() as logs, pytest.raises(StartupError, match="exit code -9"):
        await supervise(settings, stop=trio.Event(), patience=patience, program=program)
    assert [entry["event"] for entry in logs].count("a worker does not start and is killed") >= 2
    assert children(os.getpid()) == []


async def test_stop_while_workers_start() -> None:
    """It does not wait for one that will never serve."""
    program = (sys.executable, "-c", "import time; time.sleep(600)")
    settings, stop = GatewaySettings(port=0, workers=2, drain_seconds=0), trio.Event()
    run = partial(supervise, stop=stop, patience=Patience(end=0.5), program=program)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, settings)
        await until(lambda: len(children(os.getpid())) == 2)
        stop.set()
    assert children(os.getpid()) == []


async def test_cancelled_supervisor_leaves_no_worker() -> None:
    workers = list[int]()
    with trio.CancelScope() as scope:
        async with supervised(IMPATIENT) as (origin, _):
            await until_both_serve(origin)
            workers += children(os.getpid())
            scope.cancel()
            await trio.sleep_forever()
    assert len(workers) == 2
    assert not any(map(is_running, workers))


async def test_worker_whose_loop_is_blocked_ends_with_its_supervisor() -> None:
    """A thread of it sees that, some seconds later."""
    ours, theirs = socket.socketpair()
    code = (
        "import sys, time, trio\n"
        "from relay_gateway.workers import worker\n"
        "async def block(*_): time.sleep(600)\n"
        "worker._run, worker._ORPHAN_SECONDS = block, 0.1\n"
        "worker.main()\n"
    )
    with ours:
        with theirs:
            process = await trio.lowlevel.open_process(
                [sys.executable, "-c", code, str(theirs.fileno())], pass_fds=[theirs.fileno()]
            )
        with trio.move_on_after(1.0):
            await process.wait()
        assert process.returncode is None
    with trio.fail_after(REPLACED):
        assert await process.wait() == EXIT_FAILURE
