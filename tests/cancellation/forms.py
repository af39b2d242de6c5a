"""The forms in which an answer is asked for, and how a response in each of them is read.

For example, a stream of OpenAI's API that was cut short::

    CHAT.request("s")       # "POST", "/v1/chat/completions", b'{"messages": …, "stream": true}'
    pieces_of(exchange)     # [("token", "a"), ("error", "model_error")]
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tests.support.event_stream import Event

__all__ = ["CHAT", "CHAT_WHOLE", "FORMS", "GET", "POST", "Form", "Piece", "pieces_of"]

_NATIVE, _CHAT = "/api/ai/stream", "/v1/chat/completions"

#: ``token``, ``finish``, ``done`` or ``error``, and its text.
Piece = tuple[str, str]


@dataclass(frozen=True)
class Form:
    """One way to ask for an answer."""

    name: str
    #: The fields of a POST; None for a GET.
    fields: Mapping[str, Any] | None = None
    #: The answer comes as it is made.
    is_streamed: bool = True
    is_chat: bool = False
    #: What the last event of a complete answer has, and only that.
    last: bytes = b"event: done"

    def request(self, session: str) -> tuple[str, str, bytes]:
        """Give the method, the target and the body of a request.

        OpenAI's API has no sessions, so there it is the text of the message that names one.
        """
        if self.fields is None:
            return "GET", f"{_NATIVE}?format=json&prompt=hi&session_id={session}", b""
        if self.is_chat:
            messages = [{"role": "user", "content": session}]
            return "POST", _CHAT, json.dumps({"messages": messages, **self.fields}).encode()
        given = {"prompt": "hi", "format": "json", "session_id": session}
        return "POST", _NATIVE, json.dumps({**given, **self.fields}).encode()

    def with_more(self) -> "Form":
        """Ask for something that not every model takes, so that the models have to be listed."""
        return replace(self, fields={**(self.fields or {}), "temperature": 0.5})


GET = Form("GET")
POST = Form("POST", {})
CHAT = Form("chat, streamed", {"stream": True}, is_chat=True, last=b"[DONE]")
CHAT_WHOLE = Form("chat, whole", {}, is_streamed=False, is_chat=True, last=b'"choices"')
FORMS = {form.name: form for form in (GET, POST, CHAT, CHAT_WHOLE)}


def pieces_of(events: list[Event], whole: bytes) -> list[Piece]:
    """Give the pieces of a response: of its events, or of a whole body that is complete."""
    if whole:
        return list(_of_json(json.loads(whole)))
    return [piece for event in events for piece in _of_event(event)]


def _of_event(event: Event) -> Iterator[Piece]:
    if event.data == "[DONE]":
        yield "done", event.data
        return
    payload = json.loads(event.data)
    if event.type == "done":
        yield "done", "done"
    elif event.type == "error":
        yield "error", payload["cause"]
    else:
        yield from _of_json(payload)


def _of_json(payload: dict[str, Any]) -> Iterator[Piece]:
    """Read a payload of any form; nothing but what is known may be in it."""
    match payload:
        case {"token": str(token)}:
            yield "token", token
        case {"error": {"message": str(), "type": str(), "param": _, "code": code}}:
            assert payload.keys() == {"error"}
            yield "error", code
        case {"type": "about:blank", "detail": str(), "status": int()}:
            yield "error", payload["cause"]
        case {"choices": [choice]}:
            text = choice.get("delta", choice.get("message", {})).get("content")
            if text:
                yield "token", text
            if choice["finish_reason"] is not None:
                yield "finish", choice["finish_reason"]
        case _:
            raise AssertionError(payload)
