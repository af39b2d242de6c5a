"""Keepalive of an HTTP/2 connection by PING frames (gRPC's keepalive document, gRFC A8 and A9).

:class:`Pinger` finds out that a peer is gone although its socket says nothing. For example, with
``keepalive_time=20`` and ``keepalive_timeout=10``, on a connection whose peer was cut off::

     0 s   the last bytes came from the peer
    20 s   PING
    30 s   no answer: the connection is lost, its calls fail with UNAVAILABLE

:class:`Strikes` keeps a server from being kept busy by clients that ping too often.
"""

from abc import abstractmethod
from math import inf
from typing import Protocol

import anyio

from grpclib_anyio._base.config import Configuration
from grpclib_anyio._base.notify import Notify

__all__ = ["Pinged", "Pinger", "Strikes"]


class Pinged(Protocol):
    """The connection, as far as keepalive is concerned."""

    @property
    @abstractmethod
    def last_received(self) -> float:
        """When bytes last came from the peer, on the loop's clock."""

    @property
    @abstractmethod
    def has_calls(self) -> bool:
        """Whether a stream is open."""

    @abstractmethod
    def send_ping(self) -> None:
        """Queue a PING frame."""


class Pinger:
    """Pings a silent peer; says so when it stays silent."""

    def __init__(self, connection: Pinged, config: Configuration) -> None:
        """Read the interval and the limits from ``config``; needs no running loop."""
        self._connection = connection
        self._config = config
        self._opened = Notify()
        self._pings_without_data = 0
        self._last_ping = -inf

    def data_sent(self) -> None:
        """Note that HEADERS or DATA were sent: the limits count pings without these."""
        self._pings_without_data = 0

    def call_opened(self) -> None:
        """Note that there is a new call: an idle connection is watched again from now on."""
        self._opened.notify()

    async def run(self, time: float) -> None:
        """Ping after ``time`` seconds of silence; return when the peer does not answer.

        Any bytes from the peer are an answer. A checkpoint.
        """
        is_alive = True
        while is_alive:
            await self._wait_for_silence(time)
            self._last_ping = anyio.current_time()
            self._pings_without_data += 1
            self._connection.send_ping()
            await anyio.sleep(self._config.keepalive_timeout)
            is_alive = self._connection.last_received >= self._last_ping

    async def _wait_for_silence(self, time: float) -> None:
        """Wait until a ping is due and permitted; not a checkpoint if it is already."""
        since = self._connection.last_received
        is_due = False
        while not is_due:
            if not (self._connection.has_calls or self._config.keepalive_permit_without_calls):
                await self._opened.wait()
                since = anyio.current_time()
            now = anyio.current_time()
            due = max(since, self._connection.last_received) + time
            is_due = due <= now and self._may_ping()
            if not is_due:
                await anyio.sleep_until(due if due > now else now + time)

    def _may_ping(self) -> bool:
        limit = self._config.http2_max_pings_without_data
        interval = self._config.http2_min_sent_ping_interval_without_data
        if self._pings_without_data == 0:
            return True
        return (limit == 0 or self._pings_without_data < limit) and (
            anyio.current_time() >= self._last_ping + interval
        )


class Strikes:
    """Counts the pings of a client that come too soon (gRFC A8, server enforcement)."""

    def __init__(self, config: Configuration) -> None:
        """Start without a strike."""
        self._interval = config.http2_min_recv_ping_interval_without_data
        self._limit = config.http2_max_ping_strikes
        self._count = 0
        self._last = -inf

    def data_sent(self) -> None:
        """Forgive everything: the client has a reason to ask whether we are there."""
        self._count = 0
        self._last = -inf

    def is_out(self) -> bool:
        """Count a ping, and return whether the client has had its last chance."""
        now = anyio.current_time()
        if now < self._last + self._interval:
            self._count += 1
        self._last = now
        return self._count > self._limit
