"""How often a peer may do what costs us work and moves none of its calls forward.

There is a leaky bucket for each kind of event. Each event fills it by one, and it leaks at a steady
rate. A burst is fine, because honest peers have bursts. Only a rate that is kept up is a flood. For
example, with ``Rate(per_second=10, burst=100)``::

    100 events at once            allowed
    ten more a second later       allowed: ten have leaked
    20 events a second            allowed for ten seconds

Some events answer to work of ours, and that work pays for them: see :class:`EarnedBucket`.

This module does no IO and knows no event loop; the caller says what time it is.
"""

from dataclasses import dataclass

__all__ = ["Credit", "EarnedBucket", "LeakyBucket", "Rate"]


@dataclass(frozen=True)
class Rate:
    """``burst`` events at once are fine, and ``per_second`` in the long run."""

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
        """Count an event at ``now`` (seconds), and return whether it is within the rate."""
        leaked = (now - self._since) * self._rate.per_second
        self._level = max(0.0, self._level - leaked) + 1
        self._since = now
        return self._level <= self._rate.burst


class Credit:
    """Counts the events that work of ours has paid for.

    For example, we send a DATA frame, and the peer answers by WINDOW_UPDATE frames: ten of them are
    paid for, if ``price`` is ten.
    """

    __slots__ = ("_paid", "_price")

    def __init__(self, price: int) -> None:
        """Let each piece of work pay for ``price`` events."""
        self._price = price
        self._paid = 0

    def pays(self, work: int) -> bool:
        """Return whether an event is paid for by the ``work`` done since the beginning."""
        if self._paid >= work * self._price:
            return False
        self._paid += 1
        return True


class EarnedBucket(LeakyBucket):
    """Counts only those events that no work of ours has paid for, see :class:`Credit`."""

    __slots__ = ("_credit",)

    def __init__(self, name: bytes, rate: Rate, price: int) -> None:
        """Let each piece of work pay for ``price`` events."""
        super().__init__(name, rate)
        self._credit = Credit(price)

    def allow_for(self, work: int, now: float) -> bool:
        """Count an event at ``now``, when ``work`` pieces had been done since the beginning."""
        return self._credit.pays(work) or self.allow(now)
