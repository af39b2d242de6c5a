"""The clock and the events of the event loop that runs, at trio's own price when that is trio.

anyio's events wrap trio's and cost as much again, once for each token, and anyio's clock looks the
event loop up twice. On asyncio, anyio's events are used as they are. For example::

    changed = event()        # a trio.Event under trio, an anyio.Event under asyncio
    started = current_time() # seconds, on the clock of the loop that runs
"""

import asyncio

import anyio
import trio
from trio.lowlevel import in_trio_run

__all__ = ["Event", "current_time", "event"]

Event = anyio.Event | trio.Event


def event() -> Event:
    """Make an event of the loop that runs."""
    return trio.Event() if in_trio_run() else anyio.Event()


def current_time() -> float:
    """Return the time on the clock of the loop that runs, in seconds.

    Also in a callback of asyncio's, such as a signal handler or what the end of a call that was
    garbage runs in: anyio knows no loop there, because there is no task.
    """
    return trio.current_time() if in_trio_run() else asyncio.get_running_loop().time()
