"""The matrix as a reader reads it: two pages of docs/cancellation, taken apart."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.cancellation.cells import Outcome

_PAGES = Path(__file__).parents[2] / "docs" / "cancellation"
MATRIX, MATRIX_OF_POSTS = _PAGES / "matrix.md", _PAGES / "matrix-of-posts.md"

_BOTH = ("HTTP/1.1", "HTTP/2")


@dataclass(frozen=True)
class Cell:
    """One way for a request of a form to end in one phase, over one kind of HTTP."""

    form: str
    phase: str
    endings: tuple[str, ...]
    http: str

    def __str__(self) -> str:
        """Name the test."""
        return f"{self.form}, {self.phase}: {' + '.join(self.endings)}, {self.http}"


def cells() -> dict[Cell, set[Outcome]]:
    """Give what may be seen in each cell: one thing, or more where chance decides."""
    found: dict[Cell, set[Outcome]] = {}
    rows = [["GET", *row] for row in _rows(MATRIX, 8)] + _rows(MATRIX_OF_POSTS, 9)
    for form, phase, ending, over, *columns in rows:
        for http in _BOTH if over == "both" else (over,):
            cell = Cell(form, phase, tuple(ending.split(" + ")), http)
            found.setdefault(cell, set()).add(Outcome(*columns))
    return found


def impossible() -> dict[tuple[str, str], str]:
    """Give the cells that cannot exist, of any form, and why not."""
    return {(phase, ending): reason for phase, ending, reason in _rows(MATRIX, 3)}


def _rows(page: Path, width: int) -> list[list[str]]:
    """Give the rows of a page's tables with this number of columns, without their heads."""
    return list(_read(page, width))


def _read(page: Path, width: int) -> Iterator[list[str]]:
    for line in page.read_text(encoding="utf-8").splitlines():
        columns = [column.strip() for column in line.strip("|").split("|")]
        is_head = columns[0] in {"phase", "form"} or set(columns[0]) == {"-"}
        if line.startswith("|") and len(columns) == width and not is_head:
            yield columns
