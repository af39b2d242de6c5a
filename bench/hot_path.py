"""Counts the Python instructions that a token costs: the same number on every machine.

The real code runs on real sockets, in lockstep with the other side. Whenever the event loop has
nothing left to do, the other side takes its next step. For example, the model sends a token. Every
bytecode instruction is counted, by package, except those of the other side.

The sockets are unix sockets, since data that is written there can be read at once. Two runs count
the same, because time stands still, and because trio's scheduler gets a fixed seed::

    python -m bench.hot_path             what a token costs, and in which package
    python -m bench.hot_path --renew     write it to hot_path.json, for this version of Python
    nox -s hotpath                       write it for every version of Python

It cannot see the time that C code and the system take. ``nox -s bench`` measures that.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import trio
from grpclib.const import Cardinality
from hypercorn.config import Config
from hypercorn.trio.run import worker_serve
from hypercorn.utils import wrap_app  # pyright: ignore[reportUnknownVariableType] - has a bare `dict`
from trio.testing import MockClock

from bench.document import fill, markdown
from bench.lockstep import Instructions, Lockstep
from bench.scripted import ScriptedBackend, ScriptedBrowser, ScriptedGateway, ScriptedModel
from grpclib_anyio.client import Channel
from grpclib_anyio.server import Server
from relay_common.log import LogSettings, configure_logging
from relay_gateway.relay.relay import GENERATE
from relay_gateway.settings import GatewaySettings
from relay_gateway.web.asgi import create_app
from relay_model.service import AiService
from relay_proto.ai import GenerateRequest, GenerateResponse

__all__ = ["FIGURES", "PYTHON", "SCENARIOS"]

FIGURES = Path(__file__).with_name("hot_path.json")
#: Keys of the figures that docs/performance.md shows: those of now, and those of the first count.
_SHOWN, _SHOWN_FIRST = "3.13", "3.13, at first"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

#: The count depends on these as well as on our own code.
_PACKAGES = (
    "anyio",
    "betterproto",
    "grpclib",
    "h11",
    "h2",
    "hypercorn",
    "quart",
    "quart-trio",
    "trio",
)


@dataclass(frozen=True)
class _Pace:
    """How many tokens come at once; how many times before the count, and during it."""

    batch: int
    warm_up: int
    counted: int


#: Tokens come one by one, as from a model. 64 of them, because one message in 64 has a checkpoint
#: that the others do not have.
_SINGLY = _Pace(1, 64, 64)
#: Tokens come in bulk, as from a model that is faster than we are.
_IN_BULK = _Pace(32, 4, 8)


def _script(
    pace: _Pace, is_asked: Callable[[], bool], send: Callable[[int], None]
) -> Generator[bool]:
    while not is_asked():
        yield False
    for step in range(pace.warm_up + pace.counted):
        send(pace.batch)
        yield step >= pace.warm_up


async def _receive(directory: Path, instructions: Instructions, pace: _Pace) -> int:
    """The transport's client: a task that reads a call's messages."""
    received = 0

    async def read(channel: Channel) -> None:
        nonlocal received
        async with channel.request(
            GENERATE, Cardinality.UNARY_STREAM, GenerateRequest, GenerateResponse
        ) as call:
            await call.send_message(GenerateRequest(prompt="hi"), end=True)
            async for _ in call:
                received += 1

    path = str(directory / "model")
    with closing(ScriptedModel(path)) as model:
        lockstep = Lockstep(instructions, model)
        async with Channel(path=path) as channel, trio.open_nursery() as nursery:
            nursery.start_soon(read, channel)
            await lockstep.run(_script(pace, lambda: model.is_asked, model.send))
            nursery.cancel_scope.cancel()
    return received


async def _relay(directory: Path, instructions: Instructions, pace: _Pace) -> int:
    """The gateway from the model's connection to the browser's, under hypercorn."""
    path = str(directory / "model")
    config = Config()
    config.bind = [f"unix:{directory / 'gateway'}"]
    config.errorlog = None
    sockets = config.create_sockets()
    for sock in sockets.insecure_sockets:
        sock.listen()
    settings = GatewaySettings(watchdog_seconds=0)  # it wakes the loop in real time
    app = create_app(settings, channel=Channel(path=path))
    with (
        closing(ScriptedModel(path)) as model,
        closing(ScriptedBrowser(str(directory / "gateway"))) as browser,
    ):
        lockstep = Lockstep(instructions, model, browser)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                partial(
                    worker_serve,
                    wrap_app(app, config.wsgi_max_body_size, "asgi"),
                    config,
                    sockets=sockets,
                    shutdown_trigger=trio.sleep_forever,
                )
            )
            await lockstep.run(_script(pace, lambda: model.is_asked, model.send))
            nursery.cancel_scope.cancel()
        return browser.tokens


async def _send(directory: Path, instructions: Instructions, pace: _Pace) -> int:
    """The model service from its backend to the gateway's connection."""
    path = str(directory / "service")
    with closing(ScriptedBackend()) as backend:
        server = Server([AiService(backend)])
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(server.serve, path=path))
            with closing(ScriptedGateway(path)) as gateway:
                lockstep = Lockstep(instructions, gateway)
                await lockstep.run(_script(pace, lambda: backend.is_asked, backend.send))
                nursery.cancel_scope.cancel()
    return gateway.tokens


