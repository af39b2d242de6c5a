"""Keys from the environment, redacted in text for people.

For example, with ``OPENAI_API_KEY=sk-0123456789`` in the environment::

    Redactor(os.environ).redact("Bearer sk-0123456789")  # "Bearer [secret]"
"""

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Redactor"]

# For example `OPENAI_API_KEY`, `HF_TOKEN` and `DB_PASSWORD`, but not `RELAY_MODEL_MAX_TOKENS`,
# because that is a number.
_SECRET_NAME = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD)$", re.IGNORECASE)

# Characters. A shorter value is not a key, and would often be redacted in ordinary text.
_SHORTEST_SECRET = 8


class Redactor:
    """Replaces the values of all variables with names that say that they are secret."""

    def __init__(self, environment: "Mapping[str, str]") -> None:
        """Read the values now; later changes of the environment have no effect."""
        found = {form for value in _secret_values(environment) for form in _written_forms(value)}
        # The longest first, because one key may be the beginning of another.
        forms = sorted(map(re.escape, found), key=len, reverse=True)
        self._pattern = re.compile("|".join(forms)) if forms else None

    def redact(self, text: str) -> str:
        """Return the text with ``[secret]`` in place of each secret value."""
        return text if self._pattern is None else self._pattern.sub("[secret]", text)


def _secret_values(environment: "Mapping[str, str]") -> "Iterator[str]":
    for name, value in environment.items():
        if _SECRET_NAME.search(name) and len(value.strip()) >= _SHORTEST_SECRET:
            yield value.strip()


def _written_forms(value: str) -> "Iterator[str]":
    """Give the forms of a value in text: as it is, and escaped by Python or JSON."""
    yield value
    yield repr(value)[1:-1]
    yield ascii(value)[1:-1]
    yield json.dumps(value)[1:-1]
