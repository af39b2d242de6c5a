"""An event loop in lockstep with the other side of its sockets, and a count of its instructions.

For example, this counts while the script yields True, after a warm-up of one token::

    def script():
        for is_counted in (False, True):
            model.send(1)
            yield is_counted

    await Lockstep(instructions, model).run(script())
"""

import sys
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Protocol, Self

import trio
from trio.abc import Instrument

__all__ = ["Instructions", "Lockstep", "Peer"]

#: The package that drives the event loop. Its instructions are not counted.
_DRIVER = "bench"
_HERE = str(Path(__file__).parent)


class Instructions:
    """Counts the bytecode instructions of each package while ``is_on``.

    Enter it once in a process, around everything that is to be counted.
    """

    def __init__(self) -> None:
        """Begin with no instructions, and with ``is_on`` False."""
        self.is_on = False
        self._files: Counter[str] = Counter()

    def __enter__(self) -> Self:
        """Trace every instruction from now on."""
        _trace(self._executed)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop tracing."""
        _trace(None)

    @property
    def by_package(self) -> Counter[str]:
        """The instructions counted so far; the standard library is one package, ``python``."""
        packages: Counter[str] = Counter()
        for path, count in self._files.items():
            packages[_package(path)] += count
        del packages[_DRIVER]
        return packages

    def _executed(self, code: CodeType) -> None:
        if self.is_on:
            self._files[code.co_filename] += 1


def _package(path: str) -> str:
    """Return the package of a file: the first directory below ``site-packages`` or ``src``."""
    above = path.partition("site-packages/")[2] or path.partition("/src/")[2]
    if path.startswith(_HERE):
        return _DRIVER
    return above.partition("/")[0].removesuffix(".py") or "python"


if sys.version_info >= (3, 12):

    def _trace(executed: Callable[[CodeType], None] | None) -> None:
        """Call a function with the code of each instruction; None ends that."""
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
        """Call a function with the code of each instruction; None ends that."""
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
    """The other side of a socket. Its calls are plain, because its socket does not block."""

    def answer(self) -> bool:
        """Read what has arrived, and return whether a reply was sent."""
        ...


class Lockstep(Instrument):
    """Lets the other side take a step whenever the event loop has nothing left to do.

    Each step has to wake the loop, for example with data on a socket, because the loop waits for IO
    right after it.
    """

    def __init__(self, instructions: Instructions, *peers: Peer) -> None:
        """Take the peers. They reply to what has arrived before a script goes on."""
        self._instructions = instructions
        self._peers = peers
        self._script: Generator[bool] | None = None
        self._is_over = trio.Event()

    async def run(self, script: Generator[bool]) -> None:
        """Follow a script to its end, and count instructions while it yields True.

        A checkpoint. When it is cancelled, tracing stops.
        """
        self._token = trio.lowlevel.current_trio_token()
        self._script = script
        trio.lowlevel.add_instrument(self)
        try:
            with self._instructions:
                await self._is_over.wait()
        finally:
            trio.lowlevel.remove_instrument(self)

    def before_io_wait(self, timeout: float) -> None:
        """Take the next step if no task can run."""
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
