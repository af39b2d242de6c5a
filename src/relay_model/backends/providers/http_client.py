"""The HTTP client under a provider's library: httpx, or its successor httpx2.

Two things in it would outlive a request that is cancelled. A request that waits for a place in the
client's pool may keep that place for good (httpcore issue 1093): here no request waits, as the
service itself bounds how many there are. And a connection is lost whose request is cancelled while
TLS is being set up, when its socket stays open until the garbage collector finds it, or just after,
when the pool counts it as new for as long as it lives. httpcore's ``trace`` extension tells of
these two moments, in the task of the request; here they are put right.
"""

import logging
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import anyio.lowlevel

if TYPE_CHECKING:
    from types import ModuleType

    from relay_model.settings import ModelSettings

__all__ = ["client_options"]


def client_options(httpx: "ModuleType", settings: "ModelSettings") -> dict[str, Any]:
    """Return the arguments for an ``AsyncClient`` of a library, ``httpx`` or ``httpx2``."""
    if settings.log_level != "debug":
        # Each request has a line of our own already.
        logging.getLogger(httpx.__name__).setLevel(logging.WARNING)
    return {
        # Each time that nothing comes for so long, not for an answer as a whole.
        "timeout": httpx.Timeout(settings.read_timeout, connect=settings.connect_timeout),
        "limits": httpx.Limits(
            max_connections=None, max_keepalive_connections=settings.max_concurrent
        ),
        "event_hooks": {"request": [_watch_opening]},
    }


class _Request(Protocol):
    """The part of a request that is used here."""

    extensions: dict[str, Any]


class _Stream(Protocol):
    """The part of httpcore's network stream that is used here."""

    async def aclose(self) -> None: ...


async def _watch_opening(
    request: _Request,
) -> None:
    request.extensions["trace"] = _Opening()


class _Opening:
    """Closes the socket of a connection that nobody will own."""

    def __init__(self) -> None:
        self._stream: _Stream | None = None

    async def __call__(self, event: str, info: dict[str, Any]) -> None:
        """Hear of a step of the request, such as ``connection.start_tls.complete``."""
        step = event.partition(".")[2]
        if step in {"connect_tcp.complete", "start_tls.complete"}:
            self._stream = info["return_value"]
            await self._close_if_cancelled()
        elif step == "start_tls.failed":
            await self._close()

    async def _close_if_cancelled(self) -> None:
        # Here the client still takes a cancellation for a failure to connect, and forgets the
        # connection; at its own next checkpoint it does not.
        try:
            await anyio.lowlevel.checkpoint_if_cancelled()
        except BaseException:
            await self._close()  # noqa: ASYNC102 - has a scope of its own
            raise

    async def _close(self) -> None:
        if self._stream is None:
            return
        # In a scope that is cancelled, a stream is closed without waiting for anything.
        with anyio.CancelScope(shield=True) as scope:
            scope.cancel()
            await self._stream.aclose()
