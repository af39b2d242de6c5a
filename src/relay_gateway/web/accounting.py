"""What is recorded of each request: one cause, one line in the log, the metrics.

The record is kept at the ASGI boundary, around the whole application, because that is where a
request is over whatever ended it: also one whose browser left before a body was begun.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import trio
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from structlog.stdlib import get_logger

from relay_common.trace import join_trace
from relay_gateway.extensions import Client, client_of
from relay_gateway.relay.outcome import Cause

if TYPE_CHECKING:
    from relay_gateway.relay.relay import Relay
    from relay_gateway.web.shutdown import Shutdown

__all__ = ["Accounting", "Metrics", "RequestLog"]

_Scope = dict[str, Any]
_Receive = Callable[[], Awaitable[dict[str, Any]]]
_Send = Callable[[dict[str, Any]], Awaitable[None]]
_Application = Callable[[_Scope, _Receive, _Send], Awaitable[None]]

_RECORD = "relay_gateway.web.accounting"
_TRACE = b"traceparent"
_TIMES = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 180.0)
#: An unbounded session id would fill the log with whatever a stranger sends.
_LOGGED_SESSION_LENGTH = 64

_log = get_logger(__name__)
_lines = logging.getLogger(__name__)


class Metrics:
    """The gateway's metrics, in a registry of their own: one for each application."""

    def __init__(self) -> None:
        """Register them, with the process's memory, CPU time and files where there is /proc."""
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.watch("relay_tasks", "Tasks of the event loop now alive", _count_tasks)
        self.requests = Counter(
            "relay_requests", "Streams that have ended", ["cause"], registry=self.registry
        )
        for cause in Cause:
            self.requests.labels(cause)
        self.in_progress = Gauge(
            "relay_requests_in_progress", "Streams now open", registry=self.registry
        )
        self.tokens = Counter("relay_tokens", "Tokens received", registry=self.registry)
        self.first_token = Histogram(
            "relay_time_to_first_token_seconds",
            "From the request to the model's first token",
            buckets=_TIMES,
            registry=self.registry,
        )
        self.duration = Histogram(
            "relay_request_duration_seconds",
            "From the request to its end",
            buckets=_TIMES,
            registry=self.registry,
        )

    def watch(self, name: str, text: str, count: Callable[[], float]) -> None:
        """Add a gauge that is read when the metrics are."""
        Gauge(name, text, registry=self.registry).set_function(count)


def _count_tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living


class RequestLog:
    """One request for an answer."""

    def __init__(self, session_id: str, metrics: Metrics) -> None:
        """Begin, as a request is accepted."""
        #: The relay, once it has been opened.
        self.relay: Relay | None = None
        self._session_id = session_id
        self._metrics = metrics
        self._started = trio.current_time()
        metrics.in_progress.inc()

    def end(self, *, client_disconnected: bool) -> None:
        """RequestLog why the request is over; to be called once."""
        # Whatever is not over by itself and was not left by the browser is cancelled from above.
        otherwise = Cause.CLIENT_DISCONNECT if client_disconnected else Cause.SHUTDOWN
        relay = self.relay
        cause = otherwise if relay is None else relay.cause(otherwise=otherwise)
        self._measure(cause)
        if _lines.isEnabledFor(logging.INFO):  # structlog would find out after most of the work
            _log.info("request ended", cause=cause.value, **self._details())

    def _measure(self, cause: Cause) -> None:
        metrics = self._metrics
        metrics.in_progress.dec()
        metrics.requests.labels(cause).inc()
        metrics.duration.observe(trio.current_time() - self._started)
        if self.relay is not None:
            metrics.tokens.inc(self.relay.tokens)
            if self.relay.first_token is not None:
                metrics.first_token.observe(self.relay.first_token - self.relay.started)

    def _details(self) -> dict[str, Any]:
        details: dict[str, Any] = {
            "session_id": self._session_id[:_LOGGED_SESSION_LENGTH],
            "seconds": round(trio.current_time() - self._started, 3),
        }
        relay = self.relay
        if relay is None:
            return details
        details["tokens"] = relay.tokens
        if relay.first_token is not None:
            details["first_token_seconds"] = round(relay.first_token - relay.started, 3)
        if relay.ending is not None and relay.ending.detail:
            details["status"], details["detail"] = relay.ending.code, relay.ending.detail
        return details


class Accounting:
    """ASGI middleware that sees how each request ends."""

    def __init__(self, application: _Application, metrics: Metrics, shutdown: "Shutdown") -> None:
        """Wrap ``application``; ``shutdown`` is told of each request."""
        self._application = application
        self._shutdown = shutdown
        self._metrics = metrics

    def begin(self, scope: Any, session_id: str) -> RequestLog:
        """Start the record of the request with this ASGI scope."""
        record: RequestLog = scope.setdefault(_RECORD, RequestLog(session_id, self._metrics))
        return record

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Run the application, and end the record if it began one."""
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
            return
        # A server runs each request in a task of its own.
        join_trace([value.decode("latin-1") for name, value in scope["headers"] if name == _TRACE])
        client: Client | _Observed | None = client_of(scope)
        if client is None:
            client = observed = _Observed(receive)
            receive = observed.receive
        self._shutdown.request_began()
        try:
            await self._application(scope, receive, send)
        finally:
            self._shutdown.request_ended()
            record: RequestLog | None = scope.get(_RECORD)
            if record is not None:
                record.end(client_disconnected=client.disconnected)


class _Observed:
    """A client of whom the server tells nothing beyond ASGI."""

    def __init__(self, receive: _Receive) -> None:
        self._receive = receive
        self.disconnected = False

    async def receive(self) -> dict[str, Any]:
        message = await self._receive()
        self.disconnected = self.disconnected or message["type"] == "http.disconnect"
        return message
