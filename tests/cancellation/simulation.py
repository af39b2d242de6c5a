"""Many requests at once, on a bad network and an unsteady model, and all of it decided by a seed.

One seed is one run: a gateway, a model, a dozen browsers. What the network does, what the model
says, who leaves when and how, and in which order tasks run that could run at once: everything is
drawn from one random number generator. So a seed that fails fails again, and :class:`Run` keeps
the schedule of what happened.
"""

import gc
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from random import Random

import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from h2.errors import ErrorCodes
from hyperframe.frame import RstStreamFrame
from trio.testing import MockClock

from grpclib_anyio.config import Configuration
from harness.scheduling import run_seeded
from tests.cancellation.browsers import Browser, Direct, Exchange, Http2
from tests.cancellation.leftovers import leftovers
from tests.cancellation.models import Call, Step
from tests.cancellation.network import MAX_DELAY, Storm
from tests.cancellation.world import open_world
from tests.support.models import SECRET

__all__ = ["Run", "run_all", "run_seed", "simulate"]

#: Seconds in which requests begin and things happen.
_SPAN = 20.0
#: Of a network that stands still.
_MAX_HOLD = 5.0
#: Until the model must know that a request is over: both may have been in the way.
_TRANSIT = 2 * (MAX_DELAY + _MAX_HOLD)
_GRACE = 3.0
_LONG = 400.0
_OK = 200
_STATUSES = (Status.INTERNAL, Status.RESOURCE_EXHAUSTED, Status.UNAVAILABLE, Status.CANCELLED)


@dataclass
class Run:
    """What came of a seed."""

    seed: int
    sessions: int = 0
    #: How many ended for each cause.
    causes: Counter[str] = field(default_factory=Counter[str])
    #: What must not be.
    failures: list[str] = field(default_factory=list[str])
    schedule: str = ""

    def __str__(self) -> str:
        """Say what failed, and show the schedule."""
        return "\n".join([f"seed {self.seed}", self.schedule, *self.failures])


class _Session:
    """One person's question."""

    def __init__(self, name: str, script: list[Step]) -> None:
        self.name = name
        self.script = script
        self.exchange: Exchange | None = None
        self.browser: Browser | None = None

    @property
    def tokens(self) -> list[str]:
        return [step for step in self.script if isinstance(step, str)]


def simulate(seed: int) -> Run:
    """Run one seed."""
    return run_seed(seed, lambda run: _Simulation(run).main())


def run_seed(seed: int, main: Callable[[Run], Awaitable[None]]) -> Run:
    """Run one seed of a simulation, which notes what must not be."""
    run = Run(seed)
    was_collecting = gc.isenabled()
    # What garbage does, such as closing a generator, must not depend on the time.
    gc.disable()
    try:
        run_seeded(partial(main, run), seed=seed, clock=MockClock(autojump_threshold=0))
    except Exception as error:  # noqa: BLE001 - whatever a run may end with
        run.failures.append(f"the run ended with {error!r}")
        run.failures.extend(map(repr, getattr(error, "exceptions", ())))
    finally:
        if was_collecting:
            gc.enable()
    return run


