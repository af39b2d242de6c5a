"""A gateway under plain hypercorn, a model service that is killed now and then, and rude clients.

What the gateway holds once they are gone is what it held before they came: memory, descriptors,
tasks, connections, calls. It is asked for its metrics, as an operator would.
"""

import random
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, fields

import trio

from harness.programs import Program, run_module
from tests.soak.rude import POLITE, REBUFFED, RUDE, Way
from tests.support.browsers import http1
from tests.support.gateway_program import run_gateway

__all__ = ["Footprint", "Report", "read_metrics", "samples_of", "soak"]

#: Clients at a time, and those that come before anything is measured.
_CLIENTS, _WARM_UP = 16, 200
#: Seconds: bounds of the gateway that clients run into, and for a client to be done in any case.
_ENVIRONMENT = {
    "RELAY_WRITE_TIMEOUT_SECONDS": "1",
    "RELAY_DEADLINE_SECONDS": "5",
    "RELAY_HEARTBEAT_SECONDS": "1",
    "RELAY_LOG_LEVEL": "warning",
}
_CLIENT_TIMEOUT = 30.0
#: Seconds until a gateway that has been left alone holds nothing of those who left, for how long
#: that has to stand still, and between two looks at it.
_SETTLES_IN, _STANDS_STILL, _LOOK = 20.0, 1.5, 0.2
#: Seconds between two deaths of the model.
_MODEL_LIVES = 5.0
#: Bytes by which a process may grow that holds nothing new: caches, and holes in its heap.
_NOISE = 4 * 2**20


@dataclass(frozen=True)
class Footprint:
    """What the gateway holds."""

    #: Bytes.
    memory: int
    descriptors: int
    tasks: int
    connections: int
    #: To the model.
    calls: int
    #: Streams.
    requests: int

    @classmethod
    async def of(cls, origin: str) -> "Footprint":
        """Ask the gateway, on a connection that counts as well."""
        metrics = await read_metrics(origin)
        names = (
            "process_resident_memory_bytes",
            "process_open_fds",
            "relay_tasks",
            "relay_connections",
            "relay_model_calls",
            "relay_requests_in_progress",
        )
        return cls(*(int(metrics[name]) for name in names))

    @property
    def is_at_rest(self) -> bool:
        """Whether nobody is there but who asks."""
        return (self.connections, self.calls, self.requests) == (1, 0, 0)


async def read_metrics(origin: str) -> dict[str, float]:
    """Read the samples of a gateway's metrics by name and labels."""
    async with http1(origin) as browser:
        return samples_of((await browser.read("/metrics")).decode())


def samples_of(text: str) -> dict[str, float]:
    """Parse metrics that Prometheus reads, by name and labels."""
    samples = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in samples}


