"""How long to wait before connecting again (gRPC's connection backoff document).

For example, with an initial delay of 1 s and a limit of 120 s, before up to a
fifth is added or taken away::

    failures    1    2    3    4    5    …   11   12
    delay (s)   1   1.6  2.6  4.1  6.6   …  110  120
"""

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
        """Start with ``initial``; times are in seconds, ``choose`` takes a number between two."""
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
        """Start with ``initial`` again: a connection was made."""
        self._current = min(self._initial, self._limit)
