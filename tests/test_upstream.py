"""The faults of other projects that we work around are still there; see docs/upstream/index.md.

A program that fails here says that upstream has mended the fault, so that our workaround can go::

    upstream has mended this: see docs/upstream/h2_goaway.md, and drop our workaround (`Http2...`)
"""

import ast
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

PAGES = Path(__file__).parent.parent / "docs" / "upstream"
PROGRAMS = sorted(PAGES.glob("*.py"))
#: Seconds after which each program has ended by itself, and the time that Python takes to start.
TIMEOUT = 15 + 5
OURS = {"grpclib_anyio", "relay_common", "relay_demo", "relay_gateway", "relay_model"}

EACH_PROGRAM = pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: str(path.stem))


def imported(program: Path) -> set[str]:
    """Return the packages that a program imports, in any of its functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(program.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return {name.partition(".")[0] for name in names}


def workaround(program: Path) -> str:
    """Return what the index names as our workaround."""
    index = (PAGES / "index.md").read_text(encoding="utf-8")
    (row,) = re.findall(rf"^\|.*\]\({program.stem}\.md\).*$", index, re.MULTILINE)
    return str(row).split(" | ")[2]


@EACH_PROGRAM
def test_fault_is_still_there(program: Path, tmp_path: Path) -> None:
    if missing := sorted(name for name in imported(program) if find_spec(name) is None):
        pytest.skip(f"not installed: {', '.join(missing)}")
    result = subprocess.run(
        [sys.executable, "-I", str(program)],  # -I: nothing of ours is on the path
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    (line,) = result.stdout.splitlines() or [result.stderr]
    page = f"docs/upstream/{program.stem}.md"
    assert line.startswith(("FAULT: ", "NO FAULT: ")), f"{page}: the program failed: {line}"
    mended = (
        f"upstream has mended this: see {page}, and drop our workaround ({workaround(program)})"
    )
    assert line.startswith("FAULT: "), f"{mended}\n{line}"


@EACH_PROGRAM
def test_program_needs_nothing_of_ours(program: Path) -> None:
    assert not imported(program) & OURS


@EACH_PROGRAM
def test_page_shows_its_program_and_is_in_the_index(program: Path) -> None:
    page = program.with_suffix(".md").read_text(encoding="utf-8")
    assert f'```python\n--8<-- "docs/upstream/{program.name}"\n```' in page
    assert f"`tests/test_upstream.py::{test_fault_is_still_there.__name__}`" in page
    assert workaround(program) in page


def test_every_page_has_a_program() -> None:
    pages = {path.stem for path in PAGES.glob("*.md")} - {"index"}
    assert pages == {path.stem for path in PROGRAMS}
