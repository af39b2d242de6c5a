"""Runs whose schedule is one seed's: the same seed, the same run."""

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import TypeVar
from unittest import mock

import trio
import trio._core._run as trio_run
from trio.testing import MockClock

_T = TypeVar("_T")


@contextmanager
def seeded_scheduler(seed: int) -> Generator[None]:
    """Let trio run its tasks in an order that ``seed`` decides."""
    order = trio_run._r  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - as above
    state = order.getstate()
    order.seed(seed)
    # Tasks that are ready at once are sorted by age, and shuffled: see trio's `unrolled_run`.
    with mock.patch.object(trio_run, "_ALLOW_DETERMINISTIC_SCHEDULING", new=True):
        yield
    order.setstate(state)


def run_seeded(main: Callable[[], Awaitable[_T]], *, seed: int, clock: MockClock) -> _T:
    """Run ``main`` on trio, on a mock clock and on the schedule of ``seed``."""
    with seeded_scheduler(seed):
        return trio.run(main, clock=clock)
