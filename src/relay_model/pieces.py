"""What an answer is made of: text, as a rule, and what is none.

A piece of text is a plain string. For example, an answer that thinks, calls a tool and says why::

    Reasoning("The user wants the time.")
    ToolCallDelta(0, "call-1", "time", "{}")
    "I have to look at the clock."
"""

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from relay_model.conversation import Reasoning

__all__ = ["Piece", "Reasoning", "Refusal", "ToolCallDelta"]


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of a call of a tool."""

    index: int
    """Tells the calls of one answer apart, from 0."""
    id: str = ""
    """In the first piece of a call only."""
    name: str = ""
    """In the first piece of a call only."""
    arguments: str = ""
    """The next piece of a JSON object."""


class Refusal(NamedTuple):
    """What the model says instead of an answer."""

    text: str


Piece: TypeAlias = str | Reasoning | ToolCallDelta | Refusal
