"""Server-sent events as bytes (WHATWG HTML § 9.2); no IO, no event loop.

An event is written whole, with the empty line that dispatches it, and nothing is written in
between: a stream that is cut at any event is well-formed.
"""

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # it comes with an event loop
    from relay_gateway.relay.completion import Completion

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

    def done(self, completion: "Completion") -> bytes:
        """Encode the end of a complete answer, which says nothing more in text."""
        del completion
        return DONE

    def error(self, message: str, *, code: str, cause: str) -> bytes:
        """Encode the end of an answer that was cut short; only ``message`` is shown."""
        del code, cause
        return f"event: error\ndata: {_LINE_BREAK.sub(' ', message)}\n\n".encode()


class JsonEncoder:
    """Writes each payload as one JSON object, the last one too.

    A token is ``{"token": …}``, ``done`` is ``{"finish_reason": …, "usage": …}``, and ``error`` is
    ``{"code": …, "message": …, "cause": …}``.
    """

    def token(self, text: str) -> bytes:
        """Encode one token, exactly: JSON keeps CR apart from LF."""
        return f"data: {json.dumps({'token': text}, ensure_ascii=False)}\n\n".encode()

    def done(self, completion: "Completion") -> bytes:
        """Encode the end of a complete answer: null stands for what the model did not say."""
        return _json_event(
            "done", {"finish_reason": completion.finish_reason, "usage": completion.usage}
        )

    def error(self, message: str, *, code: str, cause: str) -> bytes:
        """Encode the end of an answer that was cut short."""
        return _json_event("error", {"code": code, "message": message, "cause": cause})


def _json_event(name: str, payload: dict[str, object]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(payload)}\n\n".encode()
