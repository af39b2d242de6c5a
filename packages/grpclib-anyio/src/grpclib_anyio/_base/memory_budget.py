"""How many bytes of its callers' a server holds, over all of its connections.

Each stream holds little, and each connection holds little for each of its streams. Many of them
hold much: 100 messages of 4 KiB that inflate to 4 MiB each are 400 MiB. So what they hold together
is counted. No connection has more than half of it, and each has a little that nobody can take from
it. For example, with one client that takes what it can get::

    budget = MemoryBudget(limit=128 * MIB)
    greedy, small = Holding(Share(budget)), Holding(Share(budget))
    greedy.add(64 * MIB)
    greedy.room          # 0: its next message is refused
    small.room           # 64 MiB, and never less than 256 KiB less what it holds

This module does no IO and knows no event loop.
"""

__all__ = ["Holding", "MemoryBudget", "Share"]

#: Bytes that each connection may hold although all others hold too much.
_GUARANTEED = 256 * 1024
#: A connection may hold this part of the budget.
_LARGEST_SHARE = 2


class MemoryBudget:
    """The bytes that all calls of one server hold, and may hold."""

    __slots__ = ("limit", "used")

    def __init__(self, limit: int) -> None:
        """Have nothing held yet; ``limit`` is in bytes."""
        self.limit = limit
        #: Bytes that are held now.
        self.used = 0


class Share:
    """What the calls of one connection hold of a budget."""

    __slots__ = ("_budget", "_used")

    def __init__(self, budget: MemoryBudget) -> None:
        """Hold nothing yet."""
        self._budget = budget
        self._used = 0

    @property
    def room(self) -> int:
        """Bytes that there are left for this connection."""
        budget = self._budget
        shared = min(budget.limit - budget.used, budget.limit // _LARGEST_SHARE - self._used)
        return max(0, shared, _GUARANTEED - self._used)

    def add(self, size: int) -> None:
        """Hold ``size`` bytes more, or fewer if it is negative; look at ``room`` before."""
        self._used += size
        self._budget.used += size


class Holding:
    """What one call holds of its connection's share; it is given back when the call ends."""

    __slots__ = ("_share", "_size")

    def __init__(self, share: Share) -> None:
        """Hold nothing yet."""
        self._share = share
        self._size = 0

    @property
    def room(self) -> int:
        """Bytes that there are left for this call."""
        return self._share.room

    def add(self, size: int) -> None:
        """Hold ``size`` bytes more, or fewer if it is negative; look at ``room`` before."""
        self._size += size
        self._share.add(size)

    def give_back_all(self) -> None:
        """Hold nothing any more; harmless if that is so already."""
        self.add(-self._size)
