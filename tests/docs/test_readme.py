"""README.md is short, and what it claims is said where it was measured."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PERFORMANCE = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")


def test_it_has_no_more_than_900_words() -> None:
    assert len(README.split()) <= 900


@pytest.mark.parametrize("command", ["python3 -m pip install nox && nox -s demo", "nox -s tests"])
def test_commands_stand_alone_so_that_they_can_be_copied(command: str) -> None:
    assert f"```sh\n{command}\n```" in README


def test_figures_are_those_of_the_measurement() -> None:
    _, _, table = README.partition("## Compared with its peers")
    rows = re.findall(r"^\| .* \|$", table.partition("\n## ")[0], re.MULTILINE)
    assert len(rows) > 2
    assert [row for row in rows if row not in PERFORMANCE.splitlines()] == []


def test_the_picture_is_there() -> None:
    assert "](docs/stop.svg)" in README
    assert "prefers-color-scheme: dark" in (ROOT / "docs/stop.svg").read_text(encoding="utf-8")
