"""What belongs to the process: threads and file descriptors."""

import gc
import threading
import time
from collections.abc import Mapping
from pathlib import Path

__all__ = ["Process"]

# Seconds that a thread told to stop gets to do so, before it counts as left behind.
THREAD_EXIT_TIMEOUT = 5.0

# Trio keeps idle worker threads of this name for the next run, "Dummy" ones belong to C code.
POOLED_THREADS = ("Trio thread ", "Dummy-")

DESCRIPTORS = Path("/proc/self/fd")

# epoll and eventfd: grpcio's are made once and kept, and an event loop that leaks its own
# leaks the socket pair that wakes it as well.
KEPT_DESCRIPTORS = "anon_inode:"


class Process:
    """The threads and descriptors that are there now."""

    def __init__(self) -> None:
        self._threads = set(threading.enumerate())
        self._descriptors = _descriptors()

    def leaks(self) -> list[str]:
        """Name those that have come since, and have had time to go."""
        return [*self._new_threads(), *self._new_descriptors()]

    def _new_threads(self) -> list[str]:
        deadline = time.monotonic() + THREAD_EXIT_TIMEOUT
        for thread in _new_threads(self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))
        return [repr(thread) for thread in _new_threads(self._threads)]

    def _new_descriptors(self) -> list[str]:
        if not self._news():
            return []
        gc.collect()
        deadline = time.monotonic() + THREAD_EXIT_TIMEOUT
        while self._news() and time.monotonic() < deadline:
            time.sleep(0.01)  # grpcio's threads close its sockets when they come to it
        return [f"descriptor {number} -> {target}" for number, target in self._news()]

    def _news(self) -> set[tuple[str, str]]:
        return _descriptors().items() - self._descriptors.items()


def _new_threads(before: set[threading.Thread]) -> list[threading.Thread]:
    """List the live threads that are neither in `before` nor pooled."""
    new = set(threading.enumerate()) - before
    return [thread for thread in new if not thread.name.startswith(POOLED_THREADS)]


def _descriptors() -> Mapping[str, str]:
    """Map each open descriptor to what it is open on; empty where there is no /proc."""
    if not DESCRIPTORS.is_dir():
        return {}
    targets = {entry.name: _target(entry) for entry in DESCRIPTORS.iterdir()}
    return {fd: target for fd, target in targets.items() if not target.startswith(KEPT_DESCRIPTORS)}


def _target(descriptor: Path) -> str:
    """Name what it is open on; the one that listed the directory is closed by now."""
    try:
        return str(descriptor.readlink())
    except FileNotFoundError:
        return KEPT_DESCRIPTORS
