"""Anthropic's models, through the ``anthropic`` library.

The library makes the request. The events of the answer are read from its response as they are,
because the library's own objects take nine times as long (88 instead of 10 microseconds a token).

For example ``ANTHROPIC_API_KEY=… relay-model --backend anthropic --model claude-sonnet-5-5``.
"""

import json
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import anthropic
import httpx2

from relay_common.errors import StartupError
from relay_model.backends.providers.anthropic_request import Asking
from relay_model.backends.providers.credentials import check_key, require_key, require_model
from relay_model.backends.providers.event_stream import Event, EventStream
from relay_model.backends.providers.failures import OVERLOADED, connection_failure, refusal
from relay_model.backends.providers.http_client import client_options
from relay_model.backends.providers.provider import counted, mapping, open_provider
from relay_model.outcome import FinishReason, Outcome
from relay_model.pieces import Reasoning, ToolCallDelta

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from relay_model.backends.providers.failures import ProviderError
    from relay_model.backends.providers.provider import ProviderBackend
    from relay_model.backends.settings import BackendSettings
    from relay_model.conversation import Conversation
    from relay_model.pieces import Piece

__all__ = ["AnthropicProvider", "open_backend"]

_OWN_HOST = "api.anthropic.com"

_REASONS: "Mapping[str | None, FinishReason]" = {
    None: FinishReason.UNSPECIFIED,
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "refusal": FinishReason.CONTENT_FILTER,
    "tool_use": FinishReason.TOOL_CALLS,
}

# An error within an answer has only a type; before an answer, each type comes with this status.
_STATUSES: "Mapping[str | None, int]" = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": OVERLOADED,
}
_OTHER_STATUS = 500

# Tokens that the provider reads from its cache, or writes to it, are counted apart.
_PROMPT_TOKENS = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


class AnthropicProvider:
    """Asks with ``messages.stream``."""

    def __init__(self, client: anthropic.AsyncAnthropic, settings: "BackendSettings") -> None:
        """Ask through a client for the model that is set."""
        # The library imports this part of itself now and not at the first prompt; it takes a
        # second. The function takes no options from a mapping, hence Any.
        self._stream: Any = client.messages.stream
        is_own = client.base_url.host == _OWN_HOST
        if is_own and settings.temperature is not None:
            message = "--temperature is not for the anthropic backend: the provider takes none"
            raise StartupError(message)
        self._asking = Asking(settings, is_own=is_own)
        self.model = require_model(settings)
        self.support = self._asking.support

    @asynccontextmanager
    async def request(self, conversation: "Conversation") -> "AsyncGenerator[AsyncIterator[Event]]":
        """Ask for an answer and give its events."""
        async with self._stream(**self._asking.options(conversation)) as stream:
            yield EventStream(stream.response.aiter_bytes())

    def reading(self) -> "_Reading":
        """Begin to read an answer."""
        return _Reading()

    def failure(self, error: Exception) -> "ProviderError | None":
        """Say what an exception of the library means."""
        if isinstance(error, anthropic.APIStatusError):
            return refusal(error.status_code, error.response.headers, str(error.body))
        return connection_failure(error, httpx2)


class _Reading:
    """One answer: ``message_start``, blocks of content, ``message_delta``, ``message_stop``.

    The first and the last but one of them have usage, each time as the total so far. A block is
    text, thinking or a call of a tool.
    """

    def __init__(self) -> None:
        self.is_complete = False
        self._reason: str | None = None
        self._usage: dict[str, Any] = {}
        #: The calls of tools, in the order in which they began, by the numbers of their blocks.
        self._calls: dict[object, int] = {}

    @property
    def outcome(self) -> Outcome:
        counts = [self._usage.get(kind) or 0 for kind in _PROMPT_TOKENS]
        is_counted = all(type(count) is int for count in counts)
        details = mapping(self._usage.get("output_tokens_details"))
        return Outcome(
            _REASONS.get(self._reason, FinishReason.OTHER),
            counted(
                sum(counts) if is_counted else None,
                self._usage.get("output_tokens"),
                cached=self._usage.get("cache_read_input_tokens"),
                reasoning=details.get("thinking_tokens"),
            ),
        )

    @property
    def may_end(self) -> bool:
        return self.is_complete

    def read(self, event: Event) -> "Sequence[Piece]":
        if event.name == "ping" or not (event.name or event.data.startswith("{")):
            return ()  # the library skips these without a look at their data
        data: dict[str, Any] = json.loads(event.data)
        match data.get("type") or event.name:
            case "content_block_start":
                return self._start(mapping(data.get("content_block")), data.get("index"))
            case "content_block_delta":
                return self._delta(mapping(data.get("delta")), data.get("index"))
            case "message_start":
                return self._message(mapping(data.get("message")))
            case "message_delta":
                if reason := mapping(data.get("delta")).get("stop_reason"):
                    self._reason = str(reason)
                self._count(data.get("usage"))
            case "message_stop":
                self.is_complete = True
            case "error":
                kind = str(mapping(data.get("error")).get("type"))
                raise refusal(_STATUSES.get(kind, _OTHER_STATUS), {}, str(data.get("error")))
            case _:
                pass
        return ()

    def _message(self, message: dict[str, Any]) -> "list[Piece]":
        self._count(message.get("usage"))
        content: object = message.get("content")
        blocks = cast("list[object]", content) if isinstance(content, list) else []
        starts = (self._start(mapping(block), index) for index, block in enumerate(blocks))
        return [piece for pieces in starts for piece in pieces]

    def _start(self, block: dict[str, Any], index: object) -> "list[Piece]":
        """Read what a content block has at its start."""
        match block.get("type"):
            case "text":
                return [block.get("text") or ""]
            case "thinking":
                return [Reasoning(block.get("thinking") or "")]
            case "tool_use":
                number = self._calls.setdefault(index, len(self._calls))
                given: object = block.get("input")
                arguments = json.dumps(given, ensure_ascii=False) if given else ""
                return [ToolCallDelta(number, block["id"], block["name"], arguments)]
            case _:
                return []

    def _delta(self, delta: dict[str, Any], index: object) -> "list[Piece]":
        match delta.get("type"):
            case "text_delta":
                return [delta["text"]]
            case None if isinstance(delta.get("text"), str):  # the library drops it, and it is text
                return [delta["text"]]
            case "thinking_delta":
                return [Reasoning(delta["thinking"])]
            case "input_json_delta" if index in self._calls:
                number = self._calls[index]
                return [ToolCallDelta(number, arguments=delta["partial_json"])]
            case _:
                return []

    def _count(self, usage: object) -> None:
        given = mapping(usage).items()
        self._usage.update({kind: count for kind, count in given if count is not None})


def _client(settings: "BackendSettings") -> anthropic.AsyncAnthropic:
    check_key("ANTHROPIC_AUTH_TOKEN")
    if "ANTHROPIC_AUTH_TOKEN" not in os.environ:
        require_key("ANTHROPIC_API_KEY")
    return anthropic.AsyncAnthropic(
        base_url=settings.base_url,
        max_retries=0,  # ours know whether a token was received
        open_telemetry=False,  # the library decides what it writes to spans
        http_client=anthropic.DefaultAsyncHttpxClient(**client_options(httpx2, settings)),
    )


def open_backend(
    settings: "BackendSettings",
) -> "AbstractAsyncContextManager[ProviderBackend[Event]]":
    """Open a client, and close its connections at the end.

    Raises:
        StartupError: on entering, when the key or the model's name is missing.

    """
    return open_provider(_client, AnthropicProvider, settings)
