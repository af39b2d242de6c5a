"""Keepalive of an HTTP/2 connection by PING frames (gRPC's keepalive document, gRFC A8 and A9).

:class:`Pinger` finds out that a peer is gone though its socket says nothing. :class:`Strikes`
keeps a server from being kept busy by clients that find out too often.
"""

# grpclib gives the settings of keepalive private names.
# pyright: reportPrivateUsage=false

from abc import abstractmethod
from collections.abc import Callable
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
    def ping_nowait(self) -> None:
        """Queue a PING frame."""


class Pinger:
    """Pings a silent peer; says so when it stays silent."""

    def __init__(self, connection: Pinged, config: Configuration) -> None:
        """Read the interval and the limits from ``config``; needs no running loop."""
        self._connection = connection
        self._config = config
        self._opened = Notify()
        self._pings_without_data = 0
        self._last_ping = float("-inf")

    def data_sent(self) -> None:
        """Take note of a HEADERS or DATA frame: the limits count pings without these."""
        self._pings_without_data = 0

    def call_opened(self) -> None:
        """Take note of a new call: an idle connection is watched again from now on."""
        self._opened.notify()

    async def run(self, time: float, on_dead: Callable[[], None]) -> None:
        """Ping after ``time`` seconds of silence; call ``on_dead`` when there is no answer.

        Any bytes from the peer are an answer. Returns after ``on_dead``; else until cancelled.
        """
        while True:
            await self._wait_for_silence(time)
            self._last_ping = anyio.current_time()
            self._pings_without_data += 1
            self._connection.ping_nowait()
            await anyio.sleep(self._config._keepalive_timeout)  # noqa: SLF001 - grpclib's name
            if self._connection.last_received < self._last_ping:
                on_dead()
                return

    async def _wait_for_silence(self, time: float) -> None:
        since = self._connection.last_received
        while True:
            if not (self._connection.has_calls or self._permitted_without_calls):
                await self._opened.wait()
                since = anyio.current_time()
            due = max(since, self._connection.last_received) + time
            if due > anyio.current_time():
                await anyio.sleep_until(due)
            elif self._may_ping():
                return
            else:
                await anyio.sleep(time)

    @property
    def _permitted_without_calls(self) -> bool:
        return self._config._keepalive_permit_without_calls  # noqa: SLF001 - grpclib's name

    def _may_ping(self) -> bool:
        config = self._config
        limit = config._http2_max_pings_without_data  # noqa: SLF001 - grpclib's name
        interval = config._http2_min_sent_ping_interval_without_data  # noqa: SLF001 - as above
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
        self._last = float("-inf")

    def data_sent(self) -> None:
        """Forgive everything: the client has a reason to ask whether we are there."""
        self._count = 0
        self._last = float("-inf")

    def is_out(self) -> bool:
        """Take note of a ping and return whether the client has had its last chance."""
        now = anyio.current_time()
        if now < self._last + self._interval:
            self._count += 1
        self._last = now
        return self._count > self._limit
