"""The model service as a part of a program: a backend, and a server in front of it."""

from typing import TYPE_CHECKING

import anyio
from structlog.stdlib import get_logger

from grpclib_anyio.config import Configuration
from grpclib_anyio.server import Server
from relay_model.backends import open_backend
from relay_model.service import AiService
from relay_program.errors import EXIT_FAILURE, StartupError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyio.abc import TaskStatus

    from grpclib_anyio.server import BoundAddress
    from relay_model.settings import ModelSettings

__all__ = ["serve"]

_log = get_logger(__name__)


#: A gateway asks after 20 s of silence; one that asks more often than this is told to stop it.
_CONFIG = Configuration(http2_min_recv_ping_interval_without_data=15.0)


async def serve(  # noqa: ASYNC128 - the server says when it has started, through _Announcement
    settings: "ModelSettings",
    *,
    task_status: "TaskStatus[Sequence[BoundAddress]]" = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Open the backend, listen, and answer prompts until cancelled.

    Cancelling ends every answer, and has done so when this returns.

    Args:
        settings: which backend, where to listen, and all the rest.
        task_status: is told the bound addresses once prompts can be sent to them.

    Raises:
        StartupError: the backend lacks something, or the address cannot be listened on.

    """
    async with open_backend(settings) as backend:
        service = AiService(backend)
        server = Server([service], config=_CONFIG)
        ready = _Announcement(settings.backend, task_status)
        failure: OSError | None = None
        body = anyio.CancelScope(shield=True)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_stop_before_cancelling, service, body)
            with body:
                try:
                    await server.serve(settings.host, settings.port, task_status=ready)
                except OSError as error:  # raised here, it would leave the task group in a group
                    failure = error
            tasks.cancel_scope.cancel()
        if failure is not None:
            raise _cannot_listen(settings, failure) from failure


async def _stop_before_cancelling(service: AiService, body: anyio.CancelScope) -> None:
    """Pass a cancellation on to ``body`` once the service knows of it.

    So the service knows why its answers are cancelled. The shield around ``body`` holds the
    cancellation back for no longer than this takes.
    """
    try:
        await anyio.sleep_forever()
    finally:
        service.stop_nowait()
        body.cancel()


def _cannot_listen(settings: "ModelSettings", error: OSError) -> StartupError:
    reason = (error.strerror or str(error)).lower()
    return StartupError(
        f"cannot listen on {settings.host}:{settings.port}: {reason}", exit_code=EXIT_FAILURE
    )


class _Announcement:
    """Writes to the log that the service is up, and passes it on."""

    def __init__(self, backend: str, task_status: "TaskStatus[Sequence[BoundAddress]]") -> None:
        self._backend = backend
        self._task_status = task_status

    def started(self, value: "Sequence[BoundAddress] | None" = None) -> None:
        addresses = value or ()
        _log.info("serving", backend=self._backend, addresses=list(addresses))
        self._task_status.started(addresses)
