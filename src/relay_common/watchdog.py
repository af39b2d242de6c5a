"""Reports an event loop that is blocked, and who holds it.

A thread asks the loop for a sign of life, ten times a second. When there is none in time, it looks
at the stack of the loop's thread. For example, a ``time.sleep(1)`` in a handler makes two lines::

    event='the event loop is blocked' held_by=['app/handlers.py:12 answer', …]
    event='the event loop runs again' seconds=1.0

The loop has no task and no timer for it, so a test on a mock clock does not see it.
"""

import asyncio
import sys
import threading
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Self

from structlog.stdlib import get_logger
from trio.lowlevel import current_trio_token, in_trio_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType
    from typing import TypeAlias

    _Call: TypeAlias = Callable[[Callable[[], None]], object]

__all__ = ["Watchdog"]

# Seconds between a sign of life and the next question.
_PAUSE = 0.1

# Seconds between two reports. What is blocked in between is counted.
_REPORT_INTERVAL = 10.0

# The frames of a stack that are logged, and the last parts of a file's path.
_MAX_FRAMES, _PATH_PARTS = 15, 3

_log = get_logger(__name__)


class Watchdog:
    """A context manager around what is to be watched: the loop that runs it, until it is left.

    Nothing in it is a checkpoint. The thread ends with the context, or with the loop.
    """

    def __init__(self, seconds: float, count: "Callable[[], None]" = lambda: None) -> None:
        """Prepare.

        Args:
            seconds: for which the loop may be blocked without a report; 0 watches nothing.
            count: is called in the thread, each time that the loop has been blocked.

        """
        self._seconds = seconds
        self._count = count
        self._is_alive = threading.Event()
        self._is_over = threading.Event()
        self._next_report = 0.0
        self._unreported = 0

    def __enter__(self) -> Self:
        """Watch the running loop."""
        if self._seconds > 0:
            arguments = (_to_loop(), threading.get_ident())
            thread = threading.Thread(target=self._watch, args=arguments, name="watchdog")
            thread.daemon = True
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Let the thread end; does not wait for it, as that takes microseconds."""
        self._is_over.set()
        self._is_alive.set()

    def _watch(self, call_in_loop: "_Call", loop: int) -> None:
        while not self._is_over.wait(_PAUSE):
            self._is_alive.clear()
            asked = monotonic()
            try:
                call_in_loop(self._is_alive.set)
            except RuntimeError:  # the loop is over
                return
            if not self._is_alive.wait(self._seconds) and not self._is_over.is_set():
                self._blocked(asked, loop)

    def _blocked(self, asked: float, loop: int) -> None:
        self._count()
        is_reported = asked >= self._next_report
        if is_reported:
            self._report(loop)
        else:
            self._unreported += 1
        self._is_alive.wait()
        if is_reported and not self._is_over.is_set():
            _log.warning("the event loop runs again", seconds=round(monotonic() - asked, 2))

    def _report(self, loop: int) -> None:
        # If it is alive again, C code had Python's lock, which stopped this thread as well.
        stack = [] if self._is_alive.is_set() else _stack_of(loop)
        _log.warning("the event loop is blocked", held_by=stack, unreported=self._unreported)
        self._next_report = monotonic() + _REPORT_INTERVAL
        self._unreported = 0


def _to_loop() -> "_Call":
    """Return what calls a function in the running loop, from any thread."""
    if in_trio_run():
        return partial(current_trio_token().run_sync_soon, idempotent=True)
    return asyncio.get_running_loop().call_soon_threadsafe


def _stack_of(thread: int) -> list[str]:
    """Return a thread's frames, the innermost first: files, lines and functions, and no values."""
    frame = sys._current_frames().get(thread)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - it is documented
    return [text for text, _ in zip(_frames(frame), range(_MAX_FRAMES), strict=False)]


def _frames(frame: "FrameType | None") -> "Iterator[str]":
    while frame is not None:
        path = "/".join(frame.f_code.co_filename.split("/")[-_PATH_PARTS:])
        yield f"{path}:{frame.f_lineno} {frame.f_code.co_name}"
        frame = frame.f_back
