"""Whose turn it is: so many answers at a time, and a bounded queue of requests for one."""

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
from grpclib.const import Status

from relay_model.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

__all__ = ["Admission"]


class Admission:
    """Answers are given first come, first served.

    A full queue refuses at once, so that the caller can go elsewhere while there is time. In the
    queue a request has its deadline still, and cancelling it takes it out.
    """

    def __init__(self, max_concurrent: int = 1000, max_queued: int = 100) -> None:
        """Begin with nobody; needs no event loop.

        Args:
            max_concurrent: requests that can have their turn at the same time.
            max_queued: requests that can wait for one; the next is refused.

        """
        self._max_concurrent = max_concurrent
        self._max_queued = max_queued
        self._stream_limit = anyio.Semaphore(
            max_concurrent
        )  # hands slots on in the order of asking

    @property
    def taken(self) -> int:
        """How many have their turn."""
        return self._max_concurrent - self._stream_limit.value

    @property
    def queued(self) -> int:
        """How many wait."""
        return self._stream_limit.statistics().tasks_waiting

    @asynccontextmanager
    async def turn(self) -> "AsyncGenerator[None]":
        """Wait for a turn, which lasts as long as the context.

        Raises:
            BackendError: RESOURCE_EXHAUSTED, the queue is full.

        """
        if self._stream_limit.value == 0 and self.queued >= self._max_queued:
            detail = f"{self.taken} answers under way, {self.queued} requests waiting"
            raise BackendError(
                Status.RESOURCE_EXHAUSTED, "The model is busy: try again later.", detail=detail
            )
        async with self._stream_limit:
            yield
