"""The programs of docs/cancellation: the wrong one shows what goes wrong, the right one does not.

A program's first line is ``# prints: <text>``. For example, ``# prints: the lock is free`` says
that the text is part of what the program prints, to its standard output or as an error.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parents[2] / "docs" / "cancellation" / "programs"
TRAPS = sorted(path.name for path in PROGRAMS.iterdir() if path.is_dir())

#: A program that is longer is not read.
LINES = 25
#: A program ends by itself within 5 seconds; this is for a machine that is busy.
SECONDS = 30
#: Programs that run at once. They sleep more than they compute.
WORKERS = 4
#: How many traps have at least a wrong and a right program: on trio, and on asyncio or with anyio.
ON_TRIO = 51
ON_OTHERS = 48

_MARK = "# prints: "


def promised(program: Path) -> str:
    """Give the text that a program says it prints."""
    first = program.read_text(encoding="utf-8").partition("\n")[0]
    assert first.startswith(_MARK), f"{program}: the first line is not '{_MARK}…'"
    return first.removeprefix(_MARK)


def pairs(trap: str) -> Iterator[tuple[Path, Path]]:
    """Give the wrong and the right programs that belong together."""
    for wrong in sorted((PROGRAMS / trap).glob("wrong_*.py")):
        yield wrong, wrong.with_name(wrong.name.replace("wrong_", "right_"))


def output_of(program: Path) -> str:
    """Run a program; give what it printed, its errors included."""
    done = subprocess.run(
        [sys.executable, program.name],
        cwd=program.parent,
        env=os.environ | {"PYTHONUTF8": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
    )
    return done.stdout


@pytest.fixture(scope="module")
def outputs(request: pytest.FixtureRequest) -> Iterator[dict[Path, Future[str]]]:
    """Run the programs of all tests that are run, some at a time, in the order of the tests."""
    tests = (item for item in request.session.items if isinstance(item, pytest.Function))
    chosen = {test.callspec.params.get("trap") for test in tests if hasattr(test, "callspec")}
    found = (pair for trap in TRAPS if trap in chosen for pair in pairs(trap))
    with ThreadPoolExecutor(WORKERS) as pool:
        yield {program: pool.submit(output_of, program) for pair in found for program in pair}
        pool.shutdown(cancel_futures=True)


@pytest.mark.may_leak("the programs of the next tests run meanwhile")
@pytest.mark.parametrize("trap", TRAPS)
def test_programs_print_what_they_say(trap: str, outputs: dict[Path, Future[str]]) -> None:
    for wrong, right in pairs(trap):
        printed, printed_by_right = outputs[wrong].result(), outputs[right].result()
        assert promised(wrong) in printed
        assert promised(wrong) not in printed_by_right
        assert promised(right) in printed_by_right
        assert promised(right) not in printed


@pytest.mark.parametrize("trap", TRAPS)
def test_programs_come_in_pairs_and_are_short(trap: str) -> None:
    programs = sorted((PROGRAMS / trap).iterdir())
    assert programs == sorted(program for pair in pairs(trap) for program in pair)
    lengths = {path.name: len(path.read_text("utf-8").splitlines()) for path in programs}
    assert {name: length for name, length in lengths.items() if length > LINES} == {}


def test_how_many_traps_have_programs() -> None:
    loops = [{wrong.stem.removeprefix("wrong_") for wrong, _ in pairs(trap)} for trap in TRAPS]
    assert sum("trio" in found for found in loops) >= ON_TRIO
    assert sum(bool(found & {"asyncio", "anyio"}) for found in loops) >= ON_OTHERS
