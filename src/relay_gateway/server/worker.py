"""hypercorn's trio worker with a drain before its end.

hypercorn stops in this order: it closes its listening sockets and the connections that are idle,
gives the others ``graceful_timeout``, cancels what is left, and tells the application last. So an
answer would be cut off in its middle. Here the application comes first::

    told to stop ──▶ the application drains ──▶ what has come by then is answered ──▶ hypercorn
                                                stops, with nothing left to wait for

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

#: Seconds for what is left when a worker has drained: enough for a client that reads.
_LAST_SECONDS = 0.25

_upstream_worker_serve = hypercorn.trio.run.worker_serve
_Trigger = Callable[[], Awaitable[None]]


class Connection(Protocol):
    """A connection, as far as its worker knows it."""

    def hurry(self) -> None:
        """Finish soon what is being written, or give it up."""

    def announce_end(self) -> None:
        """Tell the client, if it can be told, that it should make its next request elsewhere."""


class Listener(Protocol):
    """A listening socket, as far as its worker knows it."""

    @property
    def has_waiting(self) -> bool:
        """Whether a connection waits to be accepted."""
        ...


def _nothing() -> None:
    pass


class Worker:
    """One run of hypercorn's worker."""

    def __init__(self, last_call: _Trigger = trio.lowlevel.checkpoint) -> None:
        """Begin with no connection and nothing to drain; for ``last_call`` see :func:`serve`."""
        #: Awaited between the order to stop and hypercorn's own shutdown. The application sets it
        #: when it starts; it has a bound of its own.
        self.drain: _Trigger = trio.lowlevel.checkpoint
        #: Ends the drain at once: a plain call. The application sets it when it starts.
        self.skip: Callable[[], None] = _nothing
        #: The connections that are open.
        self.connections: set[Connection] = set()
        #: The sockets that connections come from.
        self.listeners: list[Listener] = []
        #: Tells the connections that are idle to end; hypercorn's, once it has made it.
        self.terminated: Terminated | None = None
        #: What hypercorn runs in, so that a cancellation reaches it when the answers were told.
        self.body = trio.CancelScope(shield=True)
        self.is_stopping = False
        self._last_call = last_call
        self._stopped = trio.Event()
        self._connection_ended = trio.lowlevel.ParkingLot()

    async def stop(self) -> None:
        """Drain, and then use a last quarter of a second.

        In it, what is being written is finished, and what has come is answered: connections that
        wait to be accepted, and requests that the application refuses.
        """
        self.is_stopping = True
        for connection in self.connections:
            connection.announce_end()
        await self.drain()
        await self._last_call()
        self._hurry()
        with trio.move_on_after(_LAST_SECONDS):
            await self._answer_what_has_come()
        self._stopped.set()

    async def _answer_what_has_come(self) -> None:
        while any(each.has_waiting for each in self.listeners):  # noqa: ASYNC110 - the kernel tells nobody
            await trio.lowlevel.checkpoint()  # the listener's task accepts them
        if self.terminated is not None:
            self.terminated.end_idle()
        while self.connections:
            await self._connection_ended.park()

    def connection_ended(self, connection: Connection) -> None:
        """Forget a connection."""
        self.connections.discard(connection)
        self._connection_ended.unpark_all()

    async def hurry_when_cancelled(self) -> None:
        """Wait to be cancelled, and have everything end within a quarter of a second.

        The connections are told, because their writes are shielded. If the worker is being
        stopped, this is the second order: answers that may still go on are told of their end first.
        """
        try:
            await trio.sleep_forever()
        finally:
            self._hurry()
            if self.is_stopping:
                self.skip()
                with trio.move_on_after(_LAST_SECONDS, shield=True):
                    await self._stopped.wait()
            self.body.cancel()

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
        if (worker := current_worker.get()) is not None:
            worker.terminated = self.terminated


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
    last_call: _Trigger = trio.lowlevel.checkpoint,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve as hypercorn's ``worker_serve`` does, until the trigger returns and all is drained.

    ``config.graceful_timeout`` is set to zero: the drain has its own bound. A ``config.backlog``
    that was left as it is becomes longer. Cancelling ends everything at once; once the trigger has
    returned, within a quarter of a second, in which answers are told of their end.

    Args:
        app: the application.
        config: hypercorn's configuration.
        sockets: where to listen, if not where ``config`` says.
        shutdown_trigger: returns when the worker has to stop.
        last_call: awaited after the drain, before the last connections are accepted. A program
            that closes the sockets afterwards uses it to let no other one come.
        task_status: is told the URLs once requests are accepted.

    """
    worker = Worker(last_call)
    current_worker.set(worker)
    config.graceful_timeout = 0.0
    _lengthen_backlog(config, sockets)

    async def until_drained() -> None:
        await shutdown_trigger()
        await worker.stop()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.hurry_when_cancelled)
        with worker.body:
            await _upstream_worker_serve(
                app,
                config,
                sockets=sockets,
                shutdown_trigger=until_drained,
                task_status=task_status,
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
