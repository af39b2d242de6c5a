"""The program that a worker runs: the gateway, by orders that come over a link.

It is started by the supervisor, as ``python -m relay_gateway.workers.worker LINK SOCKET…``, with
the numbers of descriptors that it inherits. Its orders::

    {"do": "start", …}       serve, with these settings
    {"do": "figures", …}     tell the metrics; also a sign of life
    {"do": "stop"}           refuse requests, let answers end, and say {"is": "drained"}
    {"do": "end"}            all workers have drained: answer what has come, and end
    {"do": "skip"}           end now; answers are told why

SIGINT and SIGTERM are ignored, because a terminal and a service manager send them to every process
of a service, and it is the supervisor that knows what to do. A worker whose supervisor has ended
has no reason to go on, and ends at once.
"""

import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import trio
from hypercorn.config import Sockets
from structlog.contextvars import bind_contextvars
from structlog.stdlib import get_logger

from relay_common.errors import EXIT_FAILURE
from relay_common.gc_tuning import tune_gc
from relay_common.log import configure_logging
from relay_gateway.serving import serve
from relay_gateway.settings import GatewaySettings
from relay_gateway.web.metrics import Metrics
from relay_gateway.workers.figures import figures_of
from relay_gateway.workers.link import Link, Message, Questions

__all__ = ["main"]

#: Seconds for the metrics of all workers; the supervisor needs one for a worker that hangs.
_SCRAPE_SECONDS = 3.0
#: Scrapes at a time. Others wait, because each makes work for every worker.
_SCRAPES = 4
#: Seconds for a stop to begin. A server that is cancelled before has no word for its answers.
_MOMENT = 0.05
#: Seconds that a worker may live without its supervisor, if its event loop is blocked.
_ORPHAN_SECONDS = 5.0

_log = get_logger(__name__)


class _SharedMetrics(Metrics):
    """Metrics that are exposed together with those of the other workers."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self._link = link
        self._scrapes = trio.CapacityLimiter(_SCRAPES)
        self.questions = Questions()

    async def exposition(self) -> bytes:
        """Ask the supervisor for the metrics of all workers.

        Raises:
            TooSlowError: it does not answer.

        """
        async with self._scrapes:
            with self.questions.open() as question, trio.fail_after(_SCRAPE_SECONDS):
                await self._link.send({"ask": "metrics", "number": question.number})
                text: str = (await question.wait())["text"]
        return text.encode()


class _Worker:
    """A gateway that obeys orders."""

    def __init__(self, link: Link, settings: GatewaySettings, sockets: Sockets) -> None:
        self._link, self._settings, self._sockets = link, settings, sockets
        self._metrics = _SharedMetrics(link)
        self._stop, self._end = trio.Event(), trio.Event()
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._obey)
            with self._scope:
                await self._serve()
            with trio.move_on_after(_SCRAPE_SECONDS):
                await self._tell({"is": "figures", "figures": figures_of(self._metrics.registry)})
            nursery.cancel_scope.cancel()

    async def _serve(self) -> None:
        async with trio.open_nursery() as nursery:
            run = partial(
                serve,
                self._settings,
                stop=self._stop,
                sockets=self._sockets,
                metrics=self._metrics,
                last_call=self._last_call,
            )
            urls = await nursery.start(run)
            await self._tell({"is": "serving", "urls": urls})

    async def _last_call(self) -> None:
        """Answer 503 until no worker has an answer left, so that no connection waits in vain."""
        await self._tell({"is": "drained"})
        await self._end.wait()

    async def _obey(self) -> None:
        while (message := await self._link.receive()) is not None:
            await self._do(message)
        await self._skip()

    async def _do(self, message: Message) -> None:
        match message["do"]:
            case "figures":
                figures = figures_of(self._metrics.registry)
                await self._tell({"is": "figures", "figures": figures, "number": message["number"]})
            case "metrics":
                self._metrics.questions.answer(message)
            case "stop":
                self._stop.set()
            case "end":
                self._end.set()
            case _:  # "skip"
                await self._skip()

    async def _skip(self) -> None:
        self._stop.set()
        self._end.set()
        await trio.sleep(_MOMENT)
        self._scope.cancel()

    async def _tell(self, message: Message) -> None:
        with suppress(trio.BrokenResourceError):  # the supervisor has ended; see _obey
            await self._link.send(message)


def _end_with(descriptor: int) -> None:
    """End this process some time after the other end of a link has been closed."""
    poll = select.poll()
    poll.register(descriptor, 0)  # what is always reported: the other end is closed
    poll.poll()
    time.sleep(_ORPHAN_SECONDS)
    os._exit(EXIT_FAILURE)


async def _run(ours: socket.socket, listening: Sequence[socket.socket]) -> None:
    link = Link(trio.SocketStream(trio.socket.from_stdlib_socket(ours)))
    if (message := await link.receive()) is None:
        return
    settings = GatewaySettings.model_validate(message["settings"])
    bind_contextvars(worker=message["worker"])
    configure_logging(settings)
    tune_gc()
    await _Worker(link, settings, Sockets([], list(listening), [])).run()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code.

    Args:
        arguments: the numbers of the descriptors; the command line's when left out.

    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    given = sys.argv[1:] if arguments is None else arguments
    link, *listening = [socket.socket(fileno=int(each)) for each in given]
    # For a loop that is blocked, and cannot see that the supervisor has ended.
    threading.Thread(target=_end_with, args=(link.fileno(),), daemon=True).start()
    trio.run(_run, link, listening)
    return 0


if __name__ == "__main__":
    sys.exit(main())
