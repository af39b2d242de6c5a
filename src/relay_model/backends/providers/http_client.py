"""The HTTP client under a provider's library: httpx, or its successor httpx2.

A cancelled request can leave two things behind in such a client, and this module prevents both.

A place in the connection pool: a cancelled request that waits for a place may keep it forever
(httpcore issue 1093). Here no request waits, because the pool has no limit of its own; the service
bounds the number of requests.

A connection: when a request is cancelled during the TLS handshake, its socket stays open until the
garbage collector finds it. When it is cancelled just after the handshake, the pool counts the
connection as new until the pool is closed. httpcore's ``trace`` extension reports both moments in
the task of the request, and the hook here closes the socket then.

The same hook tells whether a request failed because the provider had closed a kept connection, so
that it can be made again; see :func:`found_closed`.

For example, the client of the ollama library::

    ollama.AsyncClient(host=url, **client_options(httpx, settings))
"""

import logging
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import anyio.lowlevel

if TYPE_CHECKING:
    from types import ModuleType

    from relay_model.backends.settings import BackendSettings

__all__ = ["client_options", "found_closed"]


def client_options(httpx: "ModuleType", settings: "BackendSettings") -> dict[str, Any]:
    """Return the arguments for an ``AsyncClient`` of a library, ``httpx`` or ``httpx2``."""
    if settings.log_level != "debug":
        # The service logs a line of its own for each request.
        logging.getLogger(httpx.__name__).setLevel(logging.WARNING)
    return {
        # The read timeout is for each read, not for an answer as a whole.
        "timeout": httpx.Timeout(settings.read_timeout, connect=settings.connect_timeout),
        "limits": httpx.Limits(
            max_connections=None, max_keepalive_connections=settings.max_concurrent
        ),
        "event_hooks": {"request": [_trace]},
    }


class _Request(Protocol):
    """The part of a request that is used here."""

    extensions: dict[str, Any]


class _Stream(Protocol):
    """The part of httpcore's network stream that is used here."""

    async def aclose(self) -> None: ...


async def _trace(request: _Request) -> None:
    request.extensions["trace"] = _Trace()


def found_closed(request: _Request) -> bool:
    """Say whether a request was made on a kept connection and got no response.

    Providers close idle connections, perhaps just as a request is sent. They have answered nothing
    of it then, so the request may be made again on a new connection (RFC 9112, section 9.3.1).
    """
    trace = request.extensions.get("trace")
    return isinstance(trace, _Trace) and not (trace.is_new_connection or trace.has_response)


class _Trace:
    """Follows one request, and closes the socket of a connection that no pool will own."""

    def __init__(self) -> None:
        self.is_new_connection = False
        self.has_response = False
        self._stream: _Stream | None = None

    async def __call__(self, event: str, info: dict[str, Any]) -> None:
        """Handle a step of the request, for example ``connection.start_tls.complete``."""
        step = event.partition(".")[2]
        if step == "connect_tcp.started":
            self.is_new_connection = True
        elif step == "receive_response_headers.complete":
            self.has_response = True
        elif step in {"connect_tcp.complete", "start_tls.complete"}:
            self._stream = info["return_value"]
            await self._close_if_cancelled()
        elif step == "start_tls.failed":
            await self._close()

    async def _close_if_cancelled(self) -> None:
        # A cancellation at this point is a failed connection to the client, so the client forgets
        # the connection. At its own next checkpoint it would keep it.
        try:
            await anyio.lowlevel.checkpoint_if_cancelled()
        except BaseException:
            await self._close()  # noqa: ASYNC102 - is shielded, and cancels itself at once
            raise

    async def _close(self) -> None:
        if self._stream is None:
            return
        # In a cancelled scope, closing a stream waits for nothing: no TLS goodbye is sent.
        with anyio.CancelScope(shield=True) as scope:
            scope.cancel()
            await self._stream.aclose()
