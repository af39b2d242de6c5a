"""How long a connection may be idle: the deadline of the scope in which it waits for bytes.

hypercorn starts a task for that before and after each request, and one to start it; for a short
answer this was a tenth of all the work. Moving a deadline needs no task, and is done at once, so
it cannot be left half done by a cancelled one.

Only the wait is in the scope, not what is done with the bytes: a request that is there when the
time is up is answered. After an event loop that stood still, many are.
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
            timer.expire_nowait()


class IdleTimer:
    """Ends a connection that is idle for too long; in place of hypercorn's ``SingleTask``."""

    def __init__(self, terminated: Terminated, seconds: float) -> None:
        """Count so many seconds from each :meth:`restart`."""
        self._terminated = terminated
        self._seconds = seconds
        self._deadline = inf
        self._waiting = trio.CancelScope()

    def waiting(self) -> trio.CancelScope:
        """Make a scope for one wait for bytes; it is cancelled when the time is up."""
        self._waiting = trio.CancelScope(deadline=self._deadline)
        if self._terminated.is_set() and self in self._terminated.idle:
            self._waiting.cancel()
        return self._waiting

    def expire_nowait(self) -> None:
        """Have the time be up."""
        self._waiting.cancel()

    async def restart(self, *_: object) -> None:  # noqa: ASYNC124, ASYNC910 - hypercorn's own
        """Count from now, as the connection is idle; not a checkpoint.

        What hypercorn would run in a task, and where, does not matter.
        """
        self._deadline = self._waiting.deadline = trio.current_time() + self._seconds
        self._terminated.idle.add(self)
        if self._terminated.is_set():
            self.expire_nowait()

    async def stop(self) -> None:  # noqa: ASYNC124, ASYNC910 - likewise
        """Stop counting: a request has come; not a checkpoint."""
        self.stop_nowait()

    def stop_nowait(self) -> None:
        """Stop counting, also for good."""
        self._deadline = self._waiting.deadline = inf
        self._terminated.idle.discard(self)
