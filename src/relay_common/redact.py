"""Keys from the environment, kept out of what people read."""

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Secrets"]

# `OPENAI_API_KEY`, `HF_TOKEN`, `DB_PASSWORD`, …; the programs' own limits on tokens are numbers.
_SECRET_NAME = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD)$", re.IGNORECASE)

# Shorter values are no keys, and common enough in text to make it unreadable.
_SHORTEST_SECRET = 8


class Secrets:
    """The values of variables whose names say that they hold a secret."""

    def __init__(self, environment: "Mapping[str, str]") -> None:
        """Take the values as they are now."""
        found = {form for value in _secret_values(environment) for form in _written_forms(value)}
        # Of two that begin alike, the longer one first.
        forms = sorted(map(re.escape, found), key=len, reverse=True)
        self._pattern = re.compile("|".join(forms)) if forms else None

    def hidden_in(self, text: str) -> str:
        """Return the text with ``[secret]`` in place of each secret."""
        return text if self._pattern is None else self._pattern.sub("[secret]", text)


def _secret_values(environment: "Mapping[str, str]") -> "Iterator[str]":
    for name, value in environment.items():
        if _SECRET_NAME.search(name) and len(value.strip()) >= _SHORTEST_SECRET:
            yield value.strip()


def _written_forms(value: str) -> "Iterator[str]":
    """List what a value looks like where it is written as it is, in Python's and in JSON's way."""
    yield value
    yield repr(value)[1:-1]
    yield ascii(value)[1:-1]
    yield json.dumps(value)[1:-1]
