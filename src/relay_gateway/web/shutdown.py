"""The gateway's shutdown: answers may end, then the others are told, and browsers may read that.

From its first moment on, a new request is refused with 503, while everything still works: the
listening sockets, the connections, the event loop. What hypercorn does after that finds nothing to
cut off, unless a browser does not read. For example, with a grace of 30 s::

    await shutdown.run(30.0, drain=10.0)
    #   0 s   new requests get 503; open answers go on
    #  30 s   each open answer gets `event: error`, and its model RST_STREAM
    #  40 s   browsers that have not read that are cut off; it is over earlier if all have

    shutdown.skip()    # a second signal: open answers are told now, and nobody is waited for
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
        #: Once they are, an answer that begins is stopped as well.
        self.answers_are_stopped = False
        #: Requests of any kind that are not over, and came before it began: a steady stream of
        #: refused ones would look like an answer that goes on.
        self.requests = 0
        self._log = log
        self._waiting = trio.lowlevel.ParkingLot()
        self._skipped = False
        self._scope = trio.CancelScope()

    async def run(self, grace: float, drain: float) -> None:
        """Let requests end, stop the answers that have not, and wait until browsers have read that.

        Args:
            grace: seconds in which answers may still end.
            drain: seconds that browsers may take to read the last event of a stopped answer.

        """
        self.has_begun = True
        await self._until_idle(grace)
        self.stop_answers()
        await self._until_idle(drain)

    def stop_answers(self) -> None:
        """Stop every open answer; from now on no other one begins."""
        self.has_begun = self.answers_are_stopped = True
        for relay in self._log.open:
            relay.stop()

    def skip(self) -> None:
        """Stop every open answer, and end :meth:`run` without waiting for anything more."""
        self._skipped = True
        self.stop_answers()
        self._scope.cancel()

    async def _until_idle(self, seconds: float) -> None:
        """Wait until no request is left, or for so long; not a checkpoint if there is none."""
        with trio.move_on_after(seconds) as self._scope:  # noqa: ASYNC912 - there may be nothing to wait for
            while self.requests and not self._skipped:
                await self._waiting.park()

    def request_ended(self) -> None:
        """Count a request no more."""
        self.requests -= 1
        self._waiting.unpark_all()
