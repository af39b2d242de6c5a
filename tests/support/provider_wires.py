"""What each provider's API sends, as it is documented.

Anthropic: server-sent events with names, from ``message_start`` to ``message_stop``. OpenAI:
server-sent events without names, the last one ``[DONE]``. Ollama: a JSON object a line, the last
one ``done``.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from relay_model.outcome import Usage
from tests.support.provider_server import Reply, Step

__all__ = ["ANTHROPIC", "OLLAMA", "OPENAI", "WIRES", "Wire"]

JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class Wire:
    """One provider's format."""

    name: str
    path: str
    """Of the base URL, where it has one."""
    endpoint: str
    headers: Mapping[str, str]
    start: bytes
    """What comes before the text."""
    text: Callable[[str], bytes]
    end: Callable[[str, int, int], bytes]
    """The end of an answer: its reason, the tokens of the prompt and those of the answer."""
    noise: bytes
    """What may come at any time and means nothing."""
    error: Callable[[str, str], Any]
    """The JSON of an error: its type and its message."""
    failed: Callable[[Any], bytes]
    """An error within an answer."""
    reasons: Mapping[str, str]
    """The provider's names for these."""
    cached: int | None = None
    """How many tokens of the prompt were read before."""

    @property
    def usage(self) -> Usage:
        """What :meth:`answer` costs."""
        return Usage(5, 3, self.cached)

    def reply(self, *steps: Step) -> Reply:
        """Answer with a stream of these."""
        return Reply(steps, headers=self.headers)

    def answer(self, *words: str, reason: str = "stop") -> bytes:
        """Make a whole answer of three tokens to a prompt of five."""
        text = b"".join(map(self.text, words))
        return self.start + text + self.end(self.reasons[reason], 5, 3)

    def refusal(self, status: int, message: str = "no", **headers: str) -> Reply:
        """Refuse with a status, and headers whose names have `_` for `-`."""
        body = json.dumps(self.error("some_error", message)).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return Reply((body,), status, {**JSON, **named})


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)


def _named(event: Mapping[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: {_json(event)}\n\n".encode()


def _unnamed(event: Mapping[str, Any]) -> bytes:
    return f"data: {_json(event)}\n\n".encode()


def _line(event: Mapping[str, Any]) -> bytes:
    # Go's encoder escapes the separators of lines and paragraphs.
    return _json(event).replace("\u2028", "\\u2028").encode() + b"\n"


EVENT_STREAM = {"content-type": "text/event-stream; charset=utf-8"}


# -- Anthropic ----------------------------------------------------------------------------------


def _anthropic_end(reason: str, prompt_tokens: int, completion_tokens: int) -> bytes:
    del prompt_tokens  # were in message_start
    delta = {"stop_reason": reason, "stop_sequence": None}
    usage = {"output_tokens": completion_tokens}
    return (
        _named({"type": "content_block_stop", "index": 0})
        + _named({"type": "message_delta", "delta": delta, "usage": usage})
        + _named({"type": "message_stop"})
    )


_ANTHROPIC_MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-x",
    "content": [],
    "stop_reason": None,
    "stop_sequence": None,
    "usage": {"input_tokens": 2, "cache_read_input_tokens": 3, "output_tokens": 1},
}

_ANTHROPIC_BLOCK = {"type": "text", "text": ""}

ANTHROPIC = Wire(
    name="anthropic",
    path="",
    endpoint="/v1/messages",
    headers=EVENT_STREAM,
    start=_named({"type": "message_start", "message": _ANTHROPIC_MESSAGE})
    + _named({"type": "content_block_start", "index": 0, "content_block": _ANTHROPIC_BLOCK}),
    text=lambda text: _named(
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": text},
        }
    ),
    end=_anthropic_end,
    noise=_named({"type": "ping"}) + b": comment\n\n",
    error=lambda kind, message: {"type": "error", "error": {"type": kind, "message": message}},
    failed=_named,
    cached=3,
    reasons={
        "stop": "end_turn",
        "length": "max_tokens",
        "filter": "refusal",
        "other": "pause_turn",
    },
)


# -- OpenAI -------------------------------------------------------------------------------------


def _chunk(delta: Mapping[str, Any], reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "gpt-x",
        "choices": [choice],
        "usage": None,
    }


def _openai_end(reason: str, prompt_tokens: int, completion_tokens: int) -> bytes:
    usage = {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }
    return (
        _unnamed(_chunk({}, reason))
        + _unnamed({**_chunk({}), "choices": [], "usage": usage})
        + b"data: [DONE]\n\n"
    )


OPENAI = Wire(
    name="openai",
    path="/v1",
    endpoint="/v1/chat/completions",
    headers=EVENT_STREAM,
    start=_unnamed(_chunk({"role": "assistant", "content": "", "refusal": None})),
    text=lambda text: _unnamed(_chunk({"content": text})),
    end=_openai_end,
    noise=b": keep-alive\n\n",
    error=lambda kind, message: {
        "error": {"message": message, "type": kind, "param": None, "code": None}
    },
    failed=_unnamed,
    reasons={
        "stop": "stop",
        "length": "length",
        "filter": "content_filter",
        "other": "weird",
    },
)


# -- Ollama -------------------------------------------------------------------------------------


def _ollama_message(text: str, **more: Any) -> bytes:
    head = {"model": "llama-x", "created_at": "2026-01-01T00:00:00.5Z"}
    message = {"role": "assistant", "content": text}
    return _line({**head, "message": message, "done": False, **more})


OLLAMA = Wire(
    name="ollama",
    path="",
    endpoint="/api/chat",
    headers={"content-type": "application/x-ndjson"},
    start=b"",
    text=_ollama_message,
    end=lambda reason, prompt_tokens, completion_tokens: _ollama_message(
        "",
        done=True,
        done_reason=reason,
        total_duration=9,
        prompt_eval_count=prompt_tokens,
        eval_count=completion_tokens,
    ),
    noise=_ollama_message(""),
    error=lambda _kind, message: {"error": message},
    failed=_line,
    reasons={"stop": "stop", "length": "length", "other": "load"},
)

WIRES = (ANTHROPIC, OPENAI, OLLAMA)
