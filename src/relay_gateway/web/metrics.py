"""The gateway's metrics, for Prometheus: one registry for each application.

What a request adds is counted where it ends (see ``accounting``). What the process holds is a gauge
that is read when somebody scrapes, for example ``relay_tasks``, so that it costs a request nothing.
"""

from collections.abc import Callable

import trio
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from relay_common.log_metrics import DroppedLines
from relay_gateway.relay.outcome import Cause

__all__ = ["Metrics"]

_TIMES = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 180.0)


class Metrics:
    """The gateway's metrics, in a registry of their own."""

    def __init__(self) -> None:
        """Register them, with the process's memory, CPU time and files where there is /proc."""
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.registry.register(DroppedLines("relay_log_lines_dropped"))
        self.watch("relay_tasks", "Tasks of the event loop now alive", _count_tasks)
        self.requests = Counter(
            "relay_requests", "Streams that have ended", ["cause"], registry=self.registry
        )
        for cause in Cause:
            self.requests.labels(cause)
        self.in_progress = Gauge(
            "relay_requests_in_progress", "Streams now open", registry=self.registry
        )
        self.loop_blocked = Counter(
            "relay_loop_blocked", "Times that the event loop was blocked", registry=self.registry
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

    async def exposition(self) -> bytes:
        """Return all metrics in Prometheus's text format.

        Here they are those of this process. With several workers they are those of all, and this
        waits for them.

        Raises:
            TooSlowError: the others cannot be asked.

        """
        await trio.lowlevel.checkpoint()
        return generate_latest(self.registry)

    def watch(self, name: str, text: str, count: Callable[[], float]) -> None:
        """Add a gauge that is read when the metrics are."""
        Gauge(name, text, registry=self.registry).set_function(count)


def _count_tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living
