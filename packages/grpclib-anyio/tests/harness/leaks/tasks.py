"""What belongs to the event loop: tasks and asynchronous generators."""

import asyncio
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import AsyncGeneratorType
from typing import Any
from weakref import WeakSet

import anyio.lowlevel
import trio

__all__ = ["Generators", "Task", "all_tasks", "tasks_since"]

Task = trio.lowlevel.Task | asyncio.Task[object]

#: Turns of the event loop in which a task that was told to end has to end.
_TURNS = 50


def all_tasks() -> list[Task]:
    """List those of the loop that runs in this thread, on trio the system's too, parents first."""
    if not trio.lowlevel.in_trio_run():
        return list(asyncio.all_tasks())
    root = trio.lowlevel.current_root_task()
    found = [root] if root else []
    for task in found:
        found += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return list(found)


async def tasks_since(before: list[Task]) -> list[str]:
    """Name the tasks that have been started since and do not end by themselves."""
    for _ in range(_TURNS):
        if set(all_tasks()) <= set(before):
            return []
        await anyio.lowlevel.checkpoint()
    return [f"task {task!r}" for task in set(all_tasks()) - set(before)]


class Generators:
    """The asynchronous generators that are begun in this thread from now on."""

    def __init__(self) -> None:
        self._begun: WeakSet[AsyncGeneratorType[Any, Any]] = WeakSet()
        self._dropped: list[str] = []

    @contextmanager
    def watched(self) -> Generator[None]:
        """Stand between the interpreter and the event loop, which closes what is dropped."""
        begin, drop = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(_both(self._begun.add, begin), _both(self._note_dropped, drop))
        try:
            yield
        finally:
            sys.set_asyncgen_hooks(begin, drop)

    def leaks(self) -> list[str]:
        """Name those that were dropped before their end, or wait to be continued."""
        waiting = [one for one in self._begun if one.ag_frame and not one.ag_running]
        return [
            *self._dropped,
            *(f"generator that was not closed: {one.__qualname__}" for one in waiting),
        ]

    def _note_dropped(self, generator: AsyncGeneratorType[Any, Any]) -> None:
        self._dropped.append(f"generator that was dropped: {generator.__qualname__}")


def _both(
    first: Callable[[Any], object], second: Callable[[Any], object] | None
) -> Callable[[Any], None]:
    def both(generator: AsyncGeneratorType[Any, Any]) -> None:
        first(generator)
        if second is not None:
            second(generator)

    return both
