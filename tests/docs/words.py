"""Counts words that tell whether English is plain, in code and in documents.

`python -m tests.docs.words` lists the files, those with the most to rewrite first. For example, a
text that gives its reasons has a "because" or an "e.g." in every 300 words, and a text that is hard
to read has a "which" in every second sentence.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "CODE",
    "DOCUMENTS",
    "PHRASES",
    "ROOT",
    "Count",
    "count",
    "phrases_in",
    "prose_of",
    "searched",
]

ROOT = Path(__file__).parents[2]
_SOURCES = (ROOT / "src", ROOT / "packages" / "grpclib-anyio" / "src")
_GENERATED = ROOT / "src" / "relay_proto"

#: Files of Python whose docstrings and comments are counted.
CODE = tuple(
    path
    for folder in _SOURCES
    for path in sorted(folder.rglob("*.py"))
    if not path.is_relative_to(_GENERATED)
)
#: Documents that are counted.
DOCUMENTS = tuple(
    path
    for folder in (ROOT, ROOT / "packages" / "grpclib-anyio", ROOT / "docs")
    for path in sorted(folder.rglob("*.md") if folder.name == "docs" else folder.glob("*.md"))
)

#: Words that hide a noun or a reason, and sentences that a reader has to decode.
PHRASES = (
    "anew",
    "as above",
    "for good",
    "likewise",
    "see the docstring",
    "so many",
    "take note",
    "who has",
    "whoever",
    "A full one makes the reader wait",
    "HTTP/2's window then makes the model wait",
    "which would hold this frame by its traceback",
)

#: For each 1,000 words.
LEAST_REASONS, MOST_RELATIVES = 3.0, 6.0

_REASONS = re.compile(r"\b(?:because|for example|since)\b|\be\.g\.", re.IGNORECASE)
_RELATIVES = re.compile(r"\b(?:who|whom|whose|whoever|which|whatever)\b", re.IGNORECASE)
#: Between two words of a phrase: a line may end there, with a comment's mark on the next one.
_GAP = r"[\s#>*]+"
_NO_PROSE = re.compile(
    r"^---\n.*?^---\n"  # front matter
    r"|^(?P<fence> *`{3,}).*?^(?P=fence)$"  # blocks of code
    r"|<!--.*?-->"
    r"|`[^`\n]+`"
    r"|(?<=\])\([^)\s]*\)"  # where a link leads
    r"|^ *\[[^\]]+\]: \S+$",
    re.DOTALL | re.MULTILINE,
)
_TEXTS = frozenset({".css", ".html", ".js", ".md", ".proto", ".py", ".toml"})


@dataclass(frozen=True)
class Count:
    """How many words some files have, and how many of these give reasons or are relative."""

    words: int = 0
    reasons: int = 0
    relatives: int = 0

    def __add__(self, other: "Count") -> "Count":
        """Count two texts as one."""
        return Count(
            self.words + other.words,
            self.reasons + other.reasons,
            self.relatives + other.relatives,
        )

    def __str__(self) -> str:
        """Give the two rates."""
        reasons, relatives = self._rate(self.reasons), self._rate(self.relatives)
        return f"{self.words} words, {reasons:.1f} reasons, {relatives:.1f} who and which"

    @property
    def is_plain(self) -> bool:
        """Whether there are enough reasons and few enough relative pronouns."""
        return (
            self._rate(self.reasons) >= LEAST_REASONS
            and self._rate(self.relatives) <= MOST_RELATIVES
        )

    @property
    def lacks(self) -> float:
        """How many words have to change: reasons that are missing, pronouns that are too many."""
        thousands = self.words / 1000
        missing = LEAST_REASONS * thousands - self.reasons
        too_many = self.relatives - MOST_RELATIVES * thousands
        return max(0.0, missing) + max(0.0, too_many)

    def _rate(self, number: int) -> float:
        return 1000 * number / max(1, self.words)


def count(paths: Iterable[Path]) -> Count:
    """Count the prose of some files."""
    return sum((_count(prose_of(path)) for path in paths), Count())


def phrases_in(path: Path) -> list[str]:
    """List the phrases that a file should not have, in code as well as in prose."""
    text = path.read_text(encoding="utf-8")
    return [phrase for phrase in PHRASES if _pattern(phrase).search(text)]


def searched() -> Iterator[Path]:
    """Give the files of src, packages and docs, and the documents in the root."""
    yield from ROOT.glob("*.md")
    for folder in ("src", "packages", "docs"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in _TEXTS and not path.is_relative_to(_GENERATED):
                yield path


def prose_of(path: Path) -> str:
    """Return the docstrings and comments of a module, or a document without code and addresses."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return "\n".join([*_docstrings(text), *_comments(text)])
    return _NO_PROSE.sub(" ", text)


def _count(text: str) -> Count:
    words = re.findall(r"[A-Za-z][\w'-]*", text)
    return Count(len(words), len(_REASONS.findall(text)), len(_RELATIVES.findall(text)))


def _pattern(phrase: str) -> re.Pattern[str]:
    words = map(re.escape, phrase.split())
    return re.compile(rf"\b{_GAP.join(words)}\b", re.IGNORECASE)


def _docstrings(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


def _comments(source: str) -> Iterator[str]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            # Of "# noqa: ASYNC128 - reason", only the reason is prose.
            yield re.sub(
                r"(?:noqa|type|pyright): ?[\w, \[\]-]*? - ", "", token.string.lstrip("#: ")
            )


def _figures(name: str, paths: Iterable[Path]) -> Iterator[str]:
    counts = {path: count([path]) for path in paths}
    yield f"{name}: {sum(counts.values(), Count())}"
    for path in sorted(counts, key=lambda path: counts[path].lacks, reverse=True):
        yield "; ".join([f"    {path.relative_to(ROOT)}: {counts[path]}", *phrases_in(path)])


if __name__ == "__main__":
    for line in (*_figures("code", CODE), *_figures("documents", DOCUMENTS)):
        sys.stdout.write(f"{line}\n")
