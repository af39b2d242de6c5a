"""How long a connection may be idle: the deadline of the scope in which it reads.

hypercorn starts a task for this before and after each request, and one more task to start it. For a
short answer that was a tenth of all the work. Moving a deadline needs no task and happens at once,
so a cancelled task cannot leave it half done::

    read scope    deadline = inf            while bytes are being handled
                  deadline = last + 5 s     while it waits for bytes, with no request open

The scope has the deadline only during the wait for bytes. So a request that has arrived when the
time is up is still answered. For example, after an event loop that was blocked, many have.
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
        #: The timers of the connections that are idle.
        self.idle: set[IdleTimer] = set()
        #: Idle connections end, unless their first request may still be on its way.
        self.ends_idle = False

    async def set(self) -> None:
        """Set it; not a checkpoint."""
        await super().set()
        for timer in self.idle:
            timer.expire()

    def end_idle(self) -> None:
        """End the connections that are idle, and those that become idle, after a last request.

        hypercorn refuses no request for it, as it does once this event is set.
        """
        self.ends_idle = True
        for timer in self.idle:
            timer.expire_if_due()


class IdleTimer:
    """Ends a connection that is idle for too long; replaces hypercorn's ``SingleTask``."""

    def __init__(self, terminated: Terminated, seconds: float) -> None:
        """Let a connection be idle for ``seconds`` from each :meth:`restart`."""
        self._terminated = terminated
        self._seconds = seconds
        self._deadline = inf
        self._scope = trio.CancelScope()
        self._is_waiting = False
        #: No request has come yet.
        self._is_fresh = True

    def scope(self) -> trio.CancelScope:
        """Make a scope to read in; a wait for bytes in it is cancelled when the time is up."""
        self._scope, self._is_waiting = trio.CancelScope(), False
        return self._scope

    def wait_begins(self) -> None:
        """Begin a wait for bytes, in the scope."""
        self._is_waiting = True
        self._set_deadline(self._deadline)
        if self in self._terminated.idle:
            self.expire_if_due()

    def wait_ends(self) -> None:
        """End the wait; the time may be up all the same."""
        self._is_waiting = False
        self._set_deadline(inf)

    def expire(self) -> None:
        """End the connection if it waits for bytes."""
        if self._is_waiting:
            self._scope.cancel()

    def expire_if_due(self) -> None:
        """End the connection if it waits for bytes, and idle connections end now."""
        if self._terminated.is_set() or (self._terminated.ends_idle and not self._is_fresh):
            self.expire()

    async def restart(self, *_: object) -> None:
        """Count from now, because the connection is idle; not a checkpoint.

        The arguments are hypercorn's, for the task that it would start.
        """
        self._count_to(trio.current_time() + self._seconds)
        self._terminated.idle.add(self)
        self.expire_if_due()

    async def stop(self) -> None:
        """Stop counting: a request has come; not a checkpoint."""
        self._is_fresh = False
        self.stop_nowait()

    def stop_nowait(self) -> None:
        """Stop counting; a plain call."""
        self._count_to(inf)
        self._terminated.idle.discard(self)

    def _count_to(self, deadline: float) -> None:
        self._deadline = deadline
        if self._is_waiting:
            self._set_deadline(deadline)

    def _set_deadline(self, deadline: float) -> None:
        if self._scope.deadline != deadline:  # setting it costs trio more than looking
            self._scope.deadline = deadline
