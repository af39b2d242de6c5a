"""Simulated calls among neighbours that misbehave, and what the simulation itself promises."""

import pytest

from tests.cancellation.neighbours import simulate

#: About five healthy calls each; more with `nox -s simulate -- --neighbours`.
SEEDS, SEEDS_PER_TEST = 100, 10


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_PER_TEST))
def test_seeds(first: int) -> None:
    for seed in range(first, first + SEEDS_PER_TEST):
        run = simulate(seed)
        assert not run.failures, f"nox -s simulate -- --neighbours --seed {seed}\n{run}"


def test_the_same_seed_is_the_same_run() -> None:
    runs = [simulate(seed) for seed in (7, 8, 7)]
    assert runs[0].schedule == runs[2].schedule
    assert runs[0].schedule != runs[1].schedule
    assert runs[0].schedule.count("\n") > 30
