"""Timers that cost no task: one task sleeps for all calls of a channel."""

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from math import inf

import anyio

__all__ = ["Alarm", "Alarms"]

#: So many that are off may stay in the heap, beside as many as are on.
_LITTER = 64


class Alarm:
    """Something to be done at a time, unless it is turned off before."""

    __slots__ = ("_alarms", "action", "time")

    def __init__(self, alarms: "Alarms", time: float, action: Callable[[], None]) -> None:
        """Call ``action`` at ``time``, on the loop's clock; see :meth:`Alarms.set_nowait`."""
        self._alarms = alarms
        self.time = time
        #: None once it is off.
        self.action: Callable[[], None] | None = action

    def __lt__(self, other: "Alarm") -> bool:
        """Sort by time."""
        return self.time < other.time

    def turn_off_nowait(self) -> None:
        """Have nothing done; harmless when it has been."""
        if self.action is not None:
            self.action = None
            self._alarms.tidy_nowait()


class Alarms:
    """All alarms of a channel, for :meth:`run` to ring in a task of the channel's."""

    def __init__(self) -> None:
        """Have none."""
        self._heap: list[Alarm] = []
        self._on = 0
        self._sleep: anyio.CancelScope | None = None

    def __len__(self) -> int:
        """Count those that are on."""
        return self._on

    def set_nowait(self, time: float, action: Callable[[], None]) -> Alarm:
        """Have ``action`` called at ``time``, on the loop's clock; it must not raise."""
        alarm = Alarm(self, time, action)
        heappush(self._heap, alarm)
        self._on += 1
        if self._sleep is not None and time < self._sleep.deadline:
            self._sleep.deadline = time
        return alarm

    def tidy_nowait(self) -> None:
        """Forget the alarms that are off when they are most: few calls last to their deadline."""
        self._on -= 1
        if len(self._heap) > 2 * self._on + _LITTER:
            self._heap = [alarm for alarm in self._heap if alarm.action is not None]
            heapify(self._heap)

    async def run(self) -> None:
        """Ring the alarms, until cancelled."""
        while True:
            time = self._heap[0].time if self._heap else inf
            with anyio.CancelScope(deadline=time) as self._sleep:
                await anyio.sleep_forever()
            self._ring()

    def _ring(self) -> None:
        now = anyio.current_time()
        while self._heap and self._heap[0].time <= now:
            alarm = heappop(self._heap)
            if alarm.action is not None:
                action, alarm.action = alarm.action, None
                self._on -= 1
                action()
