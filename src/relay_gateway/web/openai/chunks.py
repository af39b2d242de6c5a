"""A streamed answer of OpenAI's API: ``data:`` lines with one JSON object each, and ``[DONE]``.

For example, an answer of one token, without what all chunks have::

    data: {…, "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hi"}, …}]}

    data: {…, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}

    data: [DONE]

What is the same in all chunks of an answer is written once, around the text of each token.
"""

import json
from typing import TYPE_CHECKING, Any

from relay_gateway.web.failure import status_of
from relay_gateway.web.openai.errors import failure_object

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay_gateway.relay.completion import Completion
    from relay_gateway.relay.outcome import Outcome
    from relay_proto.ai import ToolCallDelta

__all__ = ["ChunkEncoder", "finish_reason_of", "usage_of"]

_DONE = b"data: [DONE]\n\n"

_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class ChunkEncoder:
    """Writes the pieces of one answer as chunks."""

    def __init__(self, answer: "Mapping[str, Any]", *, includes_usage: bool) -> None:
        """Prepare what all chunks have.

        Args:
            answer: ``id``, ``created`` and ``model``.
            includes_usage: the last chunk says what the answer cost.

        """
        self._shared: dict[str, Any] = {**answer, "object": "chat.completion.chunk"}
        self._includes_usage = includes_usage
        if includes_usage:
            self._shared["usage"] = None
        # Everything of a chunk but its delta, and where that belongs.
        head, tail = self._chunk({"delta": None}).split(b'"delta":null')
        self._content = head + b'"delta":{"content":'
        self._delta, self._tail = head + b'"delta":', tail
        self._end_of_content = b"}" + tail
        # The role is in the first chunk, whatever that is.
        self._role: dict[str, Any] = {"role": "assistant"}

    def token(self, text: str) -> bytes:
        """Encode a token."""
        if self._role:
            return self._piece({"content": text})
        return self._content + _to_json(text).encode() + self._end_of_content

    def reasoning(self, text: str) -> bytes:
        """Encode a piece of what the model thinks, under the name that vLLM and others use."""
        return self._piece({"reasoning_content": text})

    def refusal(self, text: str) -> bytes:
        """Encode a piece of what the model says instead of an answer."""
        return self._piece({"refusal": text})

    def tool_call(self, delta: "ToolCallDelta") -> bytes:
        """Encode a piece of a call of a tool."""
        function: dict[str, Any] = {"arguments": delta.arguments}
        call: dict[str, Any] = {"index": delta.index, "function": function}
        if delta.name:
            function["name"] = delta.name
        if delta.id:
            call.update(id=delta.id, type="function")
        return self._piece({"tool_calls": [call]})

    def done(self, completion: "Completion") -> bytes:
        """Encode the end of a complete answer."""
        role, self._role = self._role, {}
        reason = finish_reason_of(completion)
        last = self._chunk({"delta": role, "finish_reason": reason})
        if not self._includes_usage:
            return last + _DONE
        cost: dict[str, Any] = {**self._shared, "choices": [], "usage": usage_of(completion)}
        return last + _event(cost) + _DONE

    def error(self, failure: "Outcome") -> bytes:
        """Encode the end of an answer that was cut short; ``[DONE]`` does not follow."""
        return _event(failure_object(failure, status_of(failure)))

    def _piece(self, delta: dict[str, Any]) -> bytes:
        role, self._role = self._role, {}
        return self._delta + _to_json({**role, **delta}).encode() + self._tail

    def _chunk(self, choice: dict[str, Any]) -> bytes:
        whole = {"index": 0, "logprobs": None, "finish_reason": None, **choice}
        return _event({**self._shared, "choices": [whole]})


def _event(payload: dict[str, Any]) -> bytes:
    return f"data: {_to_json(payload)}\n\n".encode()


def finish_reason_of(completion: "Completion") -> str:
    """Return why the answer ended, in the words of OpenAI's API; it has none for the unknown."""
    reason = completion.finish_reason
    return "stop" if reason in {None, "other"} else str(reason)


def usage_of(completion: "Completion") -> dict[str, Any] | None:
    """Return what the answer cost; None if the model did not count."""
    counts = completion.usage
    if counts is None:
        return None
    prompt, answer = counts["prompt_tokens"], counts["completion_tokens"]
    usage: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": answer,
        "total_tokens": prompt + answer,
    }
    if "cached_tokens" in counts:
        usage["prompt_tokens_details"] = {"cached_tokens": counts["cached_tokens"]}
    if "reasoning_tokens" in counts:
        usage["completion_tokens_details"] = {"reasoning_tokens": counts["reasoning_tokens"]}
    return usage
