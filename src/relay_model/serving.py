"""The model service as a part of a program: a backend, and a server in front of it.

The tasks, and what ends them::

    serve
      ├── a task that is cancelled first, and tells the service why
      └── the parts, shielded until then
            ├── server      the answers; ends when it is cancelled, or drained
            ├── backend     opened while the server listens; outlives the answers
            ├── drain       waits until a drain is requested
            └── metrics     for Prometheus, if they have a port

For example, in a program of your own::

    async with anyio.create_task_group() as tasks:
        addresses = await tasks.start(partial(serve, ModelSettings(port=0)))
        ...
        tasks.cancel_scope.cancel()
"""

from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio
from grpclib.encoding.proto import ProtoStatusDetailsCodec
from grpclib.events import RecvRequest, listen
from structlog.stdlib import get_logger

from grpclib_anyio.betterproto import BoundedCodec
from grpclib_anyio.config import Configuration
from grpclib_anyio.health import Health, ServingStatus
from grpclib_anyio.server import Server
from relay_common.errors import EXIT_FAILURE, StartupError, startup_error
from relay_common.trace import join_trace
from relay_common.watchdog import Watchdog
from relay_model import metrics_server
from relay_model.admission import Admission
from relay_model.backends.registry import open_backend
from relay_model.service import AiService

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from anyio.abc import TaskGroup, TaskStatus

    from grpclib_anyio.server import BoundAddress
    from relay_model.settings import ModelSettings

__all__ = ["serve"]

_SERVICE = "ai.AIService"

# Seconds. A gateway pings after 20 s of silence. A client that pings more often than this gets
# GOAWAY.
_PING_INTERVAL = 15.0

# Streams that one connection may have besides admitted and queued requests: health checks, and
# requests that are being refused. A client at the limit would queue requests where we cannot see
# them.
_SPARE_STREAMS = 1000

# Bytes of a request besides its text and images: schemas of tools, names, and protobuf's own.
_REST = 2**19

# Messages, parts, tools and stop texts of a request. One takes two bytes to send, and 4 µs to read.
_MAX_ITEMS = 10_000

# Bytes of all requests together, of which one gateway may hold half.
_MAX_HELD = 2**28

_log = get_logger(__name__)


async def serve(  # noqa: ASYNC128 - _hold_backend calls started()
    settings: "ModelSettings",
    *,
    drain: anyio.Event | None = None,
    task_status: "TaskStatus[Sequence[BoundAddress]]" = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Listen, open the backend, and answer prompts until cancelled or drained.

    While the backend is being opened, prompts are answered with UNAVAILABLE, and health checks
    (``grpc.health.v1``) with NOT_SERVING. When this has been cancelled, every answer has ended.

    Args:
        settings: which backend to open, where to listen, and all other settings.
        drain: when it is set, no more prompts are accepted. This then returns when the last answer
            has ended, after ``settings.drain_seconds`` at most.
        task_status: is told the bound addresses once prompts can be sent to them.

    Raises:
        StartupError: the backend cannot be opened, or the address cannot be listened on.

    """
    try:
        await _Parts(settings, drain, task_status).run()
    except BaseExceptionGroup as group:
        raise startup_error(group) or group from group


class _Parts:
    """The life of one service."""

    def __init__(
        self,
        settings: "ModelSettings",
        drain: anyio.Event | None,
        started: "TaskStatus[Sequence[BoundAddress]]",
    ) -> None:
        self._settings = settings
        self._drain = drain
        self._started = started
        self._service = AiService(
            None,
            Admission(settings.max_concurrent, settings.max_queued),
            max_prompt_bytes=settings.max_prompt_bytes,
        )
        self._health = Health(dict.fromkeys(("", _SERVICE), ServingStatus.NOT_SERVING))
        self._server = Server(
            [self._service, self._health],
            codec=BoundedCodec(max_items=_MAX_ITEMS),
            status_details_codec=ProtoStatusDetailsCodec(),
            config=_configuration(settings),
        )
        listen(self._server, RecvRequest, _bind_trace)
        self._body = anyio.CancelScope(shield=True)
        self._backend_needed = anyio.CancelScope(shield=True)

    async def run(self) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._stop_before_cancelling)
            with self._body:
                await self._run_body()
            tasks.cancel_scope.cancel()

    async def _stop_before_cancelling(self) -> None:
        """Tell the service about a cancellation, and only then cancel the body.

        Therefore the service knows why its answers are cancelled. The shield around the body delays
        the cancellation only until this task has run.
        """
        try:
            await anyio.sleep_forever()
        finally:
            self._service.stop()
            self._body.cancel()

    async def _run_body(self) -> None:
        async with anyio.create_task_group() as parts:
            try:
                async with anyio.create_task_group() as answers:
                    await self._start(answers, parts)
            finally:
                self._backend_needed.cancel()
            parts.cancel_scope.cancel()

    async def _start(self, answers: "TaskGroup", parts: "TaskGroup") -> None:
        settings = self._settings
        host = settings.host
        with _listening(host, settings.port):
            addresses: Sequence[BoundAddress] = await answers.start(
                self._server.serve, host, settings.port
            )
        if settings.metrics_port is not None:
            with _listening(host, settings.metrics_port):
                await parts.start(
                    metrics_server.serve,
                    self._service.metrics.registry,
                    host,
                    settings.metrics_port,
                )
        if self._drain is not None:
            parts.start_soon(self._drain_when_asked, self._drain)
        parts.start_soon(self._hold_backend, addresses)

    async def _hold_backend(self, addresses: "Sequence[BoundAddress]") -> None:
        with self._backend_needed:
            async with open_backend(self._settings) as backend:
                self._service.begin(backend)
                self._health.set_all(ServingStatus.SERVING)
                _log.info("serving", backend=self._settings.backend, addresses=list(addresses))
                self._started.started(addresses)
                blocked = self._service.metrics.loop_blocked
                with Watchdog(self._settings.watchdog_seconds, blocked.inc):
                    await anyio.sleep_forever()

    async def _drain_when_asked(self, drain: anyio.Event) -> None:
        await drain.wait()
        grace = self._settings.drain_seconds
        _log.info("draining", seconds=grace)
        self._health.shutdown()
        self._service.stop(grace)
        self._server.drain(grace)


def _configuration(settings: "ModelSettings") -> Configuration:
    streams = settings.max_concurrent + settings.max_queued + _SPARE_STREAMS
    return Configuration(
        http2_min_recv_ping_interval_without_data=_PING_INTERVAL,
        max_concurrent_streams=streams,
        max_message_size=settings.max_prompt_bytes + _REST,
        max_held_size=_MAX_HELD,
        accepts_compression=settings.accept_compression,
        max_connection_idle=settings.idle_seconds,
    )


@contextmanager
def _listening(host: str, port: int) -> "Generator[None]":
    try:
        yield
    except (OSError, TypeError, UnicodeError) as error:  # the last two: no host's name
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        message = f"cannot listen on {host}:{port}: {reason}"
        raise StartupError(message, exit_code=EXIT_FAILURE) from error


async def _bind_trace(request: RecvRequest) -> None:
    """Add the trace that a call belongs to, to every line that its task logs."""
    join_trace([str(value) for value in request.metadata.getall("traceparent", [])])
