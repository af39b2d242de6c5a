"""Puts tables and plots into docs/performance.md, between the comments that mark their places."""

import re
from pathlib import Path

from bench.plots import draw
from bench.results import Results, Settings
from bench.tables import markdown, tables_of

__all__ = ["write"]

_DOCUMENT = Path(__file__).parent.parent / "docs" / "performance.md"
_PLOTS = _DOCUMENT.with_name("performance")


def write(part: str, results: Results) -> None:
    """Replace what a part's places hold; a place is named by the part and the table's title.

    Raises:
        ValueError: the document lacks a place.

    """
    text = _DOCUMENT.read_text(encoding="utf-8")
    for table in tables_of(part, results):
        text = _replaced(text, f"{part}: {table.title}", markdown(table))
    text = _replaced(text, f"{part}: settings", _settings(results.settings))
    _DOCUMENT.write_text(text, encoding="utf-8")
    _PLOTS.mkdir(exist_ok=True)
    draw(part, results, _PLOTS)


def _replaced(text: str, place: str, content: str) -> str:
    begins, ends = (f"<!-- {word} {place} -->" for word in ("begin", "end"))
    pattern = rf"(?<={re.escape(begins)}\n).*?(?={re.escape(ends)})"
    text, count = re.subn(pattern, lambda _: f"\n{content}\n\n", text, flags=re.DOTALL)
    if not count:
        raise ValueError(f"{_DOCUMENT} has no place for {place}")
    return text


def _settings(settings: Settings) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in settings.versions.items())
    return (
        f"`{settings.command}`, {settings.date}; Python {settings.python}, {settings.system}, "
        f"{settings.cores} cores of {settings.cpu}, with a load average of "
        f"{settings.load_average:.1f} when it began; {versions}."
    )
