"""Log lines, written by a thread, so that a reader of the log that stops never holds a program.

For example, when stderr is a pipe that nobody reads, a write to it waits forever. Here only the
thread waits. Lines that do not fit in its buffer are dropped, and a line says how many.
"""

import logging
import os
import select
import threading
from collections import deque

__all__ = ["BackgroundHandler", "dropped_lines"]

_MAX_BUFFERED = 4 * 2**20
"""Bytes that wait for the thread. A line that would exceed them is dropped."""

_CLOSE_SECONDS = 1.0


class _Total:
    """Lines that were lost by all handlers, so that the count survives a handler."""

    lines = 0
    lock = threading.Lock()


def dropped_lines() -> int:
    """Return how many lines this process has dropped since its start."""
    return _Total.lines


class BackgroundHandler(logging.Handler):
    """Writes each line to a file descriptor from a daemon thread; never waits for its reader.

    A line that does not fit is dropped. From then on all lines are dropped until half of the buffer
    is written, so that a slow reader gets long parts of the log and one report for each gap.
    """

    def __init__(self, descriptor: int, *, max_buffered: int = _MAX_BUFFERED) -> None:
        """Start the thread; it runs until :meth:`close`. The bound is in bytes."""
        super().__init__()
        self.dropped = 0
        """Lines that did not fit, or that could not be written as a whole, since the start."""
        self._descriptor = descriptor
        self._max_buffered = max_buffered
        self._start()

    def _start(self) -> None:
        self._process = os.getpid()
        # A number is of lines that were dropped there.
        self._lines: deque[bytes | int] = deque()
        self._buffered = 0
        self._has_room = True
        self._unreported = 0
        self._closing = False
        self._changed = threading.Condition()
        # A daemon, so that a write that never returns does not hold the end of the process.
        self._thread = threading.Thread(target=self._run, name="relay-log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Give the line to the thread, or drop and count it."""
        try:
            line = f"{self.format(record)}\n".encode(errors="backslashreplace")
        except Exception:  # noqa: BLE001 - as every handler of logging: a bad record is reported
            self.handleError(record)
            return
        if self._process != os.getpid():
            # After a fork, the child has no thread, and the lines are the parent's to write. Locks
            # are made again, because a thread of the parent may have held them.
            _Total.lock = threading.Lock()
            self._start()
        with self._changed:
            self._add(line)

    def _add(self, line: bytes) -> None:
        room = self._max_buffered if self._has_room else self._max_buffered // 2
        self._has_room = self._buffered + len(line) <= room
        if self._closing or not self._has_room:
            self._drop()
        else:
            self._lines.append(line)
            self._buffered += len(line)
        self._changed.notify()

    def _drop(self) -> None:
        self._count()
        last = self._lines[-1] if self._lines else None
        if isinstance(last, int):
            self._lines[-1] = last + 1
        else:
            self._lines.append(1)

    def _count(self) -> None:
        self.dropped += 1
        with _Total.lock:
            _Total.lines += 1

    def close(self) -> None:
        """Wait up to one second for the thread to write the rest, then leave it."""
        if self._process == os.getpid():  # else the thread is the parent's
            with self._changed:
                self._closing = True
                self._changed.notify()
            self._thread.join(_CLOSE_SECONDS)
        super().close()

    def _run(self) -> None:
        while (line := self._next()) is not None:
            self._write(line)

    def _next(self) -> bytes | int | None:
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self._closing)
            return self._lines.popleft() if self._lines else None

    def _write(self, line: bytes | int) -> None:
        """Write a line, and before it a report of those that were lost there."""
        if isinstance(line, int):
            self._unreported += line
        if self._unreported and _written(self._descriptor, self._report()):
            self._unreported = 0
        if isinstance(line, bytes):
            is_written = _written(self._descriptor, line)
            with self._changed:
                self._buffered -= len(line)
                if not is_written:
                    self._unreported += 1
                    self._count()

    def _report(self) -> bytes:
        text = f"{self._unreported} log lines dropped"
        record = logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, (), None)
        return f"{self.format(record)}\n".encode(errors="backslashreplace")


def _written(descriptor: int, line: bytes) -> bool:
    """Write all of a line; False if nobody can ever read its rest (a closed pipe, a full disk)."""
    # Not by sys.stderr, because its lock, held by a write that waits, ends the process badly.
    rest = memoryview(line)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            select.select([], [descriptor], [])
        except OSError:
            return False
    return True
