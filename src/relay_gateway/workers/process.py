"""One worker, as the supervisor sees it: a process, and a link to it.

It is watched from its start to its end. One that does not serve in time, or gives no sign of life,
is killed. For example::

    worker = WorkerProcess(1, Plan(settings, listening), exposition)
    await worker.run()         # returns when the process has ended
    worker.serves.is_set()     # it has served
"""

import os
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio
from structlog.stdlib import get_logger

from relay_gateway.settings import GatewaySettings
from relay_gateway.workers.link import Link, Message, Questions

if TYPE_CHECKING:
    from relay_gateway.workers.figures import Figures

__all__ = ["PROGRAM", "Patience", "Plan", "WorkerProcess"]

#: The command of a worker, without the numbers of its descriptors.
PROGRAM = (sys.executable, "-P", "-m", "relay_gateway.workers.worker")
#: Seconds for an order, or an answer, to be taken.
_SEND_SECONDS = 5.0
#: Seconds for a process to end that has been killed; only the kernel can make it last.
_REAP_SECONDS = 5.0
#: Seconds for what is left in the link of a process that has ended.
_LAST_MESSAGE_SECONDS = 1.0

_log = get_logger(__name__)


@dataclass(frozen=True)
class Patience:
    """How long a supervisor waits for its workers; seconds."""

    #: From a worker's start until it serves.
    start: float = 60.0
    #: Between two questions for a sign of life, and for the answer.
    interval: float = 5.0
    hung: float = 30.0
    #: For the answer after that, since the machine may have stood still, and the worker with it.
    last_chance: float = 1.0
    #: For the answer to a scrape. Of a worker that takes longer, the last metrics are used.
    scrape: float = 1.0
    #: Before a worker is replaced: twice as long after each that did not live long, up to a bound.
    first_pause: float = 0.1
    longest_pause: float = 10.0
    #: How long a worker lives that lives long.
    stable: float = 10.0
    #: Workers of one place that may end in a row before they serve, while no other serves.
    starts: int = 5
    #: For a worker to end when it has been told to, after all that it may wait for.
    end: float = 5.0


@dataclass(frozen=True)
class Plan:
    """What the workers of a supervisor have in common."""

    settings: GatewaySettings
    #: The sockets that they inherit.
    listening: Sequence[socket.socket]
    patience: Patience = field(default_factory=Patience)
    #: The command to run, without the numbers of descriptors.
    program: Sequence[str] = PROGRAM


class WorkerProcess:
    """A worker from its start to its end; never used again."""

    def __init__(self, number: int, plan: Plan, exposition: Callable[[], Awaitable[bytes]]) -> None:
        """Prepare the worker of a place; ``exposition`` returns the metrics of all workers."""
        self.number = number
        #: The URLs that it serves, once it does.
        self.urls: list[str] = []
        self.serves = trio.Event()
        #: It has no answer left, after an order to stop; or it has ended.
        self.drained = trio.Event()
        self.ended = trio.Event()
        self.exit_code: int | None = None
        #: Its metrics, as it told them last.
        self.figures: Figures = []
        self._plan, self._exposition = plan, exposition
        self._link: Link | None = None
        self._questions = Questions()

    async def run(self) -> None:
        """Start it, watch it, and return when it has ended; a cancellation kills it."""
        ours, theirs = socket.socketpair()
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
        try:
            with theirs:
                process = await self._start(theirs)
            async with stream:
                await self._watch(process, Link(stream))
        finally:
            self._link = None
            stream.socket.close()
            self.drained.set()
            self.ended.set()

    async def _start(self, theirs: socket.socket) -> trio.Process:
        descriptors = [each.fileno() for each in (theirs, *self._plan.listening)]
        return await trio.lowlevel.open_process(
            [*self._plan.program, *map(str, descriptors)],
            pass_fds=descriptors,
            stdin=subprocess.DEVNULL,
            # What this process can import, it can; and nothing from the directory it is run in.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            process_group=0,  # Ctrl-C is the supervisor's
        )

    async def _watch(self, process: trio.Process, link: Link) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._kill_if_it_hangs, process)
                settings = self._plan.settings.model_dump(mode="json")
                await _send(link, {"do": "start", "worker": self.number, "settings": settings})
                self._link = link  # from here on it takes orders
                async with trio.open_nursery() as messages:
                    messages.start_soon(self._take_messages, link, messages)
                    await process.wait()
                    # Its last metrics may still be in the link.
                    messages.cancel_scope.deadline = trio.current_time() + _LAST_MESSAGE_SECONDS
                nursery.cancel_scope.cancel()
        finally:
            if process.returncode is None:
                process.kill()
                with trio.move_on_after(_REAP_SECONDS, shield=True):
                    await process.wait()
            self.exit_code = process.returncode

    async def _take_messages(self, link: Link, nursery: trio.Nursery) -> None:
        while (message := await link.receive()) is not None:
            if "ask" in message:
                nursery.start_soon(self._answer_scrape, message["number"])
            else:
                self._take(message)

    def _take(self, message: Message) -> None:
        match message["is"]:
            case "serving":
                self.urls = message["urls"]
                self.serves.set()
            case "drained":
                self.drained.set()
            case _:
                self.figures = message["figures"]
                self._questions.answer(message)

    async def _answer_scrape(self, number: int) -> None:
        text = (await self._exposition()).decode()
        await self.order({"do": "metrics", "number": number, "text": text})

    async def order(self, message: Message) -> bool:
        """Send an order; False if the worker does not take it, or has ended."""
        return self._link is not None and await _send(self._link, message)

    async def refresh(self, seconds: float) -> bool:
        """Ask for :attr:`figures`; False if the worker does not answer in time."""
        with self._questions.open() as question:
            with trio.move_on_after(seconds):
                await self.order({"do": "figures", "number": question.number})
                await question.wait()
            return question.is_answered

    async def _is_alive(self) -> bool:
        patience = self._plan.patience
        return await self.refresh(patience.hung) or await self.refresh(patience.last_chance)

    async def _kill_if_it_hangs(self, process: trio.Process) -> None:
        patience = self._plan.patience
        with trio.move_on_after(patience.start):
            await self.serves.wait()
        if not self.serves.is_set():
            _log.error("a worker does not start and is killed", worker=self.number)
            process.kill()
            return
        while await self._is_alive():  # noqa: ASYNC110 - a question, at intervals
            await trio.sleep(patience.interval)
        _log.error("a worker hangs and is killed", worker=self.number)
        process.kill()


async def _send(link: Link, message: Message) -> bool:
    """Send a message; False if it is not taken in time, or the other side has ended."""
    try:
        with trio.fail_after(_SEND_SECONDS):
            await link.send(message)
    except (trio.TooSlowError, trio.BrokenResourceError, trio.ClosedResourceError):
        return False
    return True
