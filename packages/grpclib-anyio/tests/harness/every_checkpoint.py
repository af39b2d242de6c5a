"""Something happens at a scenario's first checkpoint, then at its second, and so on to its last.

A checkpoint is a moment in which a task lets others run: it waits for something, or for its turn.
What happens (the task under test is cancelled, its peer resets the stream, the connection is lost)
happens *there*: after one task's step and before the next one's. It is done after the steps of
every task in the event loop, not only of the one under test, which so is met wherever it can wait,
in whatever state the others have brought the connection to meanwhile, and also when what it waited
for has come and it has not seen that yet.

A scenario is run once for each checkpoint, and sees for itself that all is well whichever it was.
It is run once more at the end, undisturbed, which is how the last checkpoint is known.

Tasks that can run at once are run by trio in either order. What is at a checkpoint depends on it,
so all of this is done in both, and where it is asked for in orders that are drawn by lot.
"""

import asyncio
import re
from asyncio.events import Handle
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pytest
import trio
import trio.testing

from harness.scheduling import ORDERS, in_order, shuffled_by

__all__ = [
    "COUNTS",
    "PART",
    "AtEachCheckpoint",
    "Checkpoint",
    "Scenario",
    "documented",
    "in_each_order",
    "settled",
]

_DOCUMENT = Path(__file__).parents[4] / "docs" / "cancellation" / "evidence.md"

#: How many checkpoints something happened at, by the name of what was tested.
COUNTS = pytest.StashKey[Counter[str]]()
#: Whose tests a run is of, "transport" or "relay": their checkpoints are counted apart.
PART = pytest.StashKey[str]()

Scenario = Callable[["Checkpoint"], Awaitable[None]]
_Schedule = Callable[[], AbstractContextManager[None]]


class AtEachCheckpoint(Protocol):
    """Runs a scenario at each of its checkpoints, which are counted under a name."""

    async def __call__(self, name: str, scenario: Scenario, *, seeds: int = 0) -> None:
        """Run it in both orders of trio's batches, and in one more order for each seed."""
        ...


class Checkpoint:
    """One of a scenario's checkpoints."""

    def __init__(self, number: int) -> None:
        """Choose one by its number, from 0."""
        #: It has come.
        self.is_reached = False
        #: Whose step it was.
        self.step = ""
        self._steps_to_go = number
        self._act: Callable[[], object] | None = None
        self._failure: Exception | None = None

    @contextmanager
    def watched(self, act: Callable[[], object]) -> Generator[None]:
        """Count the checkpoints from here on; call ``act`` at this one, while no task runs."""
        self._act = act
        with (_watched_on_trio if trio.lowlevel.in_trio_run() else _watched_on_asyncio)(self):
            yield
        if self._failure is not None:
            raise self._failure

    def step_taken(self, step: object) -> None:
        """Count a step, and let happen what is to happen after it."""
        self._steps_to_go -= 1
        if self._steps_to_go != -1:
            return
        self.is_reached, self.step = True, repr(step)
        assert self._act is not None
        try:
            self._act()
        except Exception as error:  # noqa: BLE001 - raised in the test, not in the event loop
            self._failure = error


class _Instrument(trio.abc.Instrument):
    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._checkpoint.step_taken(task)


@contextmanager
def _watched_on_trio(checkpoint: Checkpoint) -> Generator[None]:
    instrument = _Instrument(checkpoint)
    trio.lowlevel.add_instrument(instrument)
    try:
        yield
    finally:
        trio.lowlevel.remove_instrument(instrument)


@contextmanager
def _watched_on_asyncio(checkpoint: Checkpoint) -> Generator[None]:
    class_of_steps: Any = Handle  # each step of a task is one call of its method `_run`
    run = class_of_steps._run  # noqa: SLF001 - asyncio tells of a step nowhere else

    def run_and_tell(handle: Handle) -> None:
        run(handle)
        checkpoint.step_taken(handle)

    class_of_steps._run = run_and_tell  # noqa: SLF001 - asyncio tells of a step nowhere else
    try:
        yield
    finally:
        class_of_steps._run = run  # noqa: SLF001 - puts asyncio's own method back


async def settled() -> None:
    """Wait until no task has anything left to do but to wait; for tests without a network.

    On asyncio, anyio's ``wait_all_tasks_blocked`` sleeps for a tenth of a second.
    """
    if trio.lowlevel.in_trio_run():
        await trio.testing.wait_all_tasks_blocked()
        return
    loop = asyncio.get_running_loop()
    await asyncio.sleep(0)
    while vars(loop)["_ready"]:  # noqa: ASYNC110 - no event says so
        await asyncio.sleep(0)


def documented(part: str) -> int:
    """Return how many checkpoints a part's tests have at least, by the document."""
    text = _DOCUMENT.read_text(encoding="utf-8")
    row = next(row for row in text.splitlines() if row.startswith("| **every checkpoint**"))
    (count,) = re.findall(rf"more than ([\d,]+) in the {part}", row)
    return int(count.replace(",", ""))


async def in_each_order(scenario: Scenario, seeds: int = 0) -> int:
    """Run a scenario at each of its checkpoints, in each order; return how many there were."""
    count = 0
    for name, schedule in _schedules(seeds).items():
        try:
            count += await _at_each_checkpoint(scenario, schedule)
        except BaseException as error:
            error.add_note(f"In this order: {name}")
            raise
    return count


def _schedules(seeds: int) -> Mapping[str, _Schedule]:
    if not trio.lowlevel.in_trio_run():
        return {"asyncio's": nullcontext}
    orders = {name: partial(in_order, order) for name, order in ORDERS.items()}
    return orders | {f"of seed {seed}": partial(_order_of, seed) for seed in range(seeds)}


def _order_of(seed: int) -> AbstractContextManager[None]:
    return in_order(shuffled_by(seed))


async def _at_each_checkpoint(scenario: Scenario, schedule: _Schedule) -> int:
    number = 0
    while True:
        checkpoint = Checkpoint(number)
        try:
            with schedule():
                await scenario(checkpoint)
        except BaseException as error:
            error.add_note(f"At checkpoint {number}, after a step of {checkpoint.step}")
            raise
        if not checkpoint.is_reached:
            return number
        number += 1
