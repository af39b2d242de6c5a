"""Fills measured parts into documents, each between two comments that mark its place.

For example, ``fill("growth: rate", table)`` replaces what is between these two lines::

    <!-- begin growth: rate -->
    <!-- end growth: rate -->
"""

import re
from pathlib import Path

__all__ = ["DOCUMENT", "fill", "markdown"]

DOCUMENT = Path(__file__).parent.parent / "docs" / "performance.md"


def fill(place: str, content: str, document: Path = DOCUMENT) -> None:
    """Replace the content of a place in a document, by default docs/performance.md.

    Raises:
        ValueError: the document lacks the place.

    """
    text = document.read_text(encoding="utf-8")
    begins, ends = (f"<!-- {word} {place} -->" for word in ("begin", "end"))
    pattern = rf"(?<={re.escape(begins)}\n).*?(?={re.escape(ends)})"
    text, count = re.subn(pattern, lambda _: f"\n{content}\n\n", text, flags=re.DOTALL)
    if not count:
        raise ValueError(f"{document} has no place for {place}")
    document.write_text(text, encoding="utf-8")


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
