"""The English of code and documents is plain, as far as that can be counted.

At least three of a thousand words give a reason, such as "because" or "for example", and at most
six are "who", "which" and the like. Phrases that a reader has to decode are in no file.
"""

from pathlib import Path

import pytest

from tests.docs.words import CODE, DOCUMENTS, ROOT, count, phrases_in, searched

#: Files that still have such phrases. Take one out when it has none.
PHRASES_NOT_YET = frozenset({"docs/cancellation.md"})
#: Files that are left out of the rates. Take one out when the rates hold with it.
RATES_NOT_YET: frozenset[str] = frozenset()
GROUPS = pytest.mark.parametrize("paths", [CODE, DOCUMENTS], ids=["code", "documents"])


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_phrases_are_in_no_file() -> None:
    found = {_name(path): phrases_in(path) for path in searched()}
    found = {name: phrases for name, phrases in found.items() if phrases}
    assert {name: found[name] for name in found.keys() - PHRASES_NOT_YET} == {}
    assert PHRASES_NOT_YET - found.keys() == set(), "take these out of PHRASES_NOT_YET"


@GROUPS
def test_text_gives_reasons_and_few_relative_pronouns(paths: tuple[Path, ...]) -> None:
    rewritten = count(path for path in paths if _name(path) not in RATES_NOT_YET)
    assert rewritten.is_plain, f"{rewritten}; python -m tests.docs.words lists the files"


@GROUPS
def test_no_file_is_left_out_without_need(paths: tuple[Path, ...]) -> None:
    total = count(path for path in paths if _name(path) not in RATES_NOT_YET)
    done: list[str] = []
    for path in sorted(path for path in paths if _name(path) in RATES_NOT_YET):
        if (with_it := total + count([path])).is_plain:
            total = with_it
            done.append(_name(path))
    assert done == [], "take these out of RATES_NOT_YET"


def test_files_that_are_left_out_exist() -> None:
    assert {_name(path) for path in (*CODE, *DOCUMENTS)} >= RATES_NOT_YET


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("a limit as above", ["as above"]),
        ("# a limit as\n# above", ["as above"]),
        ("Likewise here", ["likewise"]),
        ("who hasty readers are", []),
    ],
)
def test_phrase_is_found_across_lines(tmp_path: Path, text: str, phrases: list[str]) -> None:
    path = tmp_path / "text.py"
    path.write_text(text, encoding="utf-8")
    assert phrases_in(path) == phrases


def test_only_prose_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "text.md"
    path.write_text(
        "---\ntitle: which\n---\nWords `which` [are](which.md) prose.\n"
        "```sh\nwhich python\n```\n<!-- whose -->\nThis is, because it counts.\n",
        encoding="utf-8",
    )
    found = count([path])
    assert (found.words, found.reasons, found.relatives) == (8, 1, 0)


def test_docstrings_and_comments_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "text.py"
    path.write_text(
        '"""Words, for example."""\nwhich = "who"  # noqa: X1 - whose reason\n', encoding="utf-8"
    )
    found = count([path])
    assert (found.words, found.reasons, found.relatives) == (5, 1, 1)
