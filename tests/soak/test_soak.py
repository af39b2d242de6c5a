"""The soak in small; `nox -s soak` is the whole of it."""

from tests.soak.soak import soak


def test_nothing_is_left_of_rude_clients() -> None:
    report = soak(requests=60, seed=1)
    assert report.leaks == []
    assert report.ways.total() == 60
    assert set(report.endings) <= {"done", "error"}
