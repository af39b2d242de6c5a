r"""Characters that a provider has cut in two.

JSON writes a character beyond U+FFFF as two escapes, a surrogate pair, for example ``\ud83d\ude80``
for a rocket. A provider that cuts its text by escapes sends the first half in one event and the
second half in the next. Neither half is text by itself: no encoding has it. For example::

    joiner = SurrogateJoiner()
    joiner.join("Go \ud83d")  # "Go "
    joiner.join("\ude80!")  # "\U0001f680!"
"""

import re
from functools import partial
from typing import TYPE_CHECKING

from relay_model.pieces import Reasoning, Refusal, ToolCallDelta

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from relay_model.pieces import Piece

__all__ = ["PieceJoiner", "SurrogateJoiner"]

_SURROGATE = re.compile("[\ud800-\udfff]")
_FIRST_HALVES = ("\ud800", "\udbff")


class SurrogateJoiner:
    """Joins the halves of characters across the pieces of one answer."""

    def __init__(self) -> None:
        """Begin without half a character."""
        self._half = ""

    def join(self, piece: str) -> str:
        """Return the piece as whole characters; may be empty while a half waits for the other.

        A half whose other half is missing becomes U+FFFD.
        """
        if not self._half and _SURROGATE.search(piece) is None:
            return piece
        if not piece:
            return ""
        text = self._half + piece
        self._half = ""
        if _FIRST_HALVES[0] <= text[-1] <= _FIRST_HALVES[1]:
            text, self._half = text[:-1], text[-1]
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

    def end(self) -> str:
        """Return what is left at the end of the answer: nothing, or U+FFFD for a half."""
        left, self._half = self._half, ""
        return "\N{REPLACEMENT CHARACTER}" if left else ""


class PieceJoiner:
    """Joins the halves of characters in each stream of text that an answer has.

    Text, reasoning, a refusal and the arguments of each call are streams of their own.
    """

    def __init__(self) -> None:
        """Begin without half a character."""
        self._text = SurrogateJoiner()
        self._others: dict[object, tuple[Callable[[str], Piece], SurrogateJoiner]] = {}

    def join(self, pieces: "Iterable[Piece]") -> "Iterator[Piece]":
        """Give the pieces as whole characters, without those that have nothing left.

        Raises:
            TypeError: what should be text is something else.

        """
        for piece in pieces:
            joined = self._joined(piece)
            if joined:
                yield joined

    def _joined(self, piece: "Piece") -> "Piece | None":
        match piece:
            case str():
                return self._text.join(piece)
            case ToolCallDelta(index, identity, name, arguments):
                whole = self._join(index, partial(ToolCallDelta, index, "", ""), arguments)
                is_first = bool(identity or name)
                return ToolCallDelta(index, identity, name, whole) if whole or is_first else None
            case Reasoning(text) | Refusal(text):
                kind = type(piece)
                whole = self._join(kind, kind, text)
                return kind(whole) if whole else None
            case _:
                raise TypeError("the text of an event is not a string")

    def _join(self, stream: object, make: "Callable[[str], Piece]", text: str) -> str:
        return self._others.setdefault(stream, (make, SurrogateJoiner()))[1].join(text)

    def end(self) -> "Iterator[Piece]":
        """Give what is left at the end of the answer: U+FFFD for each half."""
        for make, joiner in self._others.values():
            if left := joiner.end():
                yield make(left)
        if left := self._text.end():
            yield left
