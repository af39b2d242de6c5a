"""The gateway's shutdown: told to the answers first, and not over before the requests are.

Every open answer ends with an event that says why, and a new request is refused with 503, while
everything still works: the listening sockets, the connections, the loop. What hypercorn does
after that finds nothing that it could cut off, unless a browser does not read.
"""

from typing import Protocol

import trio

__all__ = ["Answer", "Shutdown"]


class Answer(Protocol):
    """What a shutdown is told to."""

    def stop(self) -> None:
        """End soon, and say why."""


class Shutdown:
    """Whether the gateway stops, who has to know, and what it waits for."""

    def __init__(self) -> None:
        """Have no request yet."""
        #: Once it has, requests are refused.
        self.has_begun = False
        #: Requests of any kind that are not over.
        self.requests = 0
        self._answers: set[Answer] = set()
        self._waiting = trio.lowlevel.ParkingLot()

    def begin(self) -> None:
        """Tell every answer, and from now on every new one."""
        self.has_begun = True
        for answer in self._answers:
            answer.stop()

    async def until_idle(self) -> None:
        """Wait until no request is left; not a checkpoint if there is none."""
        while self.requests:
            await self._waiting.park()

    def add(self, answer: Answer) -> None:
        """Have an answer told; it is at once when the shutdown has begun."""
        self._answers.add(answer)
        if self.has_begun:
            answer.stop()

    def discard(self, answer: Answer) -> None:
        """Have an answer told no more."""
        self._answers.discard(answer)

    def request_began(self) -> None:
        """Count a request."""
        self.requests += 1

    def request_ended(self) -> None:
        """Count it no more."""
        self.requests -= 1
        self._waiting.unpark_all()
