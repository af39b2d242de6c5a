"""What the documents name is there: files, tests, and the names in the files beside them."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

_LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
_TEST = re.compile(r"`((?:packages/grpclib-anyio/)?tests/[\w/]+\.py)::(\w+)`")
#: "`Name.name` in [file](path)": the last name is defined in the file.
_NAMED = re.compile(r"`([\w.]+)`\s+in\s+\[[^\]]+\]\(([^)]+\.py)\)")


def _matches(pattern: re.Pattern[str]) -> Iterator[tuple[Path, re.Match[str]]]:
    for document in DOCUMENTS:
        for match in pattern.finditer(document.read_text(encoding="utf-8")):
            yield document, match


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    links = _LINK.findall(document.read_text(encoding="utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_tests_that_are_named_exist() -> None:
    missing = [
        match[0]
        for _, match in _matches(_TEST)
        if f"def {match[2]}(" not in (ROOT / match[1]).read_text(encoding="utf-8")
    ]
    assert missing == []


def test_code_that_is_named_exists() -> None:
    missing = [
        match[0]
        for document, match in _matches(_NAMED)
        if not re.search(
            rf"^\s*(?:async )?(?:def|class) {match[1].rpartition('.')[2]}\b",
            (document.parent / match[2]).read_text(encoding="utf-8"),
            re.MULTILINE,
        )
    ]
    assert missing == []
