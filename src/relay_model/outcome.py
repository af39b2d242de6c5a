"""How an answer ended, as far as its backend knows."""

from enum import IntEnum
from typing import NamedTuple

__all__ = ["UNKNOWN", "FinishReason", "Outcome", "Usage"]


class FinishReason(IntEnum):
    """Why a model ended a complete answer; the numbers are those of the contract."""

    UNSPECIFIED = 0
    """It did not say."""
    STOP = 1
    """It had nothing more to say."""
    LENGTH = 2
    """The answer is as long as it may be, or fills the model's context."""
    CONTENT_FILTER = 3
    """What followed was withheld, or the model refused to go on."""
    OTHER = 4
    """It gave a reason that is none of these."""


class Usage(NamedTuple):
    """What an answer cost, in the tokens of its model."""

    prompt_tokens: int
    completion_tokens: int


class Outcome(NamedTuple):
    """How a complete answer ended."""

    finish_reason: FinishReason = FinishReason.UNSPECIFIED
    usage: Usage | None = None
    """None when the model did not count."""


UNKNOWN = Outcome()
"""Nothing is known: the answer has not ended, or nothing was said about its end."""
