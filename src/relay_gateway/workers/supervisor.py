"""Starts the workers of a gateway, replaces one that ends, and stops all of them.

The tasks, and what ends them::

    supervise
      ├── a task that is cancelled first, and has the workers end at once
      └── shielded until then
            ├── a place for each worker     starts one process after the other
            └── stop                        waits until it is told to, and drains all

A worker that ends is replaced after a pause, which grows while its successors do not live long.
While one worker serves, the others are tried again without an end. When none does, and those of one
place have ended five times before they could serve, the supervisor gives up. For example::

    urls = await nursery.start(partial(supervise, GatewaySettings(workers=4), stop=trio.Event()))
"""

from collections.abc import Callable, Sequence

import trio
from prometheus_client import CollectorRegistry, Counter, Gauge
from structlog.stdlib import get_logger

from relay_common.errors import EXIT_FAILURE, StartupError, startup_error
from relay_gateway.server.accept import refuse_new_connections
from relay_gateway.serving import listen
from relay_gateway.settings import GatewaySettings
from relay_gateway.workers.figures import Totals, figures_of
from relay_gateway.workers.process import PROGRAM, Patience, Plan, WorkerProcess

__all__ = ["supervise"]

#: Seconds for workers that were told to end at once: to tell their answers, and to leave Python.
_SKIP_SECONDS = 3.0

#: Is told the URLs when the first worker serves.
_Started = Callable[[list[str]], None]

_log = get_logger(__name__)


async def supervise(  # noqa: ASYNC128 - the first worker that serves says that it has started
    settings: GatewaySettings,
    *,
    stop: trio.Event,
    patience: Patience | None = None,
    program: Sequence[str] = PROGRAM,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve with ``settings.workers`` processes until told to stop.

    Cancelling has the workers tell their answers, and ends them within three seconds.

    Args:
        settings: what each worker serves.
        stop: when it is set, all workers drain, and this returns when the last has ended. That
            takes ``settings.shutdown_grace_seconds``, ``settings.drain_seconds`` and five seconds
            at most; what is left then is killed.
        patience: how long to wait for workers.
        program: the command of a worker, without the numbers of its descriptors.
        task_status: is told the URLs once a worker serves.

    Raises:
        StartupError: the address cannot be listened on, or workers keep ending before they serve.

    """
    supervisor = _Supervisor(settings, stop, patience or Patience(), program)
    try:
        await supervisor.run(task_status.started)
    except BaseExceptionGroup as group:
        raise startup_error(group) or group from group


class _Supervisor:
    def __init__(
        self,
        settings: GatewaySettings,
        stop: trio.Event,
        patience: Patience,
        program: Sequence[str],
    ) -> None:
        self._settings, self._stop, self._patience = settings, stop, patience
        self._sockets = listen(settings)
        self._plan = Plan(settings, self._sockets.insecure_sockets, patience, program)
        #: By their places; a place is empty between two workers.
        self._workers: dict[int, WorkerProcess] = {}
        self._is_reported = False
        self._body = trio.CancelScope(shield=True)
        self._totals = Totals()
        self._registry = CollectorRegistry()
        Gauge("relay_workers", "Workers that serve", registry=self._registry).set_function(
            lambda: len(self._serving())
        )
        self._replaced = Counter(
            "relay_workers_ended", "Workers that have ended unasked", registry=self._registry
        )

    async def run(self, started: _Started) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._skip_when_cancelled)
                with self._body:
                    await self._run(started)
                nursery.cancel_scope.cancel()
        finally:
            for listening in self._sockets.insecure_sockets:
                listening.close()

    async def _run(self, started: _Started) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(1, self._settings.workers + 1):
                nursery.start_soon(self._keep, number, started)
            await self._stop.wait()
            nursery.cancel_scope.deadline = trio.current_time() + self._longest_stop
            await self._drain()

    # -- one place -----------------------------------------------------------------------------

    async def _keep(self, number: int, started: _Started) -> None:
        """Have a worker in a place, and another one when it has ended, until told to stop."""
        short_lived = failed_starts = 0
        while not self._stop.is_set():
            began = trio.current_time()
            worker = await self._run_one(number, started)
            if self._stop.is_set():
                return
            self._replaced.inc()
            _log.error("a worker has ended", worker=number, exit_code=worker.exit_code)
            failed_starts = 0 if worker.serves.is_set() else failed_starts + 1
            if failed_starts >= self._patience.starts and not self._serving():
                raise StartupError(
                    f"workers keep ending before they serve, the last one with exit code"
                    f" {worker.exit_code}",
                    exit_code=EXIT_FAILURE,
                )
            is_stable = trio.current_time() - began >= self._patience.stable
            short_lived = 0 if is_stable else short_lived + 1
            await self._pause(short_lived)

    async def _run_one(self, number: int, started: _Started) -> WorkerProcess:
        worker = WorkerProcess(number, self._plan, self._exposition)
        self._workers[number] = worker
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._report_start, worker, started)
                await worker.run()
                nursery.cancel_scope.cancel()
        finally:
            del self._workers[number]
            self._totals.retire(worker.figures)
        return worker

    async def _report_start(self, worker: WorkerProcess, started: _Started) -> None:
        await worker.serves.wait()
        if not self._is_reported:
            self._is_reported = True
            started(worker.urls)
        if self._stop.is_set():  # it began too late to be told with the others
            await worker.order({"do": "stop"})

    async def _pause(self, short_lived: int) -> None:
        patience = self._patience
        seconds = min(patience.first_pause * 2.0**short_lived, patience.longest_pause)
        with trio.move_on_after(seconds):
            await self._stop.wait()

    def _serving(self) -> list[WorkerProcess]:
        return [worker for worker in self._workers.values() if worker.serves.is_set()]

    # -- metrics ---------------------------------------------------------------------------------

    async def _exposition(self) -> bytes:
        """Return the metrics of all workers, those that have ended included."""
        async with trio.open_nursery() as nursery:
            for worker in self._serving():
                nursery.start_soon(worker.refresh, self._patience.scrape)
        living = [worker.figures for worker in self._workers.values()]
        return self._totals.exposition([figures_of(self._registry), *living])

    # -- the end ---------------------------------------------------------------------------------

    @property
    def _longest_stop(self) -> float:
        settings = self._settings
        return settings.shutdown_grace_seconds + settings.drain_seconds + self._patience.end

    async def _drain(self) -> None:
        """Stop all workers. The last connections are answered when none has an answer left."""
        workers = [*self._workers.values()]
        _log.info("stopping", workers=len(workers))
        await self._order_all({"do": "stop"})
        for worker in workers:
            await worker.drained.wait()
        for listening in self._sockets.insecure_sockets:
            refuse_new_connections(listening)
        await self._order_all({"do": "end"})

    async def _skip_when_cancelled(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self._stop.set()  # no worker is replaced from now on
            with trio.move_on_after(_SKIP_SECONDS, shield=True):
                await self._order_all({"do": "skip"})
                for worker in [*self._workers.values()]:
                    await worker.ended.wait()
            self._body.cancel()

    async def _order_all(self, order: dict[str, str]) -> None:
        async with trio.open_nursery() as nursery:
            for worker in self._workers.values():
                nursery.start_soon(worker.order, order)
