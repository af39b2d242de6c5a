"""The programs of a run: they are started, observed, and always stopped.

For example::

    with started("bench.token_source") as source:
        port = source.read()
        print(source.cpu_seconds, source.resident_kib)
"""

import json
import os
import re
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal, cast

__all__ = [
    "Program",
    "cpu_seconds",
    "free_port",
    "memory_kib",
    "raise_descriptor_limit",
    "started",
]

_ROOT = Path(__file__).parent.parent
_START_SECONDS = 30.0
_STOP_SECONDS = 5.0
_NS = 1_000_000_000


def cpu_seconds(pid: int) -> float:
    """Return the user and system time of a process, of all threads, also of those that ended."""
    # The CPU clock of another process on Linux, as clock_getcpuclockid(3) makes it. Python has no
    # such function.
    return time.clock_gettime_ns(~pid << 3 | 2) / _NS


def memory_kib(pid: int, name: Literal["VmRSS", "VmHWM"] = "VmRSS") -> int:
    """Return the resident memory of a process, in KiB: now, or the most it ever had (``VmHWM``)."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(cast("re.Match[str]", re.search(rf"{name}:\s+(\d+) kB", status))[1])


class Program:
    """A running program that prints lines of JSON."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        """Take a process with pipes for standard input and output."""
        self._process = process

    @property
    def cpu_seconds(self) -> float:
        """User and system time of all its threads, also of those that have ended."""
        return cpu_seconds(self._process.pid)

    @property
    def resident_kib(self) -> int:
        """Its resident memory now, in KiB."""
        return memory_kib(self._process.pid)

    def ask(self) -> Any:
        """Send an empty line, and read the reply.

        Raises:
            RuntimeError: the program has ended.

        """
        stdin = cast("IO[str]", self._process.stdin)
        stdin.write("\n")
        stdin.flush()
        return self.read()

    def read(self) -> Any:
        """Read a line of JSON.

        Raises:
            RuntimeError: the program has ended.

        """
        line = cast("IO[str]", self._process.stdout).readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} has ended without a result")
        return json.loads(line)

    def wait_for(self, port: int) -> None:
        """Wait until it accepts connections on a port of 127.0.0.1.

        Raises:
            RuntimeError: it has ended, or 30 seconds are over.

        """
        deadline = time.monotonic() + _START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
            except ConnectionRefusedError:
                time.sleep(0.02)
            else:
                return
        raise RuntimeError(f"{self._process.args!r} does not listen on {port}")


@contextmanager
def started(
    module: str, *arguments: str, environment: Mapping[str, str] | None = None
) -> Generator[Program]:
    """Run ``python -m module`` until the block ends.

    The program gets SIGTERM then, and is killed after 5 more seconds.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=_ROOT,
        # grpcio's compiler looks for the contract here.
        env={**os.environ, "PYTHONPATH": str(_ROOT / "proto"), **(environment or {})},
    )
    with process:
        try:
            yield Program(process)
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


def free_port() -> int:
    """Return a port of 127.0.0.1 without a listener."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def raise_descriptor_limit() -> int:
    """Raise the limit of open files to the hard limit, also for child processes; return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
