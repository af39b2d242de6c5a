"""How long to wait before connecting again (gRPC's connection backoff document)."""

from collections.abc import Callable
from random import uniform

__all__ = ["Backoff"]

_MULTIPLIER = 1.6
_JITTER = 0.2


class Backoff:
    """Delays that grow from ``initial`` by 1.6 each, at most ``limit``, give or take a fifth.

    The fifth spreads the clients of a server that comes back; gRPC's document adds it after the
    limit, so that it also spreads those that have reached it.
    """

    def __init__(
        self, initial: float, limit: float, choose: Callable[[float, float], float] = uniform
    ) -> None:
        """Start anew; the times are in seconds, ``choose`` takes a number between two."""
        self._initial = initial
        self._limit = limit
        self._choose = choose
        self._current = min(initial, limit)

    def next(self) -> float:
        """Return the seconds from the start of the failed attempt to that of the next."""
        delay = self._current
        self._current = min(delay * _MULTIPLIER, self._limit)
        return delay * self._choose(1 - _JITTER, 1 + _JITTER)

    def reset(self) -> None:
        """Start anew: a connection was made."""
        self._current = min(self._initial, self._limit)
