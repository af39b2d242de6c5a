"""docs/performance.md, of which parts are measured: each between comments that mark its place."""

import re
from pathlib import Path

__all__ = ["DOCUMENT", "fill", "markdown"]

DOCUMENT = Path(__file__).parent.parent / "docs" / "performance.md"


def fill(place: str, content: str) -> None:
    """Replace what a place of the document holds.

    Raises:
        ValueError: the document lacks the place.

    """
    text = DOCUMENT.read_text(encoding="utf-8")
    begins, ends = (f"<!-- {word} {place} -->" for word in ("begin", "end"))
    pattern = rf"(?<={re.escape(begins)}\n).*?(?={re.escape(ends)})"
    text, count = re.subn(pattern, lambda _: f"\n{content}\n\n", text, flags=re.DOTALL)
    if not count:
        raise ValueError(f"{DOCUMENT} has no place for {place}")
    DOCUMENT.write_text(text, encoding="utf-8")


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """Write a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
