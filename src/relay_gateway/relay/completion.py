"""What a model says as it ends a complete answer: why it ended, and what it cost.

For example, an answer that is as long as it may be::

    completion = Completion(GenerateResponse(done=True, finish_reason=FinishReason.LENGTH))
    completion.finish_reason     # "length"
    completion.usage             # None: the model did not count
"""

from dataclasses import asdict

import betterproto

from relay_proto.ai import FinishReason, GenerateResponse

__all__ = ["Completion"]

#: The names of the contract, without what its enum puts before them.
_NAMES: dict[int, str | None] = {
    FinishReason.UNSPECIFIED: None,
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.CONTENT_FILTER: "content_filter",
    FinishReason.OTHER: "other",
    FinishReason.TOOL_CALLS: "tool_calls",
}


class Completion:
    """The end of a complete answer, in the words of JSON; each is made when it is read."""

    def __init__(self, last: GenerateResponse) -> None:
        """Read the last message of an answer."""
        self._last = last

    @property
    def finish_reason(self) -> str | None:
        """``stop``, ``length``, ``tool_calls``, ``content_filter`` or ``other``; None if unknown.

        A reason that a newer model service knows, and we do not, is ``other``.
        """
        return _NAMES.get(self._last.finish_reason, "other")

    @property
    def usage(self) -> dict[str, int] | None:
        """The model's tokens by the names of ``Usage``, without those that it did not count.

        None if it did not count at all.
        """
        usage = self._last.usage
        if not betterproto.serialized_on_wire(usage):
            return None
        return {name: count for name, count in asdict(usage).items() if count is not None}
