"""A few thousand simulated requests, and what the simulation itself promises."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from grpclib_anyio._connection.sender import Sender
from relay_gateway.relay.relay import Relay
from tests.cancellation.simulation import simulate

ROOT = Path(__file__).parents[2]
#: About eleven requests each; more with `nox -s simulate`.
SEEDS, SEEDS_PER_TEST = 200, 10
#: In which a bug that was planted has to be found.
FOUND_WITHIN = 30


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_PER_TEST))
def test_seeds(first: int) -> None:
    for seed in range(first, first + SEEDS_PER_TEST):
        run = simulate(seed)
        assert not run.failures, f"nox -s simulate -- --seed {seed}\n{run}"


def test_the_same_seed_is_the_same_run() -> None:
    runs = [simulate(seed) for seed in (7, 8, 7)]
    assert runs[0].schedule == runs[2].schedule
    assert runs[0].schedule != runs[1].schedule
    assert runs[0].schedule.count("\n") > 100


def test_the_same_seed_is_the_same_run_in_another_process() -> None:
    """Where strings have other hashes, and objects other addresses."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.cancellation.simulate", "--seed", "7"],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert done.stdout == f"{simulate(7)}\n"


def _do_nothing(*_arguments: object) -> None:
    pass


def _give_nothing(*_arguments: object) -> bytes:
    return b""


def test_a_reset_that_is_not_sent_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sender, "reset", _do_nothing)
    assert any(simulate(seed).failures for seed in range(FOUND_WITHIN))


def test_an_answer_without_its_last_event_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Relay, "_last_event", _give_nothing)
    assert any(simulate(seed).failures for seed in range(FOUND_WITHIN))
