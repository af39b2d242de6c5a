"""The gateway's shutdown: answers are told first, and it is over when the requests are.

Every open answer ends with an event that says why, and a new request is refused with 503, while
everything still works: the listening sockets, the connections, the event loop. What hypercorn does
after that finds nothing to cut off, unless a browser does not read. For example::

    shutdown.begin()               # each open answer gets `event: error`, and its model RST_STREAM
    await shutdown.until_idle()    # no request is left
"""

import trio

from relay_gateway.web.accounting import RequestLog

__all__ = ["Shutdown"]


class Shutdown:
    """Whether the gateway stops, and what it waits for."""

    def __init__(self, log: RequestLog) -> None:
        """Have no request yet; ``log`` knows the answers that are open."""
        #: Once it has, requests are refused.
        self.has_begun = False
        #: Requests of any kind that are not over.
        self.requests = 0
        self._log = log
        self._waiting = trio.lowlevel.ParkingLot()

    def begin(self) -> None:
        """Stop every open answer; from now on no other one begins."""
        self.has_begun = True
        for relay in self._log.open:
            relay.stop()

    async def until_idle(self) -> None:
        """Wait until no request is left; not a checkpoint if there is none."""
        while self.requests:
            await self._waiting.park()

    def request_ended(self) -> None:
        """Count a request no more."""
        self.requests -= 1
        self._waiting.unpark_all()
