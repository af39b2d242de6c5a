"""The tables of ``docs/http2_frames.md``, each between two comments that have its name.

For example, ``read("server")`` gives the table of the transport's server.
"""

from pathlib import Path

__all__ = ["read", "write"]

_PAGE = Path(__file__).parents[4] / "docs" / "http2_frames.md"


def read(name: str) -> str:
    """Return a table as the page has it."""
    return _parts(name)[1].strip() + "\n"


def write(name: str, table: str) -> None:
    """Have the page say what was seen."""
    before, _, after = _parts(name)
    _PAGE.write_text(f"{before}\n\n{table}\n{after}", encoding="utf-8")


def _parts(name: str) -> tuple[str, str, str]:
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    before, _, rest = _PAGE.read_text(encoding="utf-8").partition(begin)
    table, _, after = rest.partition(end)
    return before + begin, table, end + after
