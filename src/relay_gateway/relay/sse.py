"""Server-sent events as bytes (WHATWG HTML § 9.2); no IO, no event loop.

An event is written whole, with the empty line that dispatches it, and nothing is written in
between: a stream that is cut at any event is well-formed.
"""

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # These come with an event loop.
    from relay_gateway.relay.completion import Completion
    from relay_gateway.relay.outcome import Outcome
    from relay_proto.ai import ToolCallDelta

__all__ = ["DONE", "PING", "JsonEncoder", "TextEncoder"]

#: A comment: it keeps proxies from closing an idle connection, and no page sees it.
PING = b": ping\n\n"
#: The end of a complete answer, as text.
DONE = b"event: done\ndata: [DONE]\n\n"

_LINE_BREAK = re.compile(r"\r\n|\r|\n")


class TextEncoder:
    """Writes tokens as they are: one ``data:`` line for each line of a token.

    A parser joins the lines with LF, so CR and CRLF arrive as LF. It strips one space after the
    colon and no more, so one is always written. Keeps one bit of state, for a CRLF that is split
    over two tokens; an encoder belongs to one stream.
    """

    #: The last token ended in CR.
    _after_cr = False
    #: Writes the reasoning, whose lines are not those of the answer.
    _of_reasoning: "TextEncoder | None" = None

    def token(self, text: str) -> bytes:
        """Encode one token; an empty one is an event with no text."""
        if "\n" in text or "\r" in text:
            text = self._split(text)
        elif text:  # an empty one parts no CR from its LF
            self._after_cr = False
        return f"data: {text}\n\n".encode()

    def _split(self, text: str) -> str:
        if self._after_cr and text.startswith("\n"):
            text = text[1:]
        self._after_cr = text.endswith("\r")
        return _LINE_BREAK.sub("\ndata: ", text)

    def reasoning(self, text: str) -> bytes:
        """Encode a piece of what the model thinks, which a page that only shows text ignores."""
        self._of_reasoning = self._of_reasoning or TextEncoder()
        return b"event: reasoning\n" + self._of_reasoning.token(text)

    def refusal(self, text: str) -> bytes:
        """Encode a piece of what the model says instead of an answer: text like any other."""
        return self.token(text)

    def tool_call(self, delta: "ToolCallDelta") -> bytes:
        """Encode a piece of a call of a tool, as JSON also here: it has several fields."""
        return _json_event("tool_call", _tool_call(delta))

    def done(self, completion: "Completion") -> bytes:
        """Encode the end of a complete answer, which says nothing more in text."""
        del completion
        return DONE

    def error(self, failure: "Outcome") -> bytes:
        """Encode the end of an answer that was cut short; only its message is shown."""
        return f"event: error\ndata: {_LINE_BREAK.sub(' ', failure.message)}\n\n".encode()


class JsonEncoder:
    """Writes each payload as one JSON object, the last one too.

    A token is ``{"token": …}``, ``done`` is ``{"finish_reason": …, "usage": …}``, and ``error`` is
    ``{"code": …, "message": …, "cause": …}``.
    """

    def token(self, text: str) -> bytes:
        """Encode one token, exactly: JSON keeps CR apart from LF."""
        return f"data: {json.dumps({'token': text}, ensure_ascii=False)}\n\n".encode()

    def reasoning(self, text: str) -> bytes:
        """Encode a piece of what the model thinks before it answers."""
        return _json_event("reasoning", {"reasoning": text})

    def refusal(self, text: str) -> bytes:
        """Encode a piece of what the model says instead of an answer."""
        return f"data: {json.dumps({'refusal': text}, ensure_ascii=False)}\n\n".encode()

    def tool_call(self, delta: "ToolCallDelta") -> bytes:
        """Encode a piece of a call of a tool."""
        return _json_event("tool_call", _tool_call(delta))

    def done(self, completion: "Completion") -> bytes:
        """Encode the end of a complete answer: null stands for what the model did not say."""
        return _json_event(
            "done", {"finish_reason": completion.finish_reason, "usage": completion.usage}
        )

    def error(self, failure: "Outcome") -> bytes:
        """Encode the end of an answer that was cut short."""
        fields = {"code": failure.code, "message": failure.message, "cause": failure.cause}
        return _json_event("error", fields)


def _tool_call(delta: "ToolCallDelta") -> dict[str, object]:
    """Give a piece's fields; an id and a name are in the first piece of a call only."""
    named = {"id": delta.id, "name": delta.name}
    given = {name: value for name, value in named.items() if value}
    return {"index": delta.index, **given, "arguments": delta.arguments}


def _json_event(name: str, payload: Mapping[str, object]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(payload, ensure_ascii=False)}\n\n".encode()
