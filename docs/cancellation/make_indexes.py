"""Writes the indexes of the cancellation pages from the pages' front matter.

For example, a page whose front matter has ``apis: [asyncio.shield]`` is listed under
``asyncio.shield`` in by-api.md. Run it after every change of a page's front matter or title:

    python docs/cancellation/make_indexes.py
"""

import csv
import html
import os.path
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FOLDER", "Page", "cases", "index_files", "traps"]

FOLDER = Path(__file__).parent

_GENERATED = "<!-- Written by make_indexes.py from the pages' front matter: change it there. -->"


@dataclass(frozen=True)
class Page:
    """A page about one trap, or about one case."""

    path: Path
    title: str
    #: The front matter: each key has a list of values, also where there is only one.
    fields: Mapping[str, tuple[str, ...]]

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers of the traps that the page describes: comments and tests name these."""
        return tuple(map(int, self.fields["number"]))

    def link(self, start: Path) -> str:
        """Give a link to the page from a file in the folder ``start``."""
        return f"[{self.title}]({Path(os.path.relpath(self.path, start)).as_posix()})"


def traps() -> list[Page]:
    """Read the pages of the general traps, in the order of their ids."""
    return _pages("traps")


def cases() -> list[Page]:
    """Read the case files, in the order of their ids."""
    return _pages("cases")


def index_files() -> dict[Path, str]:
    """Give the text that each generated file should have."""
    return {
        FOLDER / "traps" / "index.md": _by_number(),
        FOLDER / "by-symptom.md": _by("symptoms", "What you see", "By symptom", _SYMPTOMS),
        FOLDER / "by-api.md": _by("apis", "What you use", "By API", _APIS),
    }


def main() -> None:
    """Write the generated files."""
    for path, text in index_files().items():
        path.write_text(text, encoding="utf-8")


_SYMPTOMS = (
    "Search this page for the error message that you have, or for a word of it. "
    "A message that contains an address or a name is shortened here."
)
_APIS = "Look here before you use one of these, or when you review code that does."
_NUMBERS = (
    "Comments and tests in this repository name a trap by its number. "
    "A trap without a number is a general one that this project's code has never had. "
    "A *case* needed a particular library or protocol to happen."
)


def _pages(folder: str) -> list[Page]:
    paths = sorted((FOLDER / folder).glob("*.md"))
    return [_page(path) for path in paths if path.name != "index.md"]


def _page(path: Path) -> Page:
    _, head, body = path.read_text(encoding="utf-8").split("---\n", 2)
    title = next(line for line in body.splitlines() if line.startswith("# "))
    return Page(path, title.removeprefix("# "), dict(map(_field, head.splitlines())))


def _field(line: str) -> tuple[str, tuple[str, ...]]:
    """Read ``key: value`` or ``key: [value, "another, quoted"]``, which is all that is used."""
    key, _, text = line.partition(": ")
    values = next(csv.reader([text.strip("[]")], skipinitialspace=True, escapechar="\\"))
    return key, tuple(values)


def _by_number() -> str:
    start = FOLDER / "traps"
    pages = [(page, "") for page in traps()] + [(page, "case") for page in cases()]
    rows = (
        f"| {_anchors(page)} | {page.link(start)} | {kind or ', '.join(page.fields['loops'])} |"
        for page, kind in sorted(pages, key=lambda pair: _order(pair[0]))
    )
    return _text("All traps by number", _NUMBERS, "| number | trap | on |\n|---|---|---|", rows)


def _order(page: Page) -> tuple[int, str]:
    """Sort by number, and what has none after what has."""
    return min(page.numbers, default=1_000), page.title


def _anchors(page: Page) -> str:
    return ", ".join(f'<a id="trap-{number}"></a>{number}' for number in page.numbers) or "-"


def _by(key: str, head: str, title: str, introduction: str) -> str:
    found: dict[str, list[str]] = defaultdict(list)
    for page in [*traps(), *cases()]:
        for value in page.fields.get(key, ()):
            found[value].append(page.link(FOLDER))
    rows = (
        f"| {_cell(value, key)} | {'<br>'.join(found[value])} |"
        for value in sorted(found, key=lambda value: value.casefold().lstrip("`"))
    )
    return _text(title, introduction, f"| {head} | Trap |\n|---|---|", rows)


def _cell(value: str, key: str) -> str:
    """Write a value such that Markdown shows it as it is."""
    if key == "apis" or "`" in value:
        return value if "`" in value else f"`{value}`"
    return re.sub(r"([|*_\[\]])", r"\\\1", html.escape(value, quote=False))


def _text(title: str, introduction: str, head: str, rows: Iterable[str]) -> str:
    return "\n".join([f"# {title}", "", _GENERATED, "", introduction, "", head, *rows, ""])


if __name__ == "__main__":
    main()
