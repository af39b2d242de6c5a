"""What a run asks of a model: the prompt says it, so every side knows it."""

import json
from dataclasses import asdict, dataclass
from typing import Self

__all__ = ["STAMP_SIZE", "Work"]

#: A stamped token is the time at which it was sent: ``time.monotonic_ns()`` in so many digits.
STAMP_SIZE = 20


@dataclass(frozen=True)
class Work:
    """One answer; times in seconds."""

    tokens: int
    #: Bytes of a token; of no meaning when it is stamped.
    size: int = 6
    #: Between two tokens; 0 for as fast as possible.
    interval: float = 0.0
    #: Before the first token.
    think: float = 0.0
    is_stamped: bool = False
    #: Tells requests apart.
    name: int = 0

    def prompt(self) -> str:
        """Write it as a prompt."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, prompt: str) -> Self:
        """Read a prompt."""
        return cls(**json.loads(prompt))
