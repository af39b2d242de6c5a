"""The answer that a run asks of a model. The prompt describes it, so every program knows it.

For example, ``Work(tokens=3, interval=0.02)`` is three tokens, 20 ms apart.
"""

import json
from dataclasses import asdict, dataclass
from typing import Self

__all__ = ["STAMP_SIZE", "Work"]

#: Digits of a stamped token. It is the time when it was sent, from ``time.monotonic_ns()``.
STAMP_SIZE = 20


@dataclass(frozen=True)
class Work:
    """One answer; times in seconds."""

    tokens: int
    #: Bytes of a token; ignored if it is stamped.
    size: int = 6
    #: Seconds between two tokens; 0 means as fast as possible.
    interval: float = 0.0
    #: Seconds before the first token.
    think: float = 0.0
    is_stamped: bool = False
    #: Tells requests apart.
    name: int = 0

    def prompt(self) -> str:
        """Return it as a prompt."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, prompt: str) -> Self:
        """Read a prompt."""
        return cls(**json.loads(prompt))
