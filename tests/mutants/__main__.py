"""Breaks the product on purpose, one mutant after the other, and sees that a test notices.

``nox -s mutants`` runs all of them, ``nox -s mutants -- 7 15`` those of two traps, and the number 0
those of mends that are no trap. Each is a copy
of the sources with one piece of code exchanged, in front of the installed packages on the path; the
tests that are named beside it have to fail there. Before that, all have to pass as things are.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tests.mutants.catalogue import MUTANTS
from tests.mutants.mends import MENDS
from tests.mutants.mutant import ROOT, Mutant

#: Where the packages are that may be broken, and whose tests are run apart.
SOURCES, TRANSPORT = ("src", "packages/grpclib-anyio/src"), "packages/"
#: Of pytest: all passed, and some failed. Anything else is a mistake in the catalogue.
_PASSED, _FAILED = 0, 1
#: Seconds for one test of a mutant, which may well hang, and for all that are named beside it.
_TEST_TIMEOUT, _RUN_TIMEOUT = 20, 180

_VERDICTS = {_PASSED: "SURVIVED", _FAILED: "killed"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the mutants of the traps named on the command line, or all, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="mutants", description="Break the product on purpose, and see that tests notice."
    )
    parser.add_argument(
        "traps", nargs="*", type=int, help="numbers, see docs/cancellation; 0: mends"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="mutants at a time")
    options = parser.parse_args(arguments)
    chosen = [m for m in (*MUTANTS, *MENDS) if not options.traps or m.trap in options.traps]
    with tempfile.TemporaryDirectory() as directory:
        if not _passes_unbroken(Path(directory), chosen):
            return 1
        survivors = _run_all(Path(directory), chosen, options.jobs)
    return 1 if survivors else 0


def _passes_unbroken(directory: Path, mutants: Sequence[Mutant]) -> bool:
    copy = directory / "unbroken"
    _copy_sources(copy)
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    done = _pytest(copy, tests, timeout=_RUN_TIMEOUT * 5)
    if done.returncode != _PASSED:
        sys.stdout.write(f"the tests fail without any mutant:\n{done.stdout}\n")
    return done.returncode == _PASSED


def _run_all(directory: Path, mutants: Sequence[Mutant], jobs: int) -> list[str]:
    survivors: list[str] = []
    with ThreadPoolExecutor(jobs) as pool:
        for mutant, (code, output) in zip(
            mutants, pool.map(partial(_run, directory), mutants), strict=True
        ):
            verdict = _VERDICTS.get(code, "NOT RUN")
            sys.stdout.write(f"{verdict:8}  {mutant.id}{_told(code, output)}\n")
            sys.stdout.flush()
            if code != _FAILED:
                survivors.append(mutant.id)
    sys.stdout.write(f"{len(mutants)} mutants, {len(survivors)} not killed\n")
    return survivors


def _told(code: int, output: str) -> str:
    return "" if code in _VERDICTS else f"\n{output}"


def _run(directory: Path, mutant: Mutant) -> tuple[int, str]:
    copy = directory / mutant.id.replace(" ", "-").replace("/", "-")
    _copy_sources(copy)
    file = copy / mutant.file
    file.write_text(mutant.applied_to(file.read_text(encoding="utf-8")), encoding="utf-8")
    started = time.monotonic()
    done = _pytest(copy, mutant.tests, timeout=_RUN_TIMEOUT)
    shutil.rmtree(copy)
    return done.returncode, f"{done.stdout}\nafter {time.monotonic() - started:.0f} s"


def _copy_sources(copy: Path) -> None:
    for source in SOURCES:
        shutil.copytree(ROOT / source, copy / source)


def _pytest(
    copy: Path, tests: Iterable[str], *, timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run tests: the transport's apart from the relay's, because each has its configuration."""
    parts: dict[bool, list[str]] = {}
    for test in tests:
        parts.setdefault(test.startswith(TRANSPORT), []).append(test)
    done = [_pytest_of_one_part(copy, part, timeout=timeout) for part in parts.values()]
    return max(done, key=lambda each: each.returncode)  # a failure, if there is one


def _pytest_of_one_part(
    copy: Path, tests: Iterable[str], *, timeout: float
) -> subprocess.CompletedProcess[str]:
    options = ("-x", "-q", "-p", "no:cacheprovider", "-o", f"timeout={_TEST_TIMEOUT}")
    command = [sys.executable, "-m", "pytest", *options, *tests]
    path = os.pathsep.join(str(copy / source) for source in SOURCES)
    env = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        return subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired as error:  # hangs where not even pytest's timeout reaches
        return subprocess.CompletedProcess(command, _FAILED, stdout=str(error.stdout))


if __name__ == "__main__":
    sys.exit(main())
