"""The catalogue of mutants fits the code, the tests and the document; running it takes minutes."""

import re
from pathlib import Path

import pytest

from tests.mutants.catalogue import MUTANTS, WITHOUT_MUTANT
from tests.mutants.mutant import ROOT, Mutant

DOCUMENT = Path(ROOT, "docs", "cancellation.md")
TRAP = re.compile(r"^### (\d+)\. ", re.MULTILINE)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.id)
def test_mutant_fits_the_code(mutant: Mutant) -> None:
    text = (ROOT / mutant.file).read_text(encoding="utf-8")
    assert mutant.applied_to(text) != text


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.id)
def test_mutant_names_tests_that_exist(mutant: Mutant) -> None:
    for test in mutant.tests:
        file, _, name = test.partition("::")
        assert f"def {name.partition('[')[0]}" in (ROOT / file).read_text(encoding="utf-8")


def test_every_trap_has_a_mutant() -> None:
    traps = [int(number) for number in TRAP.findall(DOCUMENT.read_text(encoding="utf-8"))]
    assert traps == list(range(1, len(traps) + 1))
    assert {mutant.trap for mutant in MUTANTS} | set(WITHOUT_MUTANT) == set(traps)


def test_the_document_counts_them() -> None:
    traps = {mutant.trap for mutant in MUTANTS}
    assert f"{len(MUTANTS)} mutants of {len(traps)} traps" in DOCUMENT.read_text(encoding="utf-8")
