"""In which order trio runs the tasks that could run at once.

It tosses a coin for each batch of them, so that nobody relies on an order. A test that has to see
every order chooses instead; and a run whose orders are one seed's can be repeated.
"""

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from random import Random
from typing import Any, TypeVar
from unittest import mock

import trio
import trio._core._run as trio_run
from trio.testing import MockClock

from grpclib_anyio._stream import stream

__all__ = ["ORDERS", "Order", "in_order", "run_seeded", "shuffled_by"]

_T = TypeVar("_T")

#: Puts a batch into its order, of which the last runs first; it is given the oldest task first.
Order = Callable[[list[Any]], None]

#: The two that there are without a seed, by their names.
ORDERS: dict[str, Order] = {
    "oldest first": list[Any].reverse,
    "youngest first": lambda _batch: None,
}


def shuffled_by(seed: int) -> Order:
    """Make an order that ``seed`` decides."""
    return Random(seed).shuffle  # noqa: S311 - repeatable, no secret


@contextmanager
def in_order(order: Order) -> Generator[None]:
    """Let trio run the tasks of a batch in this order."""
    # Sorted by age and then shuffled: see trio's `unrolled_run`.
    with (
        mock.patch.object(trio_run, "_ALLOW_DETERMINISTIC_SCHEDULING", new=True),
        mock.patch.object(trio_run._r, "shuffle", order),  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - trio has no public way to choose an order
    ):
        yield


def run_seeded(main: Callable[[], Awaitable[_T]], *, seed: int, clock: MockClock) -> _T:
    """Run ``main`` on trio, on a mock clock and on the schedule of ``seed``."""
    # On a busy machine, a real checkpoint more would shift all that the seed decides.
    stands_still = mock.patch.object(stream, "monotonic", return_value=0.0)
    with in_order(shuffled_by(seed)), stands_still:
        return trio.run(main, clock=clock)
