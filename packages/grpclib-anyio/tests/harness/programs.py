"""Programs that run beside a test, and what they print."""

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).parents[2]

# Seconds; only a program that hangs takes this long.
OUTPUT_TIMEOUT = 20.0
EXIT_TIMEOUT = 10.0


class Program:
    """A program that is running, with its output, standard error included, line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._unread: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def wait_for(
        self, pattern: str, *, nth: int = 1, seconds: float = OUTPUT_TIMEOUT
    ) -> re.Match[str]:
        """Give the first line that matches, or the nth, printed already or not yet.

        Raises:
            AssertionError: The program ended, or went on for too long, without that line.
        """
        expression = re.compile(pattern)
        matches = filter(None, map(expression.search, self._from_the_start(seconds)))
        if match := next(islice(matches, nth - 1, None), None):
            return match
        output = "".join(self._lines)
        raise AssertionError(f"no line matches {pattern!r} in:\n{output}")

    def seen(self, pattern: str) -> list[str]:
        """Give the lines that match, of those that it has printed so far."""
        for _ in range(self._unread.qsize()):
            if (line := self._unread.get()) is None:
                self._unread.put(None)  # the end, for those who wait for it
            else:
                self._lines.append(line)
        return [line for line in self._lines if re.search(pattern, line)]

    def output(self) -> str:
        """Give all that it has printed; once it has ended, for it reads to the end."""
        lines = iter(partial(self._next_line, time.monotonic() + OUTPUT_TIMEOUT), None)
        self._lines.extend(lines)
        return "".join(self._lines)

    def kill(self) -> None:
        """End the program and what it started as a crash would, with no time for a good-bye."""
        os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Ask the program to end, wait until it has, and read the rest of its output."""
        self._process.terminate()
        try:
            self._process.wait(EXIT_TIMEOUT)
        finally:
            if self._process.returncode is None:
                self.kill()
            self._reader.join()

    def _read(self) -> None:
        """Run in a thread: an unread pipe would fill up and block the program."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._unread.put(line)
        self._unread.put(None)

    def _from_the_start(self, seconds: float) -> Iterator[str]:
        yield from tuple(self._lines)
        deadline = time.monotonic() + seconds
        while line := self._next_line(deadline):
            self._lines.append(line)
            yield line

    def _next_line(self, deadline: float) -> str | None:
        try:
            return self._unread.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return None


@contextmanager
def run_module(module: str, *arguments: str, **environment: str) -> Generator[Program, None, None]:
    """Run `python -m module` in a process group of its own until the block is left."""
    with subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),  # helpers are programs as well
            "PYTHONUNBUFFERED": "1",
            **environment,
        },
        start_new_session=True,
    ) as process:
        program = Program(process)
        try:
            yield program
        finally:
            program.close()
