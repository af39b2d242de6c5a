"""What docs/grpclib_anyio.md says: its programs are run, its settings are those there are."""

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from grpclib_anyio._base.config import Configuration

TEXT = Path(__file__).parents[3].joinpath("docs", "grpclib_anyio.md").read_text(encoding="utf-8")
PROGRAM = re.compile(r"```python\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)
#: Each program under the heading before it, with what it prints.
PROGRAMS = {
    section.partition("\n")[0]: (program, output)
    for section in TEXT.split("\n## ")[1:]
    for program, output in PROGRAM.findall(section)
}


def test_every_program_is_run() -> None:
    assert len(PROGRAMS) == TEXT.count("```python\n") > 0


@pytest.mark.parametrize("heading", PROGRAMS)
def test_program_prints_what_is_said(heading: str) -> None:
    program, output = PROGRAMS[heading]
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout, done.stderr) == (output, "")


@pytest.mark.parametrize("name", [field.name for field in fields(Configuration)])
def test_every_setting_is_described(name: str) -> None:
    assert f"`{name}`" in TEXT


def test_no_setting_is_made_up() -> None:
    section = TEXT.partition("\n## Configuration")[2].partition("\n## ")[0]
    rows = [row.split("|")[1] for row in section.splitlines() if row.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named == {field.name for field in fields(Configuration)}