class _Simulation:
    def __init__(self, run: Run) -> None:
        self._run = run
        self._chance = Random(run.seed)  # noqa: S311 - repeatable, no secret
        self._sessions: list[_Session] = []
        self._are_links_lost = False
        self._shared: list[Http2] = []

    async def main(self) -> None:
        chance = self._chance
        self._deadline = chance.choice([2.0, 10.0, 30.0])
        model = Configuration(
            max_concurrent_streams=chance.choice([2, 1000]),
            http2_min_recv_ping_interval_without_data=15.0,
        )
        async with open_world(
            weather=lambda: Storm(chance),
            model=model,
            deadline_seconds=self._deadline,
            write_timeout_seconds=chance.choice([3.0, 30.0]),
            channel_size=chance.choice([1, 8]),
            heartbeat_seconds=chance.choice([1.0, 15.0]),
        ) as world:
            self._world = world
            try:
                await self._happen()
                await self._end()
            finally:
                self._run.schedule = str(world.journal)

    # -- what happens ---------------------------------------------------------------------------

    async def _happen(self) -> None:
        chance = self._chance
        count = chance.randint(8, 16)
        async with trio.open_nursery() as nursery:
            for number in range(count):
                nursery.start_soon(self._browse, f"s{number}", chance.uniform(0, _SPAN))
            for _ in range(chance.choice([0, 0, 1, 3])):
                nursery.start_soon(self._trouble, chance.uniform(0, _SPAN))
            if chance.random() < 0.15:
                nursery.start_soon(self._terminate, chance.uniform(0, _SPAN))

    async def _browse(self, name: str, at: float) -> None:
        await trio.sleep_until(at)
        world, session = self._world, _Session(name, self._script(name))
        if world.sigterm.is_set():
            return
        world.models.model.scripts[name] = lambda: session.script
        session.browser = self._browser()
        session.exchange = session.browser.ask(name)
        self._sessions.append(session)
        await self._behave(session)

    def _script(self, name: str) -> list[Step]:
        chance = self._chance
        steps: list[Step] = []
        for number in range(chance.choice([0, 1, 3, 10])):
            steps.append(chance.choice([0.0, 0.01, 0.5, 3.0]))
            steps += (f"{name}.{number}.{more} " for more in range(chance.choice([1, 1, 2, 20])))
        if chance.random() < 0.15:
            steps += (f"{name}.flood.{more} ".ljust(1024, "x") for more in range(300))
        end = chance.random()
        if end < 0.15:
            steps.append(_LONG)
        elif end < 0.3:
            steps.append(GRPCError(chance.choice(_STATUSES), SECRET))
        return steps

    def _browser(self) -> Browser:
        chance, world = self._chance, self._world
        kind = chance.choice(["direct", "http1", "http1", "http2", "shared", "shared"])
        if kind == "direct":
            return world.call_directly()
        usable = [b for b in self._shared if b.end is None and not b.is_left]
        if kind == "shared" and usable:
            return chance.choice(usable)
        world.buffer_size = chance.choice([256, 4096, 65_536])
        world.window = chance.choice([None, None, 100, 10_000])
        browser = world.browse(http2=kind != "http1")
        if isinstance(browser, Http2):
            self._shared.append(browser)
        return browser

    async def _behave(self, session: _Session) -> None:
        chance, browser = self._chance, session.browser
        assert browser is not None
        assert session.exchange is not None
        await trio.sleep(chance.choice([0.0, 0.001, 0.1, 1.0, 5.0]) * chance.random())
        way = chance.choice(["reads"] * 6 + ["closes", "resets", "half", "pauses", "stalls", "cut"])
        if browser.is_left or browser.end is not None:
            return
        match way:
            case "closes" if isinstance(browser, Http2) and chance.random() < 0.7:
                if not session.exchange.is_complete:
                    browser.cancel(session.exchange)
            case "closes":
                browser.close()
            case "resets":
                browser.reset()
            case "half":
                browser.half_close()
            case "pauses":
                browser.pause()
                await trio.sleep(chance.uniform(0, 10))
                browser.resume()
            case "stalls":
                browser.pause()
            case "cut" if not isinstance(browser, Direct):
                browser.cut()
            case _:
                browser.link.hold(chance.uniform(0, _MAX_HOLD))

    async def _trouble(self, at: float) -> None:
        await trio.sleep_until(at)
        chance, models = self._chance, self._world.models
        match chance.choice(["kill", "drain", "cut", "hold", "hold"]):
            case "kill":
                models.kill()
                await trio.sleep(chance.uniform(0, 5))
                models.start()
            case "drain":
                models.drain(_GRACE)
            case "cut":
                self._are_links_lost = True
                models.cut()
            case _:
                for link in models.links:
                    link.hold(chance.uniform(0, _MAX_HOLD))

    async def _terminate(self, at: float) -> None:
        await trio.sleep_until(at)
        self._world.terminate()

    # -- what must be true ------------------------------------------------------------------------

    async def _end(self) -> None:
        world = self._world
        await trio.sleep(_LONG)
        self._note_unfinished()
        for browser in world.browsers:
            browser.close()
        await trio.sleep(_LONG)
        failures = self._run.failures
        for session in self._sessions:
            failures += (f"{session.name}: {failure}" for failure in self._failures_of(session))
        failures += self._failures_on_the_wire()
        if not world.sigterm.is_set():
            failures += leftovers(world)
            world.terminate()
        with trio.move_on_after(_LONG):
            await world.gateway_stopped.wait()
        if not world.gateway_stopped.is_set():
            failures.append("the gateway does not stop")
        failures += (f"logged: {complaint}" for complaint in world.complaints)
        self._run.sessions = len(self._sessions)
        self._run.causes.update(c for s in self._sessions for c in world.causes(s.name))

    def _note_unfinished(self) -> None:
        """Look at those who stayed, before they are made to leave."""
        for session in self._sessions:
            exchange, browser = session.exchange, session.browser
            assert exchange is not None
            assert browser is not None
            is_over = exchange.is_complete or exchange.is_reset or browser.end is not None
            if not (is_over or exchange.is_left or browser.is_left) and browser.is_reading:
                self._run.failures.append(f"{session.name}: the response does not end")

    def _failures_of(self, session: _Session) -> Iterator[str]:
        world, exchange = self._world, session.exchange
        assert exchange is not None
        causes = world.causes(session.name)
        calls = world.models.model.calls_of(session.name)
        if len(causes) > 1:
            yield f"causes: {causes}"
        if not causes and (calls or exchange.status == _OK):
            yield "no cause"
        for call in calls:
            yield from self._failures_of_call(call, world.recorded(session.name))
        yield from _failures_of_events(session, exchange, causes)

    def _failures_of_call(self, call: Call, recorded: list[float]) -> Iterator[str]:
        if call.ended is None:
            yield "the model's clean-up has not run"
        elif call.ended > call.deadline:
            yield f"the model went on until {call.ended}, its deadline was {call.deadline}"
        elif recorded and call.ended > recorded[0] + _TRANSIT and not self._are_links_lost:
            yield f"the model went on until {call.ended}, the request was over at {recorded[0]}"

    def _failures_on_the_wire(self) -> Iterator[str]:
        over: dict[tuple[str, int], int] = {}
        for entry in self._world.journal.entries:
            frame = entry.frame
            if frame is None or not entry.what.startswith("<-"):
                continue
            stream = (entry.where, frame.stream_id)
            if stream in over:
                yield f"{entry.what} follows a reset at {entry.where}"
            if isinstance(frame, RstStreamFrame):
                over[stream] = frame.error_code
                if frame.error_code != ErrorCodes.CANCEL:
                    yield f"{entry.what} at {entry.where}"


