"""The English of code and documents is plain, as far as that can be counted.

At least three of a thousand words give a reason, such as "because" or "for example", and at most
six are "who", "which" and the like. Phrases that a reader has to decode are in no file.
"""

from pathlib import Path

import pytest

from tests.docs.words import CODE, DOCUMENTS, ROOT, count, phrases_in, searched

GROUPS = pytest.mark.parametrize("paths", [CODE, DOCUMENTS], ids=["code", "documents"])


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_phrases_are_in_no_file() -> None:
    found = {_name(path): phrases_in(path) for path in searched()}
    assert {name: phrases for name, phrases in found.items() if phrases} == {}


@GROUPS
def test_text_gives_reasons_and_few_relative_pronouns(paths: tuple[Path, ...]) -> None:
    counted = count(paths)
    assert counted.is_plain, f"{counted}; python -m tests.docs.words lists the files"


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
