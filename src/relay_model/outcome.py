"""How an answer ended, as far as its backend knows.

For example, an answer that reached ``--max-tokens``::

    Outcome(FinishReason.LENGTH, Usage(prompt_tokens=12, completion_tokens=512))
"""

from enum import IntEnum
from typing import NamedTuple

__all__ = ["UNKNOWN", "FinishReason", "Outcome", "Usage"]


class FinishReason(IntEnum):
    """Why a model ended a complete answer; the numbers are those of ``ai.proto``."""

    UNSPECIFIED = 0
    """The model gave no reason."""
    STOP = 1
    """The answer is finished."""
    LENGTH = 2
    """The answer has reached its limit, or fills the model's context."""
    CONTENT_FILTER = 3
    """The rest was withheld, or the model refused to continue."""
    OTHER = 4
    """The model gave another reason."""
    TOOL_CALLS = 5
    """The model waits for the results of the tools that it called."""


class Usage(NamedTuple):
    """What an answer cost, in the tokens of its model."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int | None = None
    """Those of the prompt that the model had read before; None when it did not say."""
    reasoning_tokens: int | None = None
    """Those of the answer that are reasoning; None when it did not say."""


class Outcome(NamedTuple):
    """How a complete answer ended."""

    finish_reason: FinishReason = FinishReason.UNSPECIFIED
    usage: Usage | None = None
    """None when the model did not count."""


UNKNOWN = Outcome()
"""Nothing is known: the answer has not ended, or the backend reported no reason and no usage."""
