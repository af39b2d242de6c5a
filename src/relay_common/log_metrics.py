"""A metric of the log itself: the lines that nobody will read.

For example, ``relay_log_lines_dropped_total 0.0``, as the gateway names it.
"""

from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from relay_common.background import dropped_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DroppedLines"]


class DroppedLines(Collector):
    """Reads how many lines of the process's log were dropped, whenever the metrics are read."""

    def __init__(self, name: str) -> None:
        """Give the metric its name, which ends with ``_total`` where it is read."""
        self._name = name

    def collect(self) -> "Iterator[CounterMetricFamily]":
        """Give the count since the start of the process."""
        text = "Lines of the log that were dropped, because its reader was too slow or gone"
        yield CounterMetricFamily(self._name, text, dropped_lines())
