"""What is known of each request when it ends: one line in the log, and the metrics."""

from typing import TYPE_CHECKING, Any

import anyio
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from structlog.stdlib import get_logger

from relay_model.outcome import UNKNOWN, FinishReason

if TYPE_CHECKING:
    from relay_model.admission import Admission
    from relay_model.outcome import Outcome

__all__ = ["Metrics", "RequestLog"]

# Seconds.
_TIMES = (0.01, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 180.0)

# A session id comes from outside; this much of it tells two apart.
_LOGGED_SESSION_ID = 64

_MILLISECONDS = 3
_TENTHS = 1

_log = get_logger(__name__)


class Metrics:
    """The service's metrics, in a registry of their own: one for each service."""

    def __init__(self, turns: "Admission") -> None:
        """Register them; ``turns`` is looked at whenever somebody asks."""
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "relay_model_requests",
            "Requests that have ended",
            ["cause", "status"],
            registry=self.registry,
        )
        self._gauge("answers_in_progress", "Answers under way").set_function(lambda: turns.taken)
        self._gauge("requests_queued", "Requests that wait").set_function(lambda: turns.queued)
        self.pieces = self._counter("pieces", "Pieces of text sent")
        self.prompt_tokens = self._counter("prompt_tokens", "Tokens read, as the model counts")
        self.completion_tokens = self._counter(
            "completion_tokens", "Tokens made, as the model counts"
        )
        self.queue = self._histogram("queue_seconds", "From a request to its turn")
        self.first_token = self._histogram(
            "time_to_first_token_seconds", "From a request to the first piece of its answer"
        )
        self.duration = self._histogram("request_duration_seconds", "From a request to its end")

    def _gauge(self, name: str, description: str) -> Gauge:
        return Gauge(f"relay_model_{name}", description, registry=self.registry)

    def _counter(self, name: str, description: str) -> Counter:
        return Counter(f"relay_model_{name}", description, registry=self.registry)

    def _histogram(self, name: str, description: str) -> Histogram:
        return Histogram(f"relay_model_{name}", description, buckets=_TIMES, registry=self.registry)


class RequestLog:
    """One request: its answer counted, and timed on the event loop's clock."""

    def __init__(self, session_id: str, metrics: Metrics) -> None:
        """Start the clock; needs a running event loop."""
        self.outcome: Outcome = UNKNOWN
        self._session_id = session_id[:_LOGGED_SESSION_ID]
        self._metrics = metrics
        self._pieces = 0
        self._started = anyio.current_time()
        self._turn: float | None = None
        self._first: float | None = None
        self._notes: dict[str, Any] = {}

    def begin_turn(self) -> None:
        """Take note that the request need not wait any longer."""
        self._turn = anyio.current_time()

    def count(self) -> None:
        """Take note of one more piece."""
        if self._first is None:
            self._first = anyio.current_time()
        self._pieces += 1

    def note(self, **notes: Any) -> None:
        """Have something more in the log line."""
        self._notes.update(notes)

    def end(self, *, cause: str, status: str) -> None:
        """Write the line, a warning when the model failed, and bring the metrics up to date.

        The prompt and the answer are nobody's business.
        """
        seconds = anyio.current_time() - self._started
        self._observe(cause, status, seconds)
        write = _log.warning if cause in {"model_error", "model_unavailable"} else _log.info
        write(
            "request ended",
            cause=cause,
            status=status,
            session_id=self._session_id,
            tokens=self._pieces,
            seconds=round(seconds, _MILLISECONDS),
            **self._times(seconds),
            **self._ending(),
            **self._notes,
        )

    def _observe(self, cause: str, status: str, seconds: float) -> None:
        metrics = self._metrics
        metrics.requests.labels(cause, status).inc()
        metrics.pieces.inc(self._pieces)
        metrics.duration.observe(seconds)
        if self._turn is not None:
            metrics.queue.observe(self._turn - self._started)
        if self._first is not None:
            metrics.first_token.observe(self._first - self._started)
        if self.outcome.usage is not None:
            metrics.prompt_tokens.inc(self.outcome.usage.prompt_tokens)
            metrics.completion_tokens.inc(self.outcome.usage.completion_tokens)

    def _times(self, seconds: float) -> dict[str, float]:
        """Give what there was to be measured, in seconds."""
        times: dict[str, float] = {}
        if self._turn is not None and (waited := round(self._turn - self._started, _MILLISECONDS)):
            times["queue_seconds"] = waited
        if self._first is not None:
            first = self._first - self._started
            times["first_token_seconds"] = round(first, _MILLISECONDS)
            if seconds > first and self._pieces > 1:
                # The first token's time is the prompt's; the rate is that of the others.
                times["tokens_per_second"] = round((self._pieces - 1) / (seconds - first), _TENTHS)
        return times

    def _ending(self) -> dict[str, Any]:
        ending: dict[str, Any] = {}
        if self.outcome.finish_reason is not FinishReason.UNSPECIFIED:
            ending["finish_reason"] = self.outcome.finish_reason.name.lower()
        if self.outcome.usage is not None:
            ending.update(self.outcome.usage._asdict())
        return ending
