"""The models of an Ollama server, through the ``ollama`` library.

For example ``relay-model --backend ollama --base-url http://127.0.0.1:11434 --model llama3.2``.
"""

from contextlib import asynccontextmanager
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
from relay_model.backends.providers.provider import counted, open_provider
from relay_model.outcome import UNKNOWN, FinishReason, Outcome

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping
    from contextlib import AbstractAsyncContextManager

    from relay_model.backends.providers.failures import ProviderError
    from relay_model.backends.providers.provider import ProviderBackend
    from relay_model.backends.settings import BackendSettings

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
        self._model = require_model(settings)
        self._system = settings.system_prompt
        self._options: dict[str, Any] = {"num_predict": settings.max_tokens}
        if settings.temperature is not None:
            self._options["temperature"] = settings.temperature

    @asynccontextmanager
    async def request(self, prompt: str) -> "AsyncGenerator[AsyncIterator[ollama.ChatResponse]]":
        """Ask for an answer and give its events; reading the first event makes the request."""
        messages = [{"role": "user", "content": prompt}]
        if self._system is not None:
            messages.insert(0, {"role": "system", "content": self._system})
        yield await self._chat(
            model=self._model, messages=messages, options=self._options, stream=True
        )

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

    @property
    def may_end(self) -> bool:
        return self.is_complete

    def read(self, event: ollama.ChatResponse) -> str:
        if event.done:
            self.outcome = Outcome(
                _REASONS.get(event.done_reason, FinishReason.OTHER),
                counted(event.prompt_eval_count, event.eval_count),
            )
            self.is_complete = True
        return event.message.content or ""


async def _raise_refusal(response: httpx.Response) -> None:
    """Raise for a status of 400 and up here, because the library drops the headers."""
    if response.is_error:
        await response.aread()
        status = _STATUSES.get(response.status_code, response.status_code)
        raise refusal(status, response.headers, response.text)


def _client(settings: "BackendSettings") -> ollama.AsyncClient:
    check_key("OLLAMA_API_KEY")
    options = client_options(httpx, settings)
    options["event_hooks"]["response"] = [_raise_refusal]
    return ollama.AsyncClient(host=settings.base_url, **options)


def open_backend(
    settings: "BackendSettings",
) -> "AbstractAsyncContextManager[ProviderBackend[ollama.ChatResponse]]":
    """Open a client, and close its connections at the end.

    Raises:
        StartupError: on entering, when the model's name is missing.

    """
    return open_provider(_client, OllamaProvider, settings)
