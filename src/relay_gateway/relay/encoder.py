r"""What writes the events of an answer: one encoder for each form in which it can be asked for.

``sse`` has those of ``/api/ai/stream``. For example::

    encode(TextEncoder(), ["Hel", "lo"], responses)     # b"data: Hel\n\ndata: lo\n\n"
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import betterproto

if TYPE_CHECKING:
    from relay_gateway.relay.completion import Completion
    from relay_gateway.relay.outcome import Outcome
    from relay_proto.ai import GenerateResponse, ToolCallDelta

__all__ = ["AnswerTooLongError", "Encoder", "encode"]


class AnswerTooLongError(Exception):
    """More was answered than an encoder may keep; the answer ends with an error that says so."""


class Encoder(Protocol):
    """How the events of one answer are written; it may remember what it wrote before.

    Each of its functions may raise :class:`AnswerTooLongError`.
    """

    @abstractmethod
    def token(self, text: str, /) -> bytes:
        """Encode a token."""

    @abstractmethod
    def reasoning(self, text: str, /) -> bytes:
        """Encode a piece of what the model thinks before it answers."""

    @abstractmethod
    def refusal(self, text: str, /) -> bytes:
        """Encode a piece of what the model says instead of an answer."""

    @abstractmethod
    def tool_call(self, delta: "ToolCallDelta", /) -> bytes:
        """Encode a piece of a call of a tool."""

    @abstractmethod
    def done(self, completion: "Completion", /) -> bytes:
        """Encode the end of a complete answer."""

    @abstractmethod
    def error(self, failure: "Outcome", /) -> bytes:
        """Encode the end of an answer that was cut short."""


def encode(
    encoder: Encoder, tokens: Sequence[str], responses: "Sequence[GenerateResponse]"
) -> bytes:
    """Encode messages of the model, whose tokens were read already."""
    if all(tokens):
        return b"".join(map(encoder.token, tokens))
    # A message without a token has something else, as a rule.
    events = (b"".join(_events(encoder, *each)) for each in zip(tokens, responses, strict=False))
    return b"".join(events)


def _events(encoder: Encoder, token: str, response: "GenerateResponse") -> Iterator[bytes]:
    is_empty = True
    if response.reasoning:
        is_empty = False
        yield encoder.reasoning(response.reasoning)
    if response.refusal:
        is_empty = False
        yield encoder.refusal(response.refusal)
    if betterproto.serialized_on_wire(response.tool_call):
        is_empty = False
        yield encoder.tool_call(response.tool_call)
    if token or is_empty:
        yield encoder.token(token)