def _failures_of_events(session: _Session, exchange: Exchange, causes: list[str]) -> Iterator[str]:
    events = exchange.events
    tokens = [json.loads(event.data)["token"] for event in events if event.type == "message"]
    if tokens != session.tokens[: len(tokens)]:
        yield f"the tokens {tokens} are not what the model said"
    ends = [number for number, event in enumerate(events) if event.type != "message"]
    if ends not in ([], [len(events) - 1]):
        yield f"something follows the last event: {events}"
    is_whole = bool(ends) and not exchange.is_torn
    if exchange.status == _OK and exchange.is_complete and not is_whole:
        yield f"the response is complete and has no end: {events[-1:]}"
    if ends and events[-1].type == "done" and len(tokens) < len(session.tokens):
        yield "done, and tokens are missing"
    if ends and events[-1].type == "error" and not exchange.is_left:
        cause = json.loads(events[-1].data)["cause"]
        if causes != [cause]:
            yield f"the browser was told {cause}, recorded is {causes}"


def run_all(
    seeds: Iterable[int], report: Callable[[Run], None], run_one: Callable[[int], Run] = simulate
) -> list[Run]:
    """Run seeds one after the other, and return those that failed."""
    failed: list[Run] = []
    for seed in seeds:
        run = run_one(seed)
        if run.failures:
            failed.append(run)
        report(run)
    return failed
