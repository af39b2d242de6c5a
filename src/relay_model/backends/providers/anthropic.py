"""Anthropic's models, through the ``anthropic`` library.

The library makes the request. The events of the answer are read from its response as they are,
because the library's own objects take nine times as long (88 instead of 10 microseconds a token).

For example ``ANTHROPIC_API_KEY=… relay-model --backend anthropic --model claude-sonnet-5-5``.
"""

import json
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anthropic
import httpx2

from relay_common.errors import StartupError
from relay_model.backends.providers.credentials import check_key, require_key, require_model
from relay_model.backends.providers.event_stream import Event, EventStream
from relay_model.backends.providers.failures import OVERLOADED, connection_failure, refusal
from relay_model.backends.providers.http_client import client_options
from relay_model.backends.providers.provider import counted, open_provider
from relay_model.outcome import FinishReason, Outcome

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping
    from contextlib import AbstractAsyncContextManager

    from relay_model.backends.providers.failures import ProviderError
    from relay_model.backends.providers.provider import ProviderBackend
    from relay_model.backends.settings import BackendSettings

__all__ = ["AnthropicProvider", "open_backend"]

_OWN_HOST = "api.anthropic.com"

_REASONS: "Mapping[str | None, FinishReason]" = {
    None: FinishReason.UNSPECIFIED,
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "refusal": FinishReason.CONTENT_FILTER,
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
        # second.
        self._messages = client.messages
        self._model = require_model(settings)
        self._max_tokens = settings.max_tokens
        self._system = settings.system_prompt or anthropic.omit
        self._extra = _temperature(client, settings)

    @asynccontextmanager
    async def request(self, prompt: str) -> "AsyncGenerator[AsyncIterator[Event]]":
        """Ask for an answer and give its events."""
        async with self._messages.stream(
            model=self._model,
            max_tokens=self._max_tokens,
            system=self._system,
            messages=[{"role": "user", "content": prompt}],
            extra_body=self._extra,
        ) as stream:
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
    """One answer: ``message_start``, text, ``message_delta``, ``message_stop``.

    The first and the last but one of them have usage, each time as the total so far.
    """

    def __init__(self) -> None:
        self.is_complete = False
        self._reason: str | None = None
        self._usage: dict[str, Any] = {}

    @property
    def outcome(self) -> Outcome:
        prompt_tokens = sum(self._usage.get(kind) or 0 for kind in _PROMPT_TOKENS)
        return Outcome(
            _REASONS.get(self._reason, FinishReason.OTHER),
            counted(prompt_tokens, self._usage.get("output_tokens")),
        )

    @property
    def may_end(self) -> bool:
        return self.is_complete

    def read(self, event: Event) -> str:
        if event.name == "ping" or not (event.name or event.data.startswith("{")):
            return ""  # the library skips these without a look at their data
        data: dict[str, Any] = json.loads(event.data)
        match data["type"]:
            case "content_block_start":
                return _text(data["content_block"])
            case "content_block_delta":
                delta: dict[str, Any] = data["delta"]
                text: str = delta["text"] if delta["type"] == "text_delta" else ""
                return text
            case "message_start":
                message: dict[str, Any] = data["message"]
                self._count(message.get("usage"))
                return "".join(map(_text, message.get("content") or ()))
            case "message_delta":
                self._reason = data["delta"].get("stop_reason") or self._reason
                self._count(data.get("usage"))
            case "message_stop":
                self.is_complete = True
            case "error":
                error: dict[str, Any] = data["error"]
                raise refusal(_STATUSES.get(error["type"], _OTHER_STATUS), {}, str(error))
            case _:
                pass
        return ""

    def _count(self, usage: dict[str, Any] | None) -> None:
        given = (usage or {}).items()
        self._usage.update({kind: count for kind, count in given if count is not None})


def _text(block: dict[str, Any]) -> str:
    """Return the text that a content block has at its start."""
    return block.get("text") or "" if block.get("type") == "text" else ""


def _temperature(
    client: anthropic.AsyncAnthropic, settings: "BackendSettings"
) -> "dict[str, float] | None":
    if settings.temperature is None:
        return None
    if client.base_url.host == _OWN_HOST:
        message = "--temperature is not for the anthropic backend: the provider takes none"
        raise StartupError(message)
    return {"temperature": settings.temperature}


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
