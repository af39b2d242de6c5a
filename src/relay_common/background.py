"""Log lines, written by a thread, so that a reader of the log that stops never holds a program.

For example, when stderr is a pipe that nobody reads, a write to it waits forever. Here only the
thread waits. Lines that do not fit in its buffer are dropped, and a line says how many.
"""

import logging
import os
import select
import threading
from collections import deque

__all__ = ["BackgroundHandler"]

_MAX_BUFFERED = 4 * 2**20
"""Bytes that wait for the thread. A line that would exceed them is dropped."""

_CLOSE_SECONDS = 1.0


class BackgroundHandler(logging.Handler):
    """Writes each line to a file descriptor from a daemon thread; never waits for its reader."""

    def __init__(self, descriptor: int, *, max_buffered: int = _MAX_BUFFERED) -> None:
        """Start the thread; it runs until :meth:`close`. The bound is in bytes."""
        super().__init__()
        self.dropped = 0
        """Lines that did not fit, since the start."""
        self._descriptor = descriptor
        self._max_buffered = max_buffered
        self._lines: deque[bytes] = deque()
        self._buffered = 0
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
        with self._changed:
            self._add(line)

    def _add(self, line: bytes) -> None:
        if self._closing or self._buffered + len(line) > self._max_buffered:
            self.dropped += 1
            self._unreported += 1
            return
        self._lines.append(line)
        self._buffered += len(line)
        self._changed.notify()

    def close(self) -> None:
        """Wait up to one second for the thread to write the rest, then leave it."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(_CLOSE_SECONDS)
        super().close()

    def _run(self) -> None:
        while (line := self._next()) is not None:
            _write(self._descriptor, line)
            with self._changed:
                self._buffered -= len(line)

    def _next(self) -> bytes | None:
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self._closing)
            if self._unreported:
                self._report()
            return self._lines.popleft() if self._lines else None

    def _report(self) -> None:
        text = f"{self._unreported} log lines dropped"
        record = logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, (), None)
        report = f"{self.format(record)}\n".encode(errors="backslashreplace")
        self._unreported = 0
        self._lines.append(report)
        self._buffered += len(report)


def _write(descriptor: int, line: bytes) -> None:
    """Write all of a line; give it up if nobody can ever read it (a closed pipe, a full disk)."""
    # Not by sys.stderr, because its lock, held by a write that waits, ends the process badly.
    rest = memoryview(line)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            select.select([], [descriptor], [])
        except OSError:
            return
