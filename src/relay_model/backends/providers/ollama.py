"""The models of an Ollama server, through the ``ollama`` library.

For example ``relay-model --backend ollama --base-url http://127.0.0.1:11434 --model llama3.2``.
"""

import json
import secrets
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx  # noqa: ASYNC127 - the ollama library makes its requests with it, not with httpx2
import ollama

from relay_model.backends.providers.credentials import check_key, require_model
from relay_model.backends.providers.failures import (
    OVERLOADED,
    connection_failure,
    refusal,
    stream_aborted,
)
from relay_model.backends.providers.http_client import client_options
from relay_model.backends.providers.ollama_request import Asking
from relay_model.backends.providers.provider import counted, open_provider
from relay_model.outcome import UNKNOWN, FinishReason, Outcome
from relay_model.pieces import Reasoning, ToolCallDelta

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
    from contextlib import AbstractAsyncContextManager

    from relay_model.backends.providers.failures import ProviderError
    from relay_model.backends.providers.provider import ProviderBackend
    from relay_model.backends.settings import BackendSettings
    from relay_model.conversation import Conversation
    from relay_model.pieces import Piece

__all__ = ["OllamaProvider", "open_backend"]

_REASONS: "Mapping[str | None, FinishReason]" = {
    None: FinishReason.UNSPECIFIED,
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
}

# An Ollama server says 503 when its queue is full.
_STATUSES: "Mapping[int, int]" = {503: OVERLOADED}


class OllamaProvider:
    """Asks with ``chat``."""

    def __init__(self, client: ollama.AsyncClient, settings: "BackendSettings") -> None:
        """Ask through a client for the model that is set."""
        self._chat: Any = client.chat  # pyright: ignore[reportUnknownMemberType] - has a bare `dict`
        self._asking = Asking(settings)
        self.model = require_model(settings)
        self.support = self._asking.support

    @asynccontextmanager
    async def request(
        self, conversation: "Conversation"
    ) -> "AsyncGenerator[AsyncIterator[ollama.ChatResponse]]":
        """Ask for an answer and give its events; reading the first event makes the request."""
        yield await self._chat(**self._asking.options(conversation), stream=True)

    def reading(self) -> "_Reading":
        """Begin to read an answer."""
        return _Reading()

    def failure(self, error: Exception) -> "ProviderError | None":
        """Say what an exception of the library means."""
        if isinstance(error, ollama.ResponseError):
            return stream_aborted(error.error)
        return connection_failure(error, httpx)


class _Reading:
    """One answer: messages with text, of which the last is marked as ``done``."""

    def __init__(self) -> None:
        self.outcome = UNKNOWN
        self.is_complete = False
        self._calls = 0

    @property
    def may_end(self) -> bool:
        return self.is_complete

    def read(self, event: ollama.ChatResponse) -> "list[Piece]":
        pieces = list(self._pieces(event.message))
        if event.done:
            reason = _REASONS.get(event.done_reason, FinishReason.OTHER)
            is_stop = reason is FinishReason.STOP
            self.outcome = Outcome(
                FinishReason.TOOL_CALLS if self._calls and is_stop else reason,
                counted(event.prompt_eval_count, event.eval_count),
            )
            self.is_complete = True
        return pieces

    def _pieces(self, message: ollama.Message) -> "Iterator[Piece]":
        if message.thinking:
            yield Reasoning(message.thinking)
        if message.content:
            yield message.content
        for call in message.tool_calls or ():
            arguments = json.dumps(dict(call.function.arguments), ensure_ascii=False)
            identity = f"call-{secrets.token_hex(8)}"  # the API has no ids
            yield ToolCallDelta(self._calls, identity, call.function.name, arguments)
            self._calls += 1


async def _take_response(response: httpx.Response) -> None:
    """Raise for a status of 400 and up here, because the library drops the headers."""
    if response.is_error:
        await response.aread()
        status = _STATUSES.get(response.status_code, response.status_code)
        raise refusal(status, response.headers, response.text)
    response.aiter_lines = partial(_lines, response)  # type: ignore[method-assign] # see there


async def _lines(  # noqa: ASYNC900 - closed with those of the library, see generators
    response: httpx.Response,
) -> "AsyncGenerator[str]":
    """Give the lines of a response, which end in LF and in nothing else.

    httpx ends a line at U+0085 and U+2028 as well. JSON has these within strings, so the library
    would be given half an object.
    """
    begun: list[str] = []
    async for text in response.aiter_text():
        *ends, begin = text.split("\n")
        for end in ends:
            yield "".join([*begun, end])
            begun = []
        begun.append(begin)
    if line := "".join(begun):
        yield line


def _client(settings: "BackendSettings") -> ollama.AsyncClient:
    check_key("OLLAMA_API_KEY")
    options = client_options(httpx, settings)
    options["event_hooks"]["response"] = [_take_response]
    return ollama.AsyncClient(host=settings.base_url, **options)


def open_backend(
    settings: "BackendSettings",
) -> "AbstractAsyncContextManager[ProviderBackend[ollama.ChatResponse]]":
    """Open a client, and close its connections at the end.

    Raises:
        StartupError: on entering, when the model's name is missing.

    """
    return open_provider(_client, OllamaProvider, settings)
