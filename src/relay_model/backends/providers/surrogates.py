r"""Characters that a provider has cut in two.

JSON writes a character beyond U+FFFF as two escapes, a surrogate pair, for example ``\ud83d\ude80``
for a rocket. A provider that cuts its text by escapes sends the first half in one event and the
second half in the next. Neither half is text by itself: no encoding has it. For example::

    joiner = SurrogateJoiner()
    joiner.join("Go \ud83d")  # "Go "
    joiner.join("\ude80!")  # "\U0001f680!"
"""

import re

__all__ = ["SurrogateJoiner"]

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
