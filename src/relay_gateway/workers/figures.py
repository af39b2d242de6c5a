"""The metrics of several processes as those of one, at every scrape.

Counters and histograms are added up, also those of processes that have ended, so that a counter
never falls. Gauges are added up over the processes that live; :data:`_PICKED` has the exceptions.
Unlike prometheus_client's multiprocess mode, this has gauges that are read by a function, and needs
no directory. For example::

    totals = Totals()
    totals.retire(figures_of_a_worker_that_has_ended)
    totals.exposition([figures_of(registry), figures_of(other)])    # text for Prometheus
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric

__all__ = ["Figures", "Totals", "figures_of"]

#: Name, text, type and samples of each metric; a sample is its name, labels and value. All JSON.
Figures: TypeAlias = list[tuple[str, str, str, list[tuple[str, dict[str, str], float]]]]

_SampleKey: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]

#: Samples of which a sum says nothing.
_PICKED: dict[str, Callable[[float, float], float]] = {
    "process_start_time_seconds": min,
    "process_max_fds": max,
}
#: The types whose values stay when their process has ended.
_LASTING = frozenset({"counter", "histogram", "summary"})


def figures_of(registry: CollectorRegistry) -> Figures:
    """Read all metrics of a registry."""
    return [
        (
            metric.name,
            metric.documentation,
            metric.type,
            [(sample.name, dict(sample.labels), sample.value) for sample in metric.samples],
        )
        for metric in registry.collect()
    ]


class Totals:
    """The metrics of processes that have ended, to which those of the others are added."""

    def __init__(self) -> None:
        """Begin with none."""
        self._ended: Figures = []

    def retire(self, figures: Figures) -> None:
        """Keep what a process has counted that has ended."""
        lasting = [metric for metric in figures if metric[2] in _LASTING]
        self._ended = _merged([self._ended, lasting])

    def exposition(self, living: Iterable[Figures]) -> bytes:
        """Return all metrics in Prometheus's text format."""
        registry = CollectorRegistry()
        registry.register(_Merged(_merged([self._ended, *living])))
        return generate_latest(registry)


def _merged(several: Iterable[Figures]) -> Figures:
    metrics: dict[str, tuple[str, str, dict[_SampleKey, float]]] = {}
    for figures in several:
        for name, text, kind, samples in figures:
            _, _, values = metrics.setdefault(name, (text, kind, {}))
            for sample, labels, value in samples:
                key = (sample, tuple(sorted(labels.items())))
                values[key] = _together(sample)(values[key], value) if key in values else value
    return [
        (
            name,
            text,
            kind,
            [(sample, dict(labels), values[sample, labels]) for sample, labels in values],
        )
        for name, (text, kind, values) in metrics.items()
    ]


def _together(sample: str) -> Callable[[float, float], float]:
    if sample.endswith("_created"):  # when it began to be counted
        return min
    return _PICKED.get(sample, lambda one, other: one + other)


class _Merged:
    """A collector of prometheus_client, for figures that are there already."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Any]:
        for name, text, kind, samples in self._figures:
            metric = Metric(name, text, kind)
            for sample, labels, value in samples:
                metric.add_sample(sample, labels, value)
            yield metric
