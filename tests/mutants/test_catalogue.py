"""The catalogue of mutants fits the code, the tests and the pages; running it takes minutes."""

import pytest

from docs.cancellation.make_indexes import FOLDER, cases, traps
from tests.mutants.catalogue import MUTANTS, WITHOUT_MUTANT
from tests.mutants.mends import MENDS
from tests.mutants.mutant import ROOT, Mutant

ALL = [*MUTANTS, *MENDS]

NUMBERS = sorted(number for page in [*traps(), *cases()] for number in page.numbers)
EVIDENCE = FOLDER / "evidence.md"


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.id)
def test_mutant_fits_the_code(mutant: Mutant) -> None:
    text = (ROOT / mutant.file).read_text(encoding="utf-8")
    assert mutant.applied_to(text) != text


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.id)
def test_mutant_names_tests_that_exist(mutant: Mutant) -> None:
    for test in mutant.tests:
        file, _, name = test.partition("::")
        assert f"def {name.partition('[')[0]}" in (ROOT / file).read_text(encoding="utf-8")


def test_every_trap_has_a_mutant() -> None:
    assert list(range(1, len(NUMBERS) + 1)) == NUMBERS
    assert {mutant.trap for mutant in MUTANTS} | set(WITHOUT_MUTANT) == set(NUMBERS)


def test_the_evidence_counts_them() -> None:
    numbers = {mutant.trap for mutant in MUTANTS}
    text = EVIDENCE.read_text(encoding="utf-8")
    assert f"{len(MUTANTS)} mutants of {len(numbers)} traps" in text
    assert f"{len(MENDS)} of other mends" in text


def test_mends_have_no_trap() -> None:
    assert not [mutant.id for mutant in MENDS if mutant.trap]
    assert len({mutant.id for mutant in ALL}) == len(ALL)
