"""A whole answer of OpenAI's API: the pieces are kept, and given as one JSON object at the end."""

from typing import TYPE_CHECKING, Any

from relay_gateway.relay.encoder import AnswerTooLongError
from relay_gateway.web.openai.chunks import finish_reason_of, usage_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay_gateway.relay.completion import Completion
    from relay_gateway.relay.outcome import Outcome
    from relay_proto.ai import ToolCallDelta

__all__ = ["CompletionEncoder"]


class CompletionEncoder:
    """Keeps the pieces of one answer; what it writes is empty, because nobody reads it."""

    def __init__(self, answer: "Mapping[str, Any]", *, max_characters: int) -> None:
        """Begin with nothing.

        Args:
            answer: ``id``, ``created`` and ``model``.
            max_characters: the longest answer that is kept.

        """
        self._answer = answer
        self._left = max_characters
        self._pieces: dict[str, list[str]] = {"content": [], "reasoning_content": [], "refusal": []}
        self._calls: dict[int, dict[str, Any]] = {}
        self._completion: Completion | None = None

    def token(self, text: str) -> bytes:
        """Keep a token.

        Raises:
            AnswerTooLongError: there is too much already; so do the others.

        """
        return self._keep("content", text)

    def reasoning(self, text: str) -> bytes:
        """Keep a piece of what the model thinks."""
        return self._keep("reasoning_content", text)

    def refusal(self, text: str) -> bytes:
        """Keep a piece of what the model says instead of an answer."""
        return self._keep("refusal", text)

    def tool_call(self, delta: "ToolCallDelta") -> bytes:
        """Keep a piece of a call of a tool, with the pieces before it."""
        self._spend(len(delta.id) + len(delta.name) + len(delta.arguments) + 1)
        call = self._calls.setdefault(delta.index, {"id": "", "name": "", "arguments": []})
        call["id"] = call["id"] or delta.id
        call["name"] = call["name"] or delta.name
        call["arguments"].append(delta.arguments)
        return b""

    def done(self, completion: "Completion") -> bytes:
        """Keep how the answer ended."""
        self._completion = completion
        return b""

    def error(self, failure: "Outcome") -> bytes:
        """Keep nothing of an answer that was cut short: it becomes an error."""
        del failure
        return b""

    def json(self) -> dict[str, Any]:
        """Return the answer, which is complete."""
        completion = self._completion
        message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
        message.update((name, "".join(given)) for name, given in self._pieces.items() if given)
        if self._calls:
            message["tool_calls"] = [_call(self._calls[index]) for index in sorted(self._calls)]
        elif message["content"] is None and message["refusal"] is None:
            message["content"] = ""
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": None if completion is None else finish_reason_of(completion),
        }
        usage = None if completion is None else usage_of(completion)
        return {**self._answer, "object": "chat.completion", "choices": [choice], "usage": usage}

    def _keep(self, name: str, text: str) -> bytes:
        self._spend(len(text) + 1)
        self._pieces[name].append(text)
        return b""

    def _spend(self, characters: int) -> None:
        self._left -= characters
        if self._left < 0:
            raise AnswerTooLongError


def _call(kept: dict[str, Any]) -> dict[str, Any]:
    function = {"name": kept["name"], "arguments": "".join(kept["arguments"])}
    return {"id": kept["id"], "type": "function", "function": function}
