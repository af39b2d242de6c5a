"""The soak in small; `nox -s soak` is the whole of it."""

from tests.soak.aborts import PHASES, measure
from tests.soak.soak import soak


def test_nothing_is_left_of_rude_clients() -> None:
    report = soak(requests=60, seed=1)
    assert report.leaks == []
    assert report.ways.total() == 60
    assert set(report.endings) <= {"done", "error"}


def test_time_until_a_model_has_ended_is_measured_in_each_phase() -> None:
    measured = list(measure(2))
    assert [one.phase for one in measured] == list(PHASES)
    assert all(0 < one.percentile(50) <= max(one.milliseconds) for one in measured)
