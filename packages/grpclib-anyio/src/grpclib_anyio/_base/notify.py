"""The one way for a task of the transport to wait for another to change something.

For example, a reader of an inbox and what fills it::

    while not inbox.messages:        # in the call's task
        await received.wait()
    inbox.feed(data)                 # in the connection's reader
    received.notify()
"""

from grpclib_anyio._base.trio_io import Event, event

__all__ = ["Notify"]


class Notify:
    """A condition without a lock: ``notify`` wakes all tasks that wait at that moment.

    There is no state to miss: a waiter looks at what it waits for, finds it wanting, and waits,
    with no await in between. It looks again afterwards, because more than one may have been
    woken. A waiter that is cancelled leaves nothing behind.
    """

    __slots__ = ("_event",)

    def __init__(self) -> None:
        """Make a wake-up that nobody waits for; needs no running event loop."""
        self._event: Event | None = None

    @property
    def is_awaited(self) -> bool:
        """Whether a task waits now."""
        return self._event is not None and self._event.statistics().tasks_waiting > 0

    async def wait(self) -> None:
        """Wait for the next ``notify``; a checkpoint, and safe to cancel."""
        if self._event is None:
            self._event = event()
        await self._event.wait()

    def notify(self) -> None:
        """Wake every task that waits; plain call, does nothing when there is none."""
        if self._event is not None:
            self._event.set()
            self._event = None
