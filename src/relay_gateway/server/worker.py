"""hypercorn's trio worker with a drain before its end.

hypercorn stops in this order: it closes its listening sockets and the connections that are idle,
gives the others ``graceful_timeout``, cancels what is left, and tells the application last. So an
answer would be cut off in its middle. Here the application comes first::

    told to stop ──▶ the application drains ──▶ hypercorn stops, with nothing left to wait for

``trio_worker``, which the command line runs, looks :func:`serve_on_command_line` up by the name of
hypercorn's own ``worker_serve``, after it has loaded the application; see ``patch``.
"""

import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from typing import Protocol

import hypercorn.trio.run
import trio
from hypercorn.config import Config, Sockets
from hypercorn.trio.worker_context import EventWrapper, WorkerContext
from hypercorn.typing import AppWrapper

from relay_common.log import write_in_background
from relay_gateway.server.idle import Terminated

__all__ = ["DrainingContext", "Worker", "current_worker", "serve", "serve_on_command_line"]

#: Connections that may wait to be accepted. More than hypercorn's 100 can come in one moment, and a
#: client sends again only after seconds when the kernel drops its first packet.
_BACKLOG = 2048

_upstream_worker_serve = hypercorn.trio.run.worker_serve
_Trigger = Callable[[], Awaitable[None]]


class Connection(Protocol):
    """A connection, as far as its worker knows it."""

    def hurry(self) -> None:
        """Finish soon what is being written, or give it up."""


class Worker:
    """One run of hypercorn's worker."""

    def __init__(self) -> None:
        """Begin with no connection and nothing to drain."""
        #: Awaited between the order to stop and hypercorn's own shutdown. The application sets it
        #: when it starts; it has a bound of its own.
        self.drain: _Trigger = trio.lowlevel.checkpoint
        #: The connections that are open.
        self.connections: set[Connection] = set()

    async def stop(self) -> None:
        """Drain, and then give what is still being written a last quarter of a second."""
        await self.drain()
        self._hurry()

    async def hurry_when_cancelled(self) -> None:
        """Wait to be cancelled, and tell the connections, because their writes are shielded."""
        try:
            await trio.sleep_forever()
        finally:
            self._hurry()

    def _hurry(self) -> None:
        for connection in self.connections:
            connection.hurry()


#: The worker that a connection or an application's lifespan belongs to.
current_worker: ContextVar[Worker | None] = ContextVar("current_worker", default=None)


class DrainingContext(WorkerContext):
    """hypercorn's context, and a drain also when the worker ends after its ``max_requests``."""

    def __init__(self, max_requests: int | None) -> None:
        """Begin as hypercorn does."""
        super().__init__(max_requests)
        self.terminate = _Drained()
        self.terminated: Terminated = Terminated()


class _Drained(EventWrapper):
    async def wait(self) -> None:
        await super().wait()
        if (worker := current_worker.get()) is not None:
            await worker.stop()


async def serve(  # noqa: ASYNC128 - hypercorn says that it has started
    app: AppWrapper,
    config: Config,
    *,
    sockets: Sockets | None = None,
    shutdown_trigger: _Trigger,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve as hypercorn's ``worker_serve`` does, until the trigger returns and all is drained.

    ``config.graceful_timeout`` is set to zero: the drain has its own bound. A ``config.backlog``
    that was left as it is becomes longer. Cancelling ends everything at once.
    """
    worker = Worker()
    current_worker.set(worker)
    config.graceful_timeout = 0.0
    _lengthen_backlog(config, sockets)

    async def until_drained() -> None:
        await shutdown_trigger()
        await worker.stop()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.hurry_when_cancelled)
        await _upstream_worker_serve(
            app, config, sockets=sockets, shutdown_trigger=until_drained, task_status=task_status
        )
        nursery.cancel_scope.cancel()


def _write_logs_in_background(config: Config) -> None:
    """Do not let the event loop wait for who reads hypercorn's own logs, on stdout and stderr."""
    for logger in (config.log.access_logger, config.log.error_logger):
        if logger is not None:
            write_in_background(logger)


def _lengthen_backlog(config: Config, sockets: Sockets | None) -> None:
    """Listen again with our backlog, unless the operator has chosen another one."""
    if config.backlog != Config.backlog:
        return
    config.backlog = _BACKLOG
    if sockets is not None:
        for sock in (*sockets.secure_sockets, *sockets.insecure_sockets):
            sock.listen(_BACKLOG)  # the kernel uses the last value


async def serve_on_command_line(  # noqa: ASYNC128 - hypercorn says that it has started
    app: AppWrapper,
    config: Config,
    *,
    sockets: Sockets | None = None,
    shutdown_trigger: _Trigger | None = None,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until SIGINT, SIGTERM or the trigger; in a child, the trigger is the parent's.

    hypercorn has its children ignore SIGINT, and lets SIGTERM kill them. But a terminal sends
    Ctrl-C to all processes, and a service manager may send SIGTERM to all of them.
    """
    _write_logs_in_background(config)
    stop = trio.Event()
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_handle_signals, signals, stop, nursery.cancel_scope)
            if shutdown_trigger is not None:
                nursery.start_soon(_pass_on, shutdown_trigger, stop)
            await serve(
                app, config, sockets=sockets, shutdown_trigger=stop.wait, task_status=task_status
            )
            nursery.cancel_scope.cancel()


async def _handle_signals(
    signals: AsyncIterator[int], stop: trio.Event, scope: trio.CancelScope
) -> None:
    """Stop at the first signal, and end at once at the second Ctrl-C.

    SIGTERM comes more than once in any case: hypercorn sends it to the workers that are left.
    """
    interrupts = 0
    async for number in signals:
        stop.set()
        interrupts += number == signal.SIGINT
        if interrupts > 1:
            scope.cancel()


async def _pass_on(trigger: _Trigger, stop: trio.Event) -> None:
    await trigger()
    stop.set()
