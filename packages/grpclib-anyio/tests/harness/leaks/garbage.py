"""Objects of ours that only the garbage collector finds.

What is made for a call goes with the last reference to it: a pause of the collector is a pause of
every stream, and what it finds late holds memory until then. A connection, of which there are few,
may be a cycle; what is made for each call may not be in one, or be held by one.
"""

import gc
from collections import Counter
from typing import TYPE_CHECKING, Any

from harness.leaks.registry import OF_A_CALL

if TYPE_CHECKING:
    from weakref import ReferenceType

__all__ = ["Garbage", "collect"]


def collect() -> None:
    """Collect what has become garbage since the last time.

    What is alive now is not looked at again: a millisecond instead of a hundred.
    """
    gc.collect()
    gc.freeze()


class Garbage:
    """Notes the instances that die while the collector runs, by itself or because it is told to."""

    def __init__(self) -> None:
        """Begin to look; end with :meth:`leaks`."""
        self._alive: list[tuple[str, ReferenceType[Any]]] = []
        self._found = Counter[str]()
        gc.callbacks.append(self._look)

    def leaks(self) -> list[str]:
        """Collect what there is, and say what has been found."""
        collect()
        gc.callbacks.remove(self._look)
        return [f"garbage in a cycle: {count} {name}" for name, count in self._found.items()]

    def _look(self, phase: str, _info: dict[str, int]) -> None:
        if phase == "start":
            self._alive = [(all_.name, one) for all_ in OF_A_CALL for one in all_.references()]
        else:
            self._found.update(name for name, one in self._alive if one() is None)
            self._alive = []