_Run = Callable[[Path, Instructions, _Pace], Awaitable[int]]

#: The runs that are counted, by name.
SCENARIOS: Mapping[str, tuple[_Run, _Pace]] = {
    "receive": (_receive, _SINGLY),
    "receive, in bulk": (_receive, _IN_BULK),
    "relay": (_relay, _SINGLY),
    "relay, in bulk": (_relay, _IN_BULK),
    "send": (_send, _SINGLY),
    "send, in bulk": (_send, _IN_BULK),
}


def _count(run: _Run, pace: _Pace) -> dict[str, float]:
    """Return the instructions per token in each package, the largest number first."""
    # trio picks at random between tasks that can run. A fixed seed makes the order the same.
    vars(import_module("trio._core._run"))["_r"].seed(0)
    instructions = Instructions()
    with tempfile.TemporaryDirectory() as directory:
        tokens = trio.run(run, Path(directory), instructions, pace, clock=MockClock())
    if tokens != pace.batch * (pace.warm_up + pace.counted):
        raise RuntimeError(f"{tokens} tokens arrived")
    counted = pace.batch * pace.counted
    return {name: round(n / counted, 1) for name, n in instructions.by_package.most_common()}


def _figures() -> dict[str, Any]:
    return {
        "versions": {name: version(name) for name in _PACKAGES},
        "instructions": {name: _count(*scenario) for name, scenario in SCENARIOS.items()},
    }


def _table(instructions: Mapping[str, Mapping[str, float]]) -> str:
    """Return a table with a column for each scenario and a row for each package."""
    packages = dict.fromkeys(name for counts in instructions.values() for name in counts)
    rows = [["", *instructions]]
    rows += [
        [name, *(f"{counts.get(name, 0):.0f}" for counts in instructions.values())]
        for name in packages
    ]
    rows.append(["all", *(f"{sum(counts.values()):.0f}" for counts in instructions.values())])
    return "\n".join("".join(f"{cell:>17}" for cell in row) for row in rows)


def _renew(figures: Mapping[str, Any]) -> None:
    recorded: dict[str, Any] = (
        json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else {}
    )
    recorded[PYTHON] = figures
    text = json.dumps(dict(sorted(recorded.items())), indent=2)
    FIGURES.write_text(f"{text}\n", encoding="utf-8")
    if PYTHON == _SHOWN:
        _document(recorded[_SHOWN_FIRST]["instructions"], figures["instructions"])


def _document(first: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Write the figures into docs/performance.md, with those of the first count."""
    rows = [[name, *_change(sum(first[name].values()), sum(now[name].values()))] for name in now]
    fill("instructions: all", markdown(["", "at first", "now", "ratio"], rows))
    relay_first, relay_now = first["relay"], now["relay"]
    packages = sorted({**relay_first, **relay_now}, key=lambda name: -relay_first.get(name, 0))
    rows = [[name, *_change(relay_first.get(name, 0), relay_now.get(name, 0))] for name in packages]
    fill("instructions: relay", markdown(["package", "at first", "now", "ratio"], rows))


def _change(first: float, now: float) -> list[str]:
    return [f"{first:,.0f}", f"{now:,.0f}", f"{now / first:.2f}" if first else ""]


def main() -> None:
    """Count, then write the figures or print them."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.hot_path",
        description="Count the Python instructions that a token costs.",
    )
    parser.add_argument("--renew", action="store_true", help=f"write them to {FIGURES.name}")
    parser.add_argument("--json", action="store_true", help="print them as JSON")
    arguments = parser.parse_args()
    # Errors only, because the end of a count cuts a request short, and that is logged.
    configure_logging(LogSettings(log_level="error"))
    figures = _figures()
    if arguments.renew:
        _renew(figures)
    print(json.dumps(figures) if arguments.json else _table(figures["instructions"]))


if __name__ == "__main__":
    main()
