"""Thousands of browsers that leave a gateway together, and those who stay.

For example, a small crowd::

    departure = leave_together(60)
    assert departure.failures == []
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.request import urlopen

import trio

from bench.programs import Program as Child
from bench.programs import free_port, started
from harness.programs import Program, run_module
from tests.soak.healthy import Healthy, Read, read_over_http1, read_over_http2
from tests.soak.paced_backend import installed
from tests.soak.soak import read_metrics, samples_of

__all__ = ["Departure", "leave_together"]

#: Answers that go on, half of them over HTTP/2, with a token every 20 ms.
_STAYERS = 8
#: Processes that the browsers are spread over, half of them over HTTP/2.
_CHILDREN = 4
#: Seconds: for the calls of all browsers to end, between two looks, and before and afterwards.
_ENDS_IN, _LOOK, _AT_REST = 60.0, 0.1, 1.0
#: Descriptors of the gateway and its model service, besides those of the browsers.
_SPARE = 1_000


@dataclass(frozen=True)
class Departure:
    """What came of it; seconds."""

    browsers: int
    #: From the moment when they left until the last call had ended at the model.
    ended_in: float
    #: The longest wait of a stayer for a token: before, while the browsers left, and afterwards.
    gap_before: float
    gap: float
    failures: list[str]

    def lines(self) -> Iterator[str]:
        """Describe it."""
        yield f"{self.browsers} browsers left; the last call had ended after {self.ended_in:.1f} s"
        yield (
            f"{_STAYERS} answers with a token every 20 ms: the longest gap was"
            f" {self.gap_before * 1000:.0f} ms before, and {self.gap * 1000:.0f} ms from then on"
        )


def leave_together(browsers: int) -> Departure:
    """Run a model service, a gateway and its browsers, and have these leave.

    Half of the browsers use HTTP/1.1 with a connection each, and the others HTTP/2.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(installed())
        path = os.pathsep.join([folder, *sys.path])
        model_port, metrics_port = free_port(), free_port()
        model = stack.enter_context(
            run_module(
                "relay_model",
                f"--port={model_port}",
                f"--metrics-port={metrics_port}",
                "--backend=paced",
                f"--max-concurrent={browsers + _SPARE}",
                PYTHONPATH=path,
            )
        )
        model.wait_for("serving")
        gateway = stack.enter_context(
            run_module("relay_gateway", "--port=0", f"--model-target=127.0.0.1:{model_port}")
        )
        port = int(gateway.wait_for(r"Running on \S*:(\d+)")[1])
        crowd = [
            stack.enter_context(
                started(
                    "tests.soak.leaver",
                    json.dumps(
                        {
                            "port": port,
                            "path": _path("3600"),
                            "browsers": browsers // _CHILDREN,
                            "version": 1 + number % 2,
                        }
                    ),
                    environment={"PYTHONPATH": os.pathsep.join(sys.path)},
                )
            )
            for number in range(_CHILDREN)
        ]
        scene = _Scene(port, model_port, metrics_port, crowd, browsers // _CHILDREN * _CHILDREN)
        departure = trio.run(scene.run)
        departure.failures.extend(_complaints("model service", model))
        departure.failures.extend(_complaints("gateway", gateway))
    return departure


def _path(interval: str) -> str:
    return f"/api/ai/stream?prompt={interval}&session_id=crowd"


def _complaints(name: str, program: Program) -> Iterator[str]:
    program.close()
    lines = program.output().splitlines()
    for line in lines:
        if "flood" in line or "Traceback" in line or "model_unavailable" in line:
            yield f"{name}: {line}"


class _Scene:
    def __init__(
        self, port: int, model_port: int, metrics_port: int, crowd: list[Child], browsers: int
    ) -> None:
        self._port = port
        self._model_port = model_port
        self._metrics = f"http://127.0.0.1:{metrics_port}/metrics"
        self._crowd = crowd
        self._browsers = browsers

    async def run(self) -> Departure:
        with trio.fail_after(600):  # noqa: ASYNC912 - it may be so already
            for child in self._crowd:
                await trio.to_thread.run_sync(child.read)
        async with trio.open_nursery() as nursery:
            healthy = Healthy()
            await healthy.begin(nursery, _stayers(), self._port)
            healthy.forget()
            await trio.sleep(_AT_REST)
            departure = await self._leave(healthy)
            nursery.cancel_scope.cancel()
        return departure

    async def _leave(self, healthy: Healthy) -> Departure:
        gap_before = await healthy.longest_gap()
        connections = _connections_to(self._model_port)
        failures = [] if len(connections) == 1 else [f"connections to the model: {connections}"]
        await self._expect(self._browsers + _STAYERS, failures)
        healthy.forget()
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for child in self._crowd:
                nursery.start_soon(trio.to_thread.run_sync, child.ask)
        await self._expect(_STAYERS, failures)
        ended_in = trio.current_time() - began
        await trio.sleep(_AT_REST)
        gap = await healthy.longest_gap()
        if (now := _connections_to(self._model_port)) != connections:
            failures.append(f"the connection to the model was {connections}, and is {now}")
        metrics = await read_metrics(f"http://127.0.0.1:{self._port}")
        left = metrics['relay_requests_total{cause="client_disconnect"}']
        lost = metrics['relay_requests_total{cause="model_unavailable"}']
        if (left, lost) != (self._browsers, 0):
            failures.append(f"{left} have left, {lost} have lost the model")
        return Departure(self._browsers, ended_in, gap_before, gap, failures + healthy.failures)

    async def _expect(self, answers: int, failures: list[str]) -> None:
        """Wait until the model has as many answers in progress."""
        found = -1
        with trio.move_on_after(_ENDS_IN):  # noqa: ASYNC912 - it may be so already
            while found != answers:
                text = await trio.to_thread.run_sync(self._read_metrics)
                found = int(samples_of(text)["relay_model_answers_in_progress"])
                await trio.sleep(_LOOK)
        if found != answers:
            failures.append(f"{found} answers are in progress at the model, not {answers}")

    def _read_metrics(self) -> str:
        # Not by a browser of the tests: the model service's server closes each connection.
        with urlopen(self._metrics) as response:  # noqa: S310 - http, and our own
            text: str = response.read().decode()
            return text


def _stayers() -> list[Read]:
    path = _path("0.02")
    readers: list[Read] = [partial(read_over_http1, path=path), partial(read_over_http2, path=path)]
    return readers * (_STAYERS // len(readers))


def _connections_to(port: int) -> set[str]:
    """List the local ends of established connections to a port of this machine (proc(5))."""
    established, remote = "01", f":{port:04X}"
    lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    fields = [line.split() for line in lines]
    return {f[1] for f in fields if f[2].endswith(remote) and f[3] == established}