class Model:
    """A model service that can be killed."""

    def __init__(self) -> None:
        """Choose a port, for this one and those that follow."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._port = listener.getsockname()[1]
        self.target = f"127.0.0.1:{self._port}"
        self.deaths = 0
        self._stack = ExitStack()
        self._program: Program

    def start(self) -> None:
        """Run it until it serves."""
        arguments = (
            f"--port={self._port}",
            "--backend=demo",
            "--demo-delay=0.005",
            "--max-concurrent=64",
        )
        self._program = self._stack.enter_context(run_module("relay_model", *arguments))
        self._program.wait_for("serving")

    def kill(self) -> None:
        """End it as a crash would."""
        self._program.kill()
        self._stack.close()

    def replace(self) -> None:
        """Kill it, and start the next one."""
        self.kill()
        self.deaths += 1
        self.start()


class Soak:
    """The clients, and what they met."""

    def __init__(self, origin: str, model: Model, seed: int) -> None:
        """Take the programs that are running; see :func:`soak`."""
        #: What clients did, and how the answers ended that they read whole.
        self.ways: Counter[str] = Counter()
        self.endings: Counter[str] = Counter()
        self._origin = origin
        self._model = model
        self._random = random.Random(seed)  # noqa: S311 - not a secret

    async def measure(self, requests: int, advance: Callable[[], None]) -> "Report":
        """See what the gateway holds before and after so many requests."""
        await self._run(min(_WARM_UP, requests), lambda: None)
        before = await self._at_rest()
        self.ways.clear()
        self.endings.clear()
        started = trio.current_time()
        await self._run(requests, advance)
        seconds = trio.current_time() - started
        after = await self._at_rest()
        return Report(before, after, self.ways, self.endings, self._model.deaths, seconds)

    async def _at_rest(self) -> Footprint:
        """Wait until the gateway is alone with the model, and see what it holds.

        It holds more for a moment, such as a connection to a dead model that is being closed: what
        it holds has to stand still.
        """
        await next(iter(POLITE))(self._origin)  # it connects to a model that has been replaced
        deadline = trio.current_time() + _SETTLES_IN
        before, since = None, trio.current_time()
        while True:
            footprint = await Footprint.of(self._origin)
            held = (footprint.tasks, footprint.descriptors)
            if held != before or not footprint.is_at_rest:
                before, since = held, trio.current_time()
            if trio.current_time() >= since + _STANDS_STILL:
                return footprint
            assert trio.current_time() < deadline, f"left after {_SETTLES_IN} s: {footprint}"
            await trio.sleep(_LOOK)

    async def _run(self, requests: int, advance: Callable[[], None]) -> None:
        """Have so many clients come, some at a time, while the model dies and comes back."""
        left = iter(range(requests))
        async with trio.open_nursery() as killing:
            killing.start_soon(self._replace_the_model)
            async with trio.open_nursery() as nursery:
                for _ in range(_CLIENTS):
                    nursery.start_soon(self._come, left, advance)
            killing.cancel_scope.cancel()

    async def _come(self, left: Iterator[int], advance: Callable[[], None]) -> None:
        for _ in left:
            ways = POLITE | RUDE
            (way,) = self._random.choices(list(ways), list(ways.values()))
            with trio.fail_after(_CLIENT_TIMEOUT):
                await self._do(way)
            advance()

    async def _do(self, way: Way) -> None:
        self.ways[way.__name__.strip("_").replace("_", " ")] += 1
        try:
            ending = await way(self._origin)
        except REBUFFED:
            if way in POLITE:
                raise
        else:
            self.endings.update([ending] if ending else [])

    async def _replace_the_model(self) -> None:
        while True:
            await trio.sleep(_MODEL_LIVES)
            await trio.to_thread.run_sync(self._model.replace)


@dataclass(frozen=True)
class Report:
    """What came out."""

    before: Footprint
    after: Footprint
    ways: Counter[str]
    endings: Counter[str]
    #: Of the model.
    deaths: int
    seconds: float

    @property
    def leaks(self) -> list[str]:
        """Name what the gateway holds that it did not hold before."""
        leaks = [
            f"{name}: {after} after, {before} before"
            for name, before, after in self.compared()
            if name != "memory" and after > before
        ]
        growth = self.after.memory - self.before.memory
        return leaks + ([f"memory: {growth} bytes more"] if growth > _NOISE else [])

    def compared(self) -> Iterator[tuple[str, int, int]]:
        """Give each part of the footprint, before and after."""
        for field in fields(Footprint):
            yield field.name, getattr(self.before, field.name), getattr(self.after, field.name)


def soak(requests: int, seed: int, advance: Callable[[], None] = lambda: None) -> Report:
    """Run the programs and the clients, and see that the gateway was never surprised.

    Args:
        requests: how many clients come, after those that warm the gateway up.
        seed: decides what they do, though not when: the processes are real.
        advance: is called when one has left.

    Raises:
        ExceptionGroup: a client that was entitled to an answer did not get one.
        AssertionError: the gateway wrote a traceback, or does not hold still.

    """
    model = Model()
    model.start()
    try:
        with run_gateway(model.target, **_ENVIRONMENT) as (program, origin):
            report = trio.run(Soak(origin, model, seed).measure, requests, advance)
        output = program.output()
        assert "Traceback" not in output, output
    finally:
        model.kill()
    return report
