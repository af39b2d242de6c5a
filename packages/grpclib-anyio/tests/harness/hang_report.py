"""Where every task waits, for a test that ran into its timeout.

The stack of the event loop's thread ends in `epoll_wait` whatever hangs, so it tells nothing.
"""

import asyncio
import traceback
from collections.abc import Iterator
from types import FrameType

import trio

# Where a coroutine, a generator and an asynchronous generator keep their frame and what they await.
FRAME_AND_AWAITED = (
    ("cr_frame", "cr_await"),
    ("gi_frame", "gi_yieldfrom"),
    ("ag_frame", "ag_await"),
)


def task_stacks() -> Iterator[str]:
    """Describe each task of the loop that runs in this thread; none if none does."""
    yield from _trio_stacks()
    yield from _asyncio_stacks()


def _trio_stacks() -> Iterator[str]:
    """Describe trio's tasks, parents first."""
    try:
        root = trio.lowlevel.current_root_task()
    except RuntimeError:
        return
    tasks = [root] if root else []
    while tasks:
        task = tasks.pop()
        tasks += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
        yield _described(task.name, task.iter_await_frames())


def _asyncio_stacks() -> Iterator[str]:
    """Describe asyncio's tasks."""
    try:
        tasks = asyncio.all_tasks()
    except RuntimeError:
        return
    for task in tasks:
        yield _described(task.get_name(), _await_frames(task.get_coro()))


def _await_frames(awaited: object) -> Iterator[tuple[FrameType, int]]:
    """Walk from a coroutine to what it waits for, as far as that is written in Python."""
    while awaited is not None:
        frame, awaited = next(
            (
                (getattr(awaited, frame), getattr(awaited, inner))
                for frame, inner in FRAME_AND_AWAITED
                if hasattr(awaited, frame)
            ),
            (None, None),
        )
        if frame is not None:
            yield frame, frame.f_lineno


def _described(name: str, frames: Iterator[tuple[FrameType, int]]) -> str:
    """Format a task like a thread's stack, the innermost call last."""
    stack = traceback.StackSummary.extract(frames)
    return f"Task {name} waits at\n{''.join(stack.format())}"
