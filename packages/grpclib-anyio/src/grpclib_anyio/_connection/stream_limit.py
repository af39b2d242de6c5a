"""The streams that a peer admits at once (RFC 9113 § 5.1.2), and the queue of waiting callers.

A stream that is open takes a *slot*. A caller that finds none free waits for its *turn*, in the
order of arrival. A turn is not a slot: it is the right to look again, and only opening a stream
takes the slot. So a caller that is cancelled has nothing to give back but its turn. For example,
with a limit of one::

    limit.take()             # the first caller opens a stream
    await limit.wait()       # the second one waits …
    limit.give_back()        # … until the first stream is closed
    limit.take()             # and opens its own, in the same step as it is woken
"""

from collections.abc import Callable
from itertools import islice

import anyio
from grpclib.const import Status

from grpclib_anyio._base.errors import GRPCError

__all__ = ["StreamLimit"]


class StreamLimit:
    """Counts a connection's open streams; callers wait in the order of arrival."""

    def __init__(self, limit: Callable[[], int], max_waiting: int) -> None:
        """Have none taken; ``limit`` says how many the peer admits now."""
        self.taken = 0
        self._limit = limit
        self._max_waiting = max_waiting
        # Bounded by ``max_waiting``; one more is refused.
        self._queue: dict[anyio.Event, None] = {}
        self._is_closed = False

    @property
    def waiting(self) -> int:
        """How many callers wait."""
        return len(self._queue)

    @property
    def is_free(self) -> bool:
        """Whether there is one, and nobody waits for it."""
        return not self._queue and self.taken < self._limit()

    async def wait(self) -> None:
        """Wait until there is one, or until they are closed; taking it is another step.

        A caller that is cancelled gives up its place.

        Raises:
            GRPCError: RESOURCE_EXHAUSTED, too many callers wait.

        """
        if len(self._queue) >= self._max_waiting:
            text = f"{self._max_waiting} calls wait for the server to admit them already"
            raise GRPCError(Status.RESOURCE_EXHAUSTED, text)
        while not self._is_closed:
            await self._wait_for_turn()
            if self.taken < self._limit():
                return

    async def _wait_for_turn(self) -> None:
        # A turn is no slot: only opening a stream takes one. So there is nothing to give back
        # when a task is cancelled here, except the turn: it goes to the next in the queue.
        turn = anyio.Event()
        self._queue[turn] = None
        self.admit()
        try:
            await turn.wait()
        except BaseException:
            del self._queue[turn]
            self.admit()
            raise
        del self._queue[turn]

    def take(self) -> None:
        """Take one; a server, too, counts its streams."""
        self.taken += 1

    def give_back(self) -> None:
        """Give one back, to the first in the queue."""
        self.taken -= 1
        self.admit()

    def admit(self) -> None:
        """Call as many of the waiting as there are slots, in the order of the queue."""
        if not self._queue:
            return
        for turn in islice(self._queue, max(0, self._limit() - self.taken)):
            turn.set()

    def close(self) -> None:
        """Wake all waiting callers, because the connection takes no new streams."""
        self._is_closed = True
        for turn in self._queue:
            turn.set()
