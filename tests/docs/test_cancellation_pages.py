"""The pages of docs/cancellation follow one template, and their indexes are up to date."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from docs.cancellation.make_indexes import FOLDER, Page, cases, index_files, traps

ROOT = FOLDER.parents[1]
TRAPS = traps()
CASES = cases()

SECTIONS = ["It goes wrong", "Why", "The fix", "How to detect it", "Seen in", "Here"]
LOOPS = {"trio", "asyncio", "anyio"}

_SNIPPET = re.compile(r'^\s*--8<-- "([^"]+)"$', re.MULTILINE)


def _id_of(page: Page) -> str:
    return page.path.stem


def _text_of(page: Page) -> str:
    return page.path.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", TRAPS, ids=_id_of)
def test_trap_follows_the_template(page: Page) -> None:
    before, *_ = _text_of(page).partition("\n## ")
    assert "\n**Symptom**" in before
    assert re.findall(r"^## (.+)$", _text_of(page), re.MULTILINE) == SECTIONS


@pytest.mark.parametrize("page", TRAPS, ids=_id_of)
def test_trap_has_front_matter(page: Page) -> None:
    assert {"id", "number", "loops", "symptoms", "apis"} <= page.fields.keys()
    assert page.fields["id"] == (page.path.stem,)
    assert set(page.fields["loops"]) <= LOOPS
    assert page.fields["loops"]
    assert page.fields["symptoms"]
    assert page.fields["apis"]


@pytest.mark.parametrize("page", CASES, ids=_id_of)
def test_case_has_front_matter(page: Page) -> None:
    assert page.fields["id"] == (page.path.stem,)
    assert page.numbers


@pytest.mark.parametrize("page", TRAPS, ids=_id_of)
def test_trap_shows_its_programs(page: Page) -> None:
    programs = {
        path.relative_to(ROOT).as_posix()
        for path in (FOLDER / "programs" / page.path.stem).glob("*.py")
    }
    assert set(_SNIPPET.findall(_text_of(page))) == programs
    assert programs


@pytest.mark.parametrize("page", TRAPS, ids=_id_of)
def test_trap_says_what_its_programs_print(page: Page) -> None:
    for program in (FOLDER / "programs" / page.path.stem).glob("*.py"):
        first = program.read_text(encoding="utf-8").partition("\n")[0]
        assert first.removeprefix("# prints: ") in _text_of(page)


@pytest.mark.parametrize("page", TRAPS, ids=_id_of)
def test_trap_names_the_loops_that_its_programs_run_on(page: Page) -> None:
    folder = FOLDER / "programs" / page.path.stem
    loops = {path.stem.removeprefix("wrong_") for path in folder.glob("wrong_*.py")}
    assert loops <= set(page.fields["loops"])


def test_every_folder_of_programs_has_a_page() -> None:
    folders = {path.name for path in (FOLDER / "programs").iterdir() if path.is_dir()}
    assert folders == {page.path.stem for page in TRAPS}


def test_no_two_pages_have_one_number() -> None:
    counts = Counter(number for page in [*TRAPS, *CASES] for number in page.numbers)
    assert [number for number, count in counts.items() if count > 1] == []


@pytest.mark.parametrize(
    ("path", "text"), index_files().items(), ids=lambda value: Path(value).stem
)
def test_index_is_up_to_date(path: Path, text: str) -> None:
    assert path.read_text(encoding="utf-8") == text, "run python docs/cancellation/make_indexes.py"


@pytest.mark.parametrize(
    "symptom",
    [
        "Attempted to exit cancel scope in a different task",
        "finally did not run",
        "Cancelled swallowed",
        "shield hangs on shutdown",
        "async generator ignored GeneratorExit",
        "too_many_pings",
    ],
)
def test_index_answers_what_people_search_for(symptom: str) -> None:
    text = (FOLDER / "by-symptom.md").read_text(encoding="utf-8").replace("\\", "")
    assert symptom.casefold() in text.casefold()


WITH_RULES = [page for page in TRAPS if "lint" in page.fields]


@pytest.fixture(scope="module")
def reported() -> set[tuple[str, str]]:
    """Give the rules of flake8-async that programs break: a program's path, and the rule."""
    folders = [str(FOLDER / "programs" / page.path.stem) for page in WITH_RULES]
    found = subprocess.run(
        [sys.executable, "-m", "flake8", "--isolated", "--select=ASYNC", *folders],
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=False,
    )
    broken = re.findall(r"^.*programs/(.+?):\d+:\d+: (ASYNC\d+) ", found.stdout, re.MULTILINE)
    return {(path, rule) for path, rule in broken}


@pytest.mark.parametrize("page", WITH_RULES, ids=_id_of)
def test_lint_rule_finds_the_wrong_program_only(page: Page, reported: set[tuple[str, str]]) -> None:
    for rule in page.fields["lint"]:
        assert rule in _text_of(page).partition("## How to detect it")[2]
        names = {path for path, broken in reported if broken == rule}
        assert any(name.startswith(f"{page.path.stem}/wrong_") for name in names)
        assert not any(name.startswith(f"{page.path.stem}/right_") for name in names)
