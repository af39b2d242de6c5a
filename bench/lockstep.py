"""An event loop in lockstep with the other side of its sockets, and a count of what it executes."""

import sys
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Protocol, Self

import trio
from trio.abc import Instrument

__all__ = ["Instructions", "Lockstep", "Peer"]

#: What drives the event loop is not part of what is counted.
_DRIVER = "bench"
_HERE = str(Path(__file__).parent)


class Instructions:
    """Counts the bytecode instructions of each package while ``is_on``.

    Entered once in a process, around everything that is to be counted.
    """

    def __init__(self) -> None:
        """Count nothing yet."""
        self.is_on = False
        self._files: Counter[str] = Counter()

    def __enter__(self) -> Self:
        """Look at every instruction from now on."""
        _trace(self._executed)
        return self

    def __exit__(self, *_: object) -> None:
        """Look at no more."""
        _trace(None)

    @property
    def by_package(self) -> Counter[str]:
        """What has been counted, with the standard library as one package."""
        packages: Counter[str] = Counter()
        for path, count in self._files.items():
            packages[_package(path)] += count
        del packages[_DRIVER]
        return packages

    def _executed(self, code: CodeType) -> None:
        if self.is_on:
            self._files[code.co_filename] += 1


def _package(path: str) -> str:
    """Name what a file belongs to: the directory below one that modules are looked for in."""
    above = path.partition("site-packages/")[2] or path.partition("/src/")[2]
    if path.startswith(_HERE):
        return _DRIVER
    return above.partition("/")[0].removesuffix(".py") or "python"


if sys.version_info >= (3, 12):

    def _trace(executed: Callable[[CodeType], None] | None) -> None:
        """Have a function called with the code of each instruction, or none."""
        monitoring = sys.monitoring
        tool, event = monitoring.PROFILER_ID, monitoring.events.INSTRUCTION
        if executed is None:
            monitoring.set_events(tool, 0)
            monitoring.free_tool_id(tool)
            return
        monitoring.use_tool_id(tool, __name__)
        monitoring.register_callback(tool, event, lambda code, _offset: executed(code))
        monitoring.set_events(tool, event)

else:

    def _trace(executed: Callable[[CodeType], None] | None) -> None:
        """Have a function called with the code of each instruction, or none."""
        if executed is None:
            sys.settrace(None)
            return

        def step(frame: FrameType, event: str, _argument: object) -> Any:
            if event == "opcode":
                executed(frame.f_code)
            else:
                frame.f_trace_lines, frame.f_trace_opcodes = False, True
            return step

        sys.settrace(step)


class Peer(Protocol):
    """The other side of a socket; plain calls on a socket that does not block."""

    def answer(self) -> bool:
        """Read what has arrived, and say whether there was something to reply."""
        ...


class Lockstep(Instrument):
    """Lets the other side go on whenever the event loop has nothing left to do.

    The loop looks for IO right after this, so each step has to be something that wakes it.
    """

    def __init__(self, instructions: Instructions, *peers: Peer) -> None:
        """Take the peers, which reply to what they are sent before a script goes on."""
        self._instructions = instructions
        self._peers = peers
        self._script: Generator[bool] | None = None
        self._is_over = trio.Event()

    async def run(self, script: Generator[bool]) -> None:
        """Follow a script to its end; while it yields True, instructions are counted."""
        self._token = trio.lowlevel.current_trio_token()
        self._script = script
        trio.lowlevel.add_instrument(self)
        try:
            with self._instructions:
                await self._is_over.wait()
        finally:
            trio.lowlevel.remove_instrument(self)

    def before_io_wait(self, timeout: float) -> None:
        """Take the next step, if no task can run."""
        if timeout <= 0:
            return
        self._instructions.is_on = False
        replies = [peer.answer() for peer in self._peers]
        if not any(replies) and self._script is not None:
            self._go_on(self._script)

    def _go_on(self, script: Generator[bool]) -> None:
        is_counted = next(script, None)
        if is_counted is None:
            self._script = None
            self._token.run_sync_soon(self._is_over.set)
        self._instructions.is_on = bool(is_counted)
