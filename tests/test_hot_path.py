"""A token costs no more instructions than it did: what seconds are too unsteady to show in CI."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bench.hot_path import FIGURES, PYTHON, SCENARIOS

ROOT = Path(__file__).parent.parent

#: A count may grow by so much; who makes it grow further does so on purpose, and renews it.
TOLERANCE = 1.1

RECORDED: Mapping[str, Any] = json.loads(FIGURES.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def counted() -> Mapping[str, Any]:
    """Count in a process of its own: coverage traces as well, and modules stay imported."""
    environment = {name: v for name, v in os.environ.items() if not name.startswith("COVERAGE")}
    program = subprocess.run(
        [sys.executable, "-m", "bench.hot_path", "--json"],
        check=True,
        capture_output=True,
        cwd=ROOT,
        env=environment | {"PYTHONHASHSEED": "0"},
        timeout=50,
    )
    figures: Mapping[str, Any] = json.loads(program.stdout)
    return figures


@pytest.mark.skipif(PYTHON not in RECORDED, reason=f"nothing is recorded for Python {PYTHON}")
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_instructions_a_token(counted: Mapping[str, Any], scenario: str) -> None:
    now: Mapping[str, float] = counted["instructions"][scenario]
    before: Mapping[str, float] = RECORDED[PYTHON]["instructions"][scenario]
    dearer = {name: f"{before.get(name, 0):.0f} -> {n:.0f}" for name, n in now.items()}
    dearer = {name: text for name, text in dearer.items() if now[name] > before.get(name, 0)}
    assert sum(now.values()) <= TOLERANCE * sum(before.values()), (
        f"{dearer}, with {_other_versions(counted)}; if it is worth it: nox -s hotpath"
    )


def _other_versions(counted: Mapping[str, Any]) -> str:
    """Name the libraries that are not those of the record: the growth may be theirs."""
    before: Mapping[str, str] = RECORDED[PYTHON]["versions"]
    now: Mapping[str, str] = counted["versions"]
    changed = [f"{name} {before.get(name)} -> {v}" for name, v in now.items() if v != before[name]]
    return ", ".join(changed) or "the same libraries"
