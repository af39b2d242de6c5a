"""What a flood does to a server and to its other clients.

For example, ten seconds of PING against the gateway::

    figures = trio.run(measure, SERVERS["relay-gateway"], FLOODS["PING"], 10.0)
    print(figures.gap, figures.check)
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf, isinf
from typing import Any

import trio

from bench.programs import cpu_seconds, memory_kib
from tests.soak.floods import Flood
from tests.soak.healthy import Healthy, watch
from tests.soak.servers import Running, Server
from tests.support.browsers import ask

__all__ = ["CHECK", "GAP", "Figures", "Memory", "measure"]

#: Answers before anything is measured, so that caches are full.
_WARM_UP = 50
#: Seconds before a flood, and for the work that it leaves behind, which still counts.
_AT_REST = 1.0
#: Seconds in which the memory has to be back, and between two looks at it.
_SETTLES_IN, _LOOK = 10.0, 0.2
_KIB = 1024

#: Seconds, and the part of the memory that was there before.
GAP, CHECK, GROWTH = 0.25, 0.1, 1.1


@dataclass(frozen=True)
class Memory:
    """Resident memory of a server's process, in MiB."""

    before: float
    most: float
    after: float
    #: After a second flood like the first; None if the first left nothing. Python's allocator keeps
    #: what it had for later, and a second flood finds it there. What is really held adds up.
    again: float | None = None

    @property
    def is_back(self) -> bool:
        """Whether nothing is held that was not held before."""
        if self.again is None:
            return self.after <= self.before * GROWTH
        return self.again <= self.after * GROWTH


@dataclass(frozen=True)
class Figures:
    """What came of one flood; times in seconds."""

    gap: float
    check: float
    #: CPU time of the server's process for each second of the flood.
    busy: float
    memory: Memory
    #: That the flood took.
    connections: int = 0
    #: GOAWAY's codes, counted.
    sent_away: Mapping[str, int] = field(default_factory=dict[str, int])
    #: Of those who did nothing wrong.
    failures: Sequence[str] = ()

    def best(self, other: "Figures") -> "Figures":
        """Return the later of two runs with the lower times of both.

        Other load of the machine only adds to them.
        """
        gap, check, busy = map(min, zip(self.times, other.times, strict=True))
        failures = (*self.failures, *other.failures)
        return replace(other, gap=gap, check=check, busy=busy, failures=failures)

    @property
    def has_ended(self) -> bool:
        """Whether the server has not survived it."""
        return isinf(self.gap)

    @property
    def times(self) -> tuple[float, float, float]:
        """What other load of the machine adds to."""
        return self.gap, self.check, self.busy

    def broken_limits(self) -> list[str]:
        """Say what a server of ours should not have done."""
        broken = [f"{len(self.failures)} times {self.failures[0]}"] if self.failures else []
        if self.gap > GAP:
            broken.append(f"a token came after {self.gap:.3f} s")
        if self.check > CHECK:
            broken.append(f"a health check took {self.check:.3f} s")
        if not self.memory.is_back:
            broken.append(f"memory grew: {self.memory}")
        return broken


async def measure(server: Server, flood: Flood | None, seconds: float) -> Figures:
    """Start a server, flood it, and stop it; without a flood, this is what the machine can do."""
    with server.run() as running:
        await _warm_up(server, running.port)
        async with trio.open_nursery() as nursery:
            healthy: Healthy = await nursery.start(watch, server.kind, running.port)
            figures = await _Measurement(server, running, flood, seconds).run(healthy)
            nursery.cancel_scope.cancel()
    return figures


async def _warm_up(server: Server, port: int) -> None:
    if server.kind == "gateway":
        for _ in range(_WARM_UP):
            await ask(f"http://127.0.0.1:{port}", "/api/ai/stream?prompt=w&session_id=w")


class _ServerEndedError(Exception):
    """The server's process is gone: an error of one connection was that of all."""


class _Measurement:
    def __init__(
        self, server: Server, running: Running, flood: Flood | None, seconds: float
    ) -> None:
        self._server = server
        self._running = running
        self._flood = flood
        self._seconds = seconds

    async def run(self, healthy: Healthy) -> Figures:
        await trio.sleep(_AT_REST)
        try:
            return await self._run(healthy)
        except _ServerEndedError:
            return Figures(inf, inf, inf, Memory(inf, inf, inf), failures=("the server ended",))

    async def _run(self, healthy: Healthy) -> Figures:
        pid, began = self._running.pid, trio.current_time()
        before, cpu = memory_kib(pid), cpu_seconds(pid)
        healthy.forget()
        result = await self._send()
        self._check()
        busy = (cpu_seconds(pid) - cpu) / (trio.current_time() - began)
        await trio.sleep(_AT_REST)
        self._check()
        gap, check = await healthy.longest_gap(), healthy.longest_check
        self._check()
        most, after = memory_kib(pid, "VmHWM"), await self._settled(before)
        again = await self._again(after) if after > before * GROWTH else None
        return Figures(
            gap,
            check,
            busy,
            Memory(before / _KIB, most / _KIB, after / _KIB, again and again / _KIB),
            result["connections"],
            result["sent_away"],
            tuple(healthy.failures),
        )

    def _check(self) -> None:
        if self._running.program.has_ended:
            raise _ServerEndedError

    async def _send(self) -> dict[str, Any]:
        if self._flood is None:
            await trio.sleep(self._seconds)
            return {"connections": 0, "sent_away": {}}
        job = {
            "flood": self._flood.name,
            "kind": self._server.kind,
            "port": self._running.port,
            "seconds": self._seconds,
        }
        command = [sys.executable, "-m", "tests.soak.flooder", json.dumps(job)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = await trio.run_process(command, capture_stdout=True, env=environment)
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    async def _again(self, before: int) -> int:
        await self._send()
        self._check()
        return await self._settled(before)

    async def _settled(self, before: int) -> int:
        """Wait until the memory is back, or the time for that is over, and return what it is."""
        with trio.move_on_after(_SETTLES_IN):  # noqa: ASYNC912 - it may be so already
            while memory_kib(self._running.pid) > before * GROWTH:  # noqa: ASYNC110 - of a process
                await trio.sleep(_LOOK)
        return memory_kib(self._running.pid)
