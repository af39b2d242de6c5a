"""What the documents say: their programs are run, the settings are those there are."""

import os
import re
import subprocess
import sys
from dataclasses import fields
from inspect import signature
from pathlib import Path

import pytest

from grpclib_anyio.config import Configuration
from grpclib_anyio.server import Server

PACKAGE = Path(__file__).parents[1]
README = (PACKAGE / "README.md").read_text(encoding="utf-8")
TEXT = PACKAGE.parents[1].joinpath("docs", "grpclib_anyio.md").read_text(encoding="utf-8")
#: What the programs import, and the description that it was generated from.
GENERATED = Path(__file__).with_name("harness") / "docs"
PROGRAM = re.compile(r"```python\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)
#: Each program under the heading before it, with what it prints.
PROGRAMS = {
    section.partition("\n")[0]: (program, output)
    for section in [*TEXT.split("\n## ")[1:], *README.split("\n## ")[1:]]
    for program, output in PROGRAM.findall(section)
}


def test_every_program_is_run() -> None:
    assert len(PROGRAMS) == (TEXT + README).count("```python\n") > 0


def test_the_service_of_the_programs_is_shown() -> None:
    assert f"```proto\n{(GENERATED / 'greeter.proto').read_text(encoding='utf-8')}```" in TEXT


@pytest.mark.parametrize("heading", PROGRAMS)
def test_program_prints_what_is_said(heading: str) -> None:
    program, output = PROGRAMS[heading]
    command = [sys.executable, "-W", "error", "-c", program]
    path = os.pathsep.join([str(GENERATED), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert (done.stdout, done.stderr) == (output, "")


#: grpclib's names for keepalive's settings, and what is inside, begin with an underscore.
SETTINGS = {field.name for field in fields(Configuration) if not field.name.startswith("_")}


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_every_setting_is_described(name: str) -> None:
    assert f"`{name}`" in TEXT


def test_no_setting_is_made_up() -> None:
    section = TEXT.partition("\n## Configuration")[2].partition("\n## ")[0]
    rows = [row.split("|")[1] for row in section.splitlines() if row.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named == SETTINGS


def test_every_argument_of_serve_is_described() -> None:
    section = TEXT.partition("\n## Where a server listens")[2].partition("\n## ")[0]
    rows = [row.split("|")[1] for row in section.splitlines() if row.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named == {*signature(Server.serve).parameters} - {"self", "task_status"}


def test_readme_is_short_and_leads_somewhere() -> None:
    assert len(README.split()) <= 500
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", README)
    assert [link for link in links if not (PACKAGE / link).exists()] == []
