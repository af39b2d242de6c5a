"""Accounting for each request: one line in the log when it ends, and the metrics.

For example, the line of a complete answer::

    level='info' logger='relay_model.accounting' event='request ended' cause='done' status='OK'
    session_id='s' tokens=4 seconds=0.31 first_token_seconds=0.01 tokens_per_second=10.0
    finish_reason='stop'
"""

from typing import TYPE_CHECKING, Any

import anyio
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from structlog.stdlib import get_logger

from relay_common.log_metrics import DroppedLines
from relay_model.outcome import UNKNOWN, FinishReason

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay_model.admission import Admission
    from relay_model.outcome import Outcome

__all__ = ["Metrics", "RequestLog"]

# The bounds of the histograms' buckets, in seconds.
_TIMES = (0.01, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 180.0)

# Characters. A session id comes from the caller; without a limit it could fill the log.
_LOGGED_SESSION_LENGTH = 64

_MILLISECONDS = 3
_TENTHS = 1

_log = get_logger(__name__)


class Metrics:
    """The service's metrics, in a registry of their own: one for each service."""

    def __init__(self, admission: "Admission") -> None:
        """Register the metrics; ``admission`` is read whenever the metrics are."""
        self.registry = CollectorRegistry()
        self.registry.register(DroppedLines("relay_model_log_lines_dropped"))
        self.requests = Counter(
            "relay_model_requests",
            "Requests that have ended",
            ["cause", "status"],
            registry=self.registry,
        )
        self._watch("answers_in_progress", "Answers now in progress", lambda: admission.admitted)
        self._watch("requests_queued", "Requests now waiting", lambda: admission.queued)
        self.loop_blocked = self._counter("loop_blocked", "Times that the event loop was blocked")
        self.pieces = self._counter("pieces", "Pieces of text sent")
        self.prompt_tokens = self._counter("prompt_tokens", "Tokens read, as the model counts")
        self.completion_tokens = self._counter(
            "completion_tokens", "Tokens made, as the model counts"
        )
        self.queue = self._histogram("queue_seconds", "From a request to its admission")
        self.first_token = self._histogram(
            "time_to_first_token_seconds", "From a request to the first piece of its answer"
        )
        self.duration = self._histogram("request_duration_seconds", "From a request to its end")

    def _watch(self, name: str, description: str, count: "Callable[[], float]") -> None:
        """Add a gauge that is read when the metrics are."""
        gauge = Gauge(f"relay_model_{name}", description, registry=self.registry)
        gauge.set_function(count)

    def _counter(self, name: str, description: str) -> Counter:
        return Counter(f"relay_model_{name}", description, registry=self.registry)

    def _histogram(self, name: str, description: str) -> Histogram:
        return Histogram(f"relay_model_{name}", description, buckets=_TIMES, registry=self.registry)


class RequestLog:
    """What is recorded of one request, timed on the event loop's clock."""

    def __init__(self, session_id: str, metrics: Metrics) -> None:
        """Begin, as a request is received; needs a running event loop."""
        self.outcome: Outcome = UNKNOWN
        self._session_id = session_id[:_LOGGED_SESSION_LENGTH]
        self._metrics = metrics
        self._pieces = 0
        self._started = anyio.current_time()
        self._admitted: float | None = None
        self._first_piece: float | None = None
        self._details: dict[str, Any] = {}

    def admitted(self) -> None:
        """Record that the request waits no longer."""
        self._admitted = anyio.current_time()

    def piece_sent(self) -> None:
        """Record one more piece of the answer."""
        if self._first_piece is None:
            self._first_piece = anyio.current_time()
        self._pieces += 1

    def add(self, **details: Any) -> None:
        """Add fields to the log line."""
        self._details.update(details)

    def end(self, *, cause: str, status: str) -> None:
        """Write the log line and update the metrics; to be called once, not a checkpoint.

        The line is a warning when the model failed. It never has the prompt or the answer.

        Args:
            cause: why the request ended, for example ``client_disconnect``.
            status: the name of the gRPC status that the caller gets.

        """
        seconds = anyio.current_time() - self._started
        self._update_metrics(cause, status, seconds)
        write = _log.warning if cause in {"model_error", "model_unavailable"} else _log.info
        write(
            "request ended",
            cause=cause,
            status=status,
            session_id=self._session_id,
            tokens=self._pieces,
            seconds=round(seconds, _MILLISECONDS),
            **self._times(seconds),
            **self._outcome_fields(),
            **self._details,
        )

    def _update_metrics(self, cause: str, status: str, seconds: float) -> None:
        metrics = self._metrics
        metrics.requests.labels(cause, status).inc()
        metrics.pieces.inc(self._pieces)
        metrics.duration.observe(seconds)
        if self._admitted is not None:
            metrics.queue.observe(self._admitted - self._started)
        if self._first_piece is not None:
            metrics.first_token.observe(self._first_piece - self._started)
        if self.outcome.usage is not None:
            metrics.prompt_tokens.inc(self.outcome.usage.prompt_tokens)
            metrics.completion_tokens.inc(self.outcome.usage.completion_tokens)

    def _times(self, seconds: float) -> dict[str, float]:
        """Return the times of the steps that the request has reached, in seconds."""
        times: dict[str, float] = {}
        if self._admitted is not None and (
            waited := round(self._admitted - self._started, _MILLISECONDS)
        ):
            times["queue_seconds"] = waited
        if self._first_piece is not None:
            first = self._first_piece - self._started
            times["first_token_seconds"] = round(first, _MILLISECONDS)
            if seconds > first and self._pieces > 1:
                # The first token's time depends on the prompt; the rate is that of the others.
                times["tokens_per_second"] = round((self._pieces - 1) / (seconds - first), _TENTHS)
        return times

    def _outcome_fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        if self.outcome.finish_reason is not FinishReason.UNSPECIFIED:
            fields["finish_reason"] = self.outcome.finish_reason.name.lower()
        if self.outcome.usage is not None:
            known = self.outcome.usage._asdict().items()
            fields.update((name, count) for name, count in known if count is not None)
        return fields
