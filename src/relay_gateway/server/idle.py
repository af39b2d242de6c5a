"""How long a connection may be idle: the deadline of the scope in which it reads.

hypercorn starts a task for that before and after each request, and one to start it; for a short
answer this was a tenth of all the work. Moving a deadline needs no task, and is done at once, so
it cannot be left half done by a cancelled one.

The scope has it during the wait for bytes only, not while something is done with them: a request
that is there when the time is up is answered. After an event loop that stood still, many are.
"""

from math import inf

import trio
from hypercorn.trio.worker_context import EventWrapper

__all__ = ["IdleTimer", "Terminated"]


class Terminated(EventWrapper):
    """The event that hypercorn sets when it stops: it ends the connections that are idle."""

    def __init__(self) -> None:
        """Begin with none."""
        super().__init__()
        #: Those of the idle connections.
        self.idle: set[IdleTimer] = set()

    async def set(self) -> None:
        """Set it; not a checkpoint."""
        await super().set()
        for timer in self.idle:
            timer.expire()


class IdleTimer:
    """Ends a connection that is idle for too long; in place of hypercorn's ``SingleTask``."""

    def __init__(self, terminated: Terminated, seconds: float) -> None:
        """Count so many seconds from each :meth:`restart`."""
        self._terminated = terminated
        self._seconds = seconds
        self._deadline = inf
        self._scope = trio.CancelScope()
        self._is_waiting = False

    def scope(self) -> trio.CancelScope:
        """Make a scope to read in; a wait for bytes in it is cancelled when the time is up."""
        self._scope, self._is_waiting = trio.CancelScope(), False
        return self._scope

    def wait_begins(self) -> None:
        """Take note that a wait for bytes begins, in the scope."""
        self._is_waiting = True
        self._set_deadline(self._deadline)
        if self._terminated.is_set() and self in self._terminated.idle:
            self.expire()

    def wait_ends(self) -> None:
        """Take note that the wait is over; the time may be up nevertheless."""
        self._is_waiting = False
        self._set_deadline(inf)

    def expire(self) -> None:
        """Have the time be up."""
        if self._is_waiting:
            self._scope.cancel()

    async def restart(self, *_: object) -> None:
        """Count from now, as the connection is idle; not a checkpoint.

        What hypercorn would run in a task, and where, does not matter.
        """
        self._count_to(trio.current_time() + self._seconds)
        self._terminated.idle.add(self)
        if self._terminated.is_set():
            self.expire()

    async def stop(self) -> None:
        """Stop counting: a request has come; not a checkpoint."""
        self.stop_nowait()

    def stop_nowait(self) -> None:
        """Stop counting, also for good."""
        self._count_to(inf)
        self._terminated.idle.discard(self)

    def _count_to(self, deadline: float) -> None:
        self._deadline = deadline
        if self._is_waiting:
            self._set_deadline(deadline)

    def _set_deadline(self, deadline: float) -> None:
        if self._scope.deadline != deadline:  # trio has more to do than to look
            self._scope.deadline = deadline
