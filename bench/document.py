"""Documents of which parts are measured: each between comments that mark its place."""

import re
from pathlib import Path

__all__ = ["DOCUMENT", "fill", "markdown"]

DOCUMENT = Path(__file__).parent.parent / "docs" / "performance.md"


def fill(place: str, content: str, document: Path = DOCUMENT) -> None:
    """Replace what a place of a document holds, docs/performance.md if none is named.

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
    """Write a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
