"""Timers that cost no task: one task sleeps for all calls of a channel.

For example, the deadline of a call; the timer is turned off when the call ends::

    timer = timers.call_at(deadline, call.expire)    # seconds, on the clock of the event loop
    ...
    timer.cancel()
"""

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from math import inf

import anyio

__all__ = ["Timer", "Timers"]

#: Timers that are off may stay in the heap: this many, and as many more as are on.
_LITTER = 64


class Timer:
    """Something to be done at a time, unless it is turned off before."""

    __slots__ = ("_timers", "action", "time")

    def __init__(self, timers: "Timers", time: float, action: Callable[[], None]) -> None:
        """Call ``action`` at ``time``, on the loop's clock; see :meth:`Timers.call_at`."""
        self._timers = timers
        self.time = time
        #: None once it is off.
        self.action: Callable[[], None] | None = action

    def __lt__(self, other: "Timer") -> bool:
        """Sort by time."""
        return self.time < other.time

    def cancel(self) -> None:
        """Have nothing done; harmless when it has been."""
        if self.action is not None:
            self.action = None
            self._timers.tidy()


class Timers:
    """All timers of a channel, for :meth:`run` to fire in a task of the channel."""

    def __init__(self) -> None:
        """Have none."""
        self._heap: list[Timer] = []
        self._on = 0
        self._sleep: anyio.CancelScope | None = None

    def __len__(self) -> int:
        """Count those that are on."""
        return self._on

    def call_at(self, time: float, action: Callable[[], None]) -> Timer:
        """Have ``action`` called at ``time``, on the loop's clock; it must not raise."""
        timer = Timer(self, time, action)
        heappush(self._heap, timer)
        self._on += 1
        if self._sleep is not None and time < self._sleep.deadline:
            self._sleep.deadline = time
        return timer

    def tidy(self) -> None:
        """Forget the timers that are off when they are most: few calls last to their deadline."""
        self._on -= 1
        if len(self._heap) > 2 * self._on + _LITTER:
            self._heap = [timer for timer in self._heap if timer.action is not None]
            heapify(self._heap)

    async def run(self) -> None:
        """Ring the timers, until cancelled."""
        while True:
            time = self._heap[0].time if self._heap else inf
            with anyio.CancelScope(deadline=time) as self._sleep:
                await anyio.sleep_forever()
            self._ring()

    def _ring(self) -> None:
        now = anyio.current_time()
        while self._heap and self._heap[0].time <= now:
            timer = heappop(self._heap)
            if timer.action is not None:
                action, timer.action = timer.action, None
                self._on -= 1
                action()
