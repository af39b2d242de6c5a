"""How long to wait before connecting again (gRPC's connection backoff document)."""

from random import uniform

__all__ = ["Backoff"]

_INITIAL = 1.0
_MULTIPLIER = 1.6
_JITTER = 0.2


class Backoff:
    """Delays that grow from 1 s by 1.6 each, at most ``limit``, give or take a fifth."""

    def __init__(self, limit: float) -> None:
        """Start anew; ``limit`` is in seconds, before jitter."""
        self._limit = limit
        self._current = _INITIAL

    def next(self) -> float:
        """Return the seconds from the start of the failed attempt to that of the next."""
        delay = min(self._current, self._limit)
        self._current = min(self._current * _MULTIPLIER, self._limit)
        return delay * uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - spreads clients, no secret

    def reset(self) -> None:
        """Start anew: a connection was made."""
        self._current = _INITIAL
