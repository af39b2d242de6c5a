"""Admission control: a limit on answers in progress, and a bounded queue for further requests.

For example, with two answers at a time and a queue of eight::

    admission = Admission(max_concurrent=2, max_queued=8)
    async with admission.admit() as place:
        ...  # one of at most two

The eleventh request that comes at the same time is refused.
"""

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
from grpclib.const import Status

from relay_model.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

__all__ = ["Admission", "Place"]


class Place:
    """The place of one admitted request; it is free again when the admission's context ends."""

    def __init__(self, release: "Callable[[], None]") -> None:
        """Have a place that ``release`` frees."""
        self.is_kept = False
        self._release = release

    def keep(self) -> "Callable[[], None]":
        """Keep the place beyond the context, until the returned function is called, once.

        For example, for a thread that goes on when its request has been cancelled.
        """
        self.is_kept = True
        return self._release


class Admission:
    """Admits requests in the order of arrival.

    A request that finds the queue full is refused at once, so that the caller can go elsewhere
    while there is time. A queued request keeps its deadline, and cancelling it removes it from the
    queue.
    """

    def __init__(self, max_concurrent: int = 1000, max_queued: int = 100) -> None:
        """Begin without requests; needs no event loop.

        Args:
            max_concurrent: requests that are admitted at a time.
            max_queued: requests that wait for admission; the next one is refused.

        """
        self.max_concurrent = max_concurrent
        self._max_queued = max_queued
        self._places = anyio.Semaphore(max_concurrent)  # first in, first out

    @property
    def admitted(self) -> int:
        """The number of requests that are admitted now."""
        return self.max_concurrent - self._places.value

    @property
    def queued(self) -> int:
        """The number of requests that wait for admission now."""
        return self._places.statistics().tasks_waiting

    @asynccontextmanager
    async def admit(self) -> "AsyncGenerator[Place]":
        """Wait for admission; it ends with the context, unless the place is kept.

        Entering is a checkpoint, unless the request is refused; leaving is not.

        Raises:
            BackendError: RESOURCE_EXHAUSTED, the queue is full.

        """
        if self._places.value == 0 and self.queued >= self._max_queued:
            detail = f"{self.admitted} answers in progress, {self.queued} requests queued"
            raise BackendError(
                Status.RESOURCE_EXHAUSTED, "The model is busy: try again later.", detail=detail
            )
        await self._places.acquire()
        place = Place(self._places.release)
        try:
            yield place
        finally:
            if not place.is_kept:
                self._places.release()
