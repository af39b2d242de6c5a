"""How long a connection may be idle: the deadline of the scope in which it is read.

hypercorn starts a task for that before and after each request, and one to start it; for a short
answer this was a tenth of all the work. Moving a deadline needs no task, and is done at once, so
it cannot be left half done by a cancelled one.
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
        #: What the idle connections are read in.
        self.idle: set[trio.CancelScope] = set()

    async def set(self) -> None:
        """Set it; not a checkpoint."""
        await super().set()
        for scope in self.idle:
            scope.cancel()


class IdleTimer:
    """Ends a connection that is idle for too long; in place of hypercorn's ``SingleTask``."""

    def __init__(self, reading: trio.CancelScope, terminated: Terminated, seconds: float) -> None:
        """Cancel ``reading`` once the connection has been idle for so many seconds."""
        self._reading = reading
        self._terminated = terminated
        self._seconds = seconds

    async def restart(self, *_: object) -> None:  # noqa: ASYNC124, ASYNC910 - hypercorn's own
        """Count from now, as the connection is idle; not a checkpoint.

        What hypercorn would run in a task, and where, does not matter.
        """
        self._reading.deadline = trio.current_time() + self._seconds
        self._terminated.idle.add(self._reading)
        if self._terminated.is_set():
            self._reading.cancel()

    async def stop(self) -> None:  # noqa: ASYNC124, ASYNC910 - likewise
        """Stop counting: a request has come; not a checkpoint."""
        self.stop_nowait()

    def stop_nowait(self) -> None:
        """Stop counting, also for good."""
        self._reading.deadline = inf
        self._terminated.idle.discard(self._reading)
