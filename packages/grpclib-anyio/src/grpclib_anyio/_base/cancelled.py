"""Whether the task that runs is to end: what tells its own cancellation from that of another.

On asyncio ``CancelledError`` says nothing about who is cancelled: a task that awaits another one,
which somebody cancels, gets the same error. For example, in a handler::

    await background_task       # raises CancelledError, and is_cancelled() is False
"""

import asyncio
import math

import anyio
from trio.lowlevel import in_trio_run

__all__ = ["is_cancelled", "is_scope_cancelled"]


def is_cancelled() -> bool:
    """Return whether the task that runs is to end, because of a scope around it or otherwise.

    Otherwise is on asyncio, where any code that has the task can cancel it, and it alone.
    """
    if is_scope_cancelled():
        return True
    task = None if in_trio_run() else asyncio.current_task()
    return task is not None and task.cancelling() > 0


def is_scope_cancelled() -> bool:
    """Return whether a scope around the code that runs is cancelled."""
    return anyio.current_effective_deadline() == -math.inf
