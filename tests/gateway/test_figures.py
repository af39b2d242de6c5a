"""The metrics of several processes as those of one."""

import json
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.parser import text_string_to_metric_families

from relay_gateway.workers.figures import Totals, figures_of


class Process:
    """What one process counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("asked", "…", ["cause"], registry=self.registry)
        self.times = Histogram("seconds", "…", buckets=(1, 2), registry=self.registry)
        self.open = Gauge("open", "…", registry=self.registry)

    def figures(self) -> Any:
        """Give them as they arrive from another process."""
        return json.loads(json.dumps(figures_of(self.registry)))


def samples(text: bytes) -> dict[tuple[str, str], float]:
    families = text_string_to_metric_families(text.decode())
    return {
        (sample.name, "".join(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }


def test_counters_are_added_up_by_labels() -> None:
    one, other = Process(), Process()
    one.requests.labels("done").inc(2)
    other.requests.labels("done").inc(3)
    other.requests.labels("deadline").inc()
    found = samples(Totals().exposition([one.figures(), other.figures()]))
    assert found["asked_total", "done"] == 5
    assert found["asked_total", "deadline"] == 1


def test_buckets_sums_and_counts_are_added_up() -> None:
    one, other = Process(), Process()
    one.times.observe(0.5)
    other.times.observe(1.5)
    other.times.observe(9)
    found = samples(Totals().exposition([one.figures(), other.figures()]))
    assert [found["seconds_bucket", bound] for bound in ("1.0", "2.0", "+Inf")] == [1, 2, 3]
    assert (found["seconds_count", ""], found["seconds_sum", ""]) == (3, 11)


def test_gauges_that_functions_give_are_added_up() -> None:
    one, other = Process(), Process()
    one.open.set_function(lambda: 2)
    other.open.set(5)
    found = samples(Totals().exposition([one.figures(), other.figures()]))
    assert found["open", ""] == 7


def test_what_ended_processes_have_counted_stays_and_what_they_held_does_not() -> None:
    one, other = Process(), Process()
    one.requests.labels("done").inc(2)
    one.times.observe(0.5)
    one.open.set(9)
    other.requests.labels("done").inc()
    totals = Totals()
    totals.retire(one.figures())
    for _ in range(2):  # a scrape changes nothing
        found = samples(totals.exposition([other.figures()]))
        assert found["asked_total", "done"] == 3
        assert found["seconds_count", ""] == 1
        assert found["open", ""] == 0
    totals.retire(other.figures())
    assert samples(totals.exposition([]))["asked_total", "done"] == 3


def test_when_it_began_is_when_the_first_did() -> None:
    one, other = Process(), Process()
    one.requests.labels("done")
    other.requests.labels("done")
    found = samples(Totals().exposition([other.figures(), one.figures()]))
    created = samples(Totals().exposition([one.figures()]))["asked_created", "done"]
    assert found["asked_created", "done"] == created


def test_process_figures_of_which_a_sum_says_nothing() -> None:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    alone = samples(Totals().exposition([figures_of(registry)]))
    both = samples(Totals().exposition([figures_of(registry), figures_of(registry)]))
    for name in ("process_start_time_seconds", "process_max_fds"):
        assert both[name, ""] == alone[name, ""]
    assert both["process_open_fds", ""] > 1.5 * alone["process_open_fds", ""]


def test_metric_that_only_one_has() -> None:
    one, other = Process(), Process()
    Gauge("only", "…", registry=one.registry).set(4)
    found = samples(Totals().exposition([other.figures(), one.figures()]))
    assert found["only", ""] == 4
