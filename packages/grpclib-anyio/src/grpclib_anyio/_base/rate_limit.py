"""How often a peer may do what costs us work and moves none of its calls forward.

A leaky bucket a kind of event: each event fills it by one, and it leaks at a steady rate. So a
burst is fine, because honest peers have bursts, and only a rate kept up without end is a flood.

This module does no IO and knows no event loop; the caller says what time it is.
"""

from dataclasses import dataclass

__all__ = ["LeakyBucket", "Rate"]


@dataclass(frozen=True)
class Rate:
    """So many events at once, and so many a second in the long run."""

    per_second: float
    burst: int


class LeakyBucket:
    """Counts events of one kind on one connection."""

    __slots__ = ("_level", "_rate", "_since", "name")

    def __init__(self, name: bytes, rate: Rate) -> None:
        """Start with nothing spent; the peer is told ``name`` when it overdraws."""
        self.name = name
        self._rate = rate
        self._level = 0.0
        self._since = 0.0

    def allow(self, now: float) -> bool:
        """Take note of an event at ``now`` (seconds), and return whether it was permitted."""
        leaked = (now - self._since) * self._rate.per_second
        self._level = max(0.0, self._level - leaked) + 1
        self._since = now
        return self._level <= self._rate.burst
