"""The tasks of the event loop that runs in this thread."""

import asyncio

import trio

__all__ = ["Task", "all_tasks"]

Task = trio.lowlevel.Task | asyncio.Task[object]


def all_tasks() -> list[Task]:
    """List them, on trio those of the system too, parents first."""
    if not trio.lowlevel.in_trio_run():
        return list(asyncio.all_tasks())
    root = trio.lowlevel.current_root_task()
    found = [root] if root else []
    for task in found:
        found += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return list(found)
