"""How a server lets go of its connections without breaking a call (RFC 9113 § 6.8).

A client may have sent a request that we have not seen when we say GOAWAY. So we say it twice. The
first one announces the end: it names the highest stream number there is, and refuses nothing. The
second one follows when a PING has made its way to the client and back. It names the last stream
that came. A request that comes after that is refused unprocessed, and the client may try it
elsewhere. For example::

    server                                  client
    GOAWAY(2^31 - 1), PING  ──────▶
                            ◀──────         HEADERS(7), on its way already
                            ◀──────         PING's answer; no new requests
    GOAWAY(7)               ──────▶
    the answer on stream 7  ──────▶
                            ◀──────         closes the connection

A :class:`Lifetime` does that for one connection, when it is old enough or is told to. A
:class:`Drain` tells all connections of a server.
"""

from collections.abc import Generator
from contextlib import contextmanager
from random import uniform

import anyio

from grpclib_anyio._base.config import Configuration
from grpclib_anyio._base.errors import TerminatedError
from grpclib_anyio._base.trio_io import current_time
from grpclib_anyio._connection.connection import Connection

__all__ = ["Drain", "Lifetime"]

#: Between the two GOAWAYs, if the client does not answer the PING.
_ROUND_TRIP_TIMEOUT = 5.0
#: gRFC A9: connections that were made together do not end together.
_JITTER = 0.1


class Lifetime:
    """A server's connection from its first call to its last."""

    def __init__(self, connection: Connection, config: Configuration) -> None:
        """Start counting the age of ``connection``."""
        self._connection = connection
        self._config = config
        self._grace = _or_forever(config.max_connection_age_grace)
        age = _or_forever(config.max_connection_age) * uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - spreads clients, no secret
        self._until_retired = anyio.CancelScope(deadline=current_time() + age)
        self._until_cut = anyio.CancelScope()

    def drain(self, grace: float) -> None:
        """Let the connection end when its calls have, and after ``grace`` seconds at most."""
        self._until_cut.deadline = min(self._until_cut.deadline, current_time() + grace)
        self._until_retired.cancel()

    async def run(self) -> None:
        """Wait until the connection is closed, or has nothing to stay for.

        Calls may be left when its grace is over; the caller then cancels them. It closes the
        connection in any case.
        """
        with self._until_retired:
            if not await self._is_ready() or not await self._becomes_idle():
                return
        with self._until_cut:
            self._until_cut.deadline = min(self._until_cut.deadline, current_time() + self._grace)
            await self._retire()

    async def _is_ready(self) -> bool:
        """Wait for the client's SETTINGS; False if the connection is lost first, or takes too long.

        So a client that says nothing is let go.
        """
        with anyio.move_on_after(self._config.connect_timeout):  # noqa: ASYNC912 - it may be ready
            try:
                await self._connection.wait_ready()
            except TerminatedError:
                return False
            return True
        return False

    async def _becomes_idle(self) -> bool:
        """Wait until there has been no call for too long; False if the connection is closed."""
        idle = _or_forever(self._config.max_connection_idle)
        due = self._connection.idle_since + idle
        while (now := current_time()) < due:
            with anyio.move_on_after(due - now):
                await self._connection.wait_closed()
                return False
            is_idle = not self._connection.has_calls
            due = idle + (self._connection.idle_since if is_idle else current_time())
        return True

    async def _retire(self) -> None:
        with anyio.move_on_after(_ROUND_TRIP_TIMEOUT):
            await self._connection.announce_goaway()
        await self._connection.retire()
        # The client closes first, because it may still have to read the last answer: a socket
        # that we close while the client sends us a WINDOW_UPDATE can lose it.
        with anyio.move_on_after(self._config.close_timeout):
            await self._connection.wait_closed()


class Drain:
    """What has to end when a server is told to end gently."""

    def __init__(self) -> None:
        """Begin with nothing to end; needs no event loop."""
        self._deadline: float | None = None
        self._openings: set[anyio.CancelScope] = set()
        self._lifetimes: set[Lifetime] = set()

    def begin(self, grace: float) -> None:
        """End everything that :meth:`opening` guards, and every connection within ``grace``.

        Called again, it can only shorten the grace.
        """
        deadline = current_time() + grace
        self._deadline = deadline if self._deadline is None else min(deadline, self._deadline)
        for scope in self._openings:
            scope.cancel()
        for lifetime in self._lifetimes:
            lifetime.drain(grace)

    @contextmanager
    def opening(self) -> Generator[None]:
        """Do what makes new connections, until the drain begins; that cancels it quietly."""
        with anyio.CancelScope() as scope:
            self._openings.add(scope)
            if self._deadline is not None:
                scope.cancel()
            try:
                yield
            finally:
                self._openings.discard(scope)

    async def wait_drained(self, connection: Connection, config: Configuration) -> None:
        """Wait until ``connection`` is closed, or has nothing to stay for."""
        lifetime = Lifetime(connection, config)
        self._lifetimes.add(lifetime)
        if self._deadline is not None:
            lifetime.drain(self._deadline - current_time())
        try:
            await lifetime.run()
        finally:
            self._lifetimes.discard(lifetime)


def _or_forever(seconds: float | None) -> float:
    return float("inf") if seconds is None else seconds
