"""The matrix as a reader reads it: docs/cancellation/matrix.md, taken apart."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.cancellation.cells import Outcome

MATRIX = Path(__file__).parents[2] / "docs" / "cancellation" / "matrix.md"

_BOTH = ("HTTP/1.1", "HTTP/2")


@dataclass(frozen=True)
class Cell:
    """One way for a request to end in one phase, over one kind of HTTP."""

    phase: str
    endings: tuple[str, ...]
    http: str

    def __str__(self) -> str:
        """Name the test."""
        return f"{self.phase}: {' + '.join(self.endings)}, {self.http}"


def cells() -> dict[Cell, set[Outcome]]:
    """Give what may be seen in each cell: one thing, or more where chance decides."""
    found: dict[Cell, set[Outcome]] = {}
    for phase, ending, over, *columns in _rows(8):
        for http in _BOTH if over == "both" else (over,):
            cell = Cell(phase, tuple(ending.split(" + ")), http)
            found.setdefault(cell, set()).add(Outcome(*columns))
    return found


def impossible() -> dict[tuple[str, str], str]:
    """Give the cells that cannot exist, and why not."""
    return {(phase, ending): reason for phase, ending, reason in _rows(3)}


def _rows(width: int) -> Iterator[list[str]]:
    """Give the rows of the tables that have so many columns, without their heads."""
    for line in MATRIX.read_text(encoding="utf-8").splitlines():
        columns = [column.strip() for column in line.strip("|").split("|")]
        is_head = columns[0] == "phase" or set(columns[0]) == {"-"}
        if line.startswith("|") and len(columns) == width and not is_head:
            yield columns
