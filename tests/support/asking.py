"""A provider's backend in front of a server that follows a script."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from relay_model.backends.protocol import Backend
from relay_model.backends.registry import open_backend
from relay_model.errors import BackendError
from relay_model.outcome import Outcome
from relay_model.settings import ModelSettings
from tests.support.provider_server import ProviderServer, Reply, provider_server
from tests.support.provider_wires import Wire

__all__ = ["asked", "failure_of", "settings_for", "whole_answer"]

PROMPT = "Tell me a story."


def settings_for(wire: Wire, url: str, **settings: Any) -> ModelSettings:
    given = {"backend": wire.name, "model": "m", "base_url": url + wire.path, **settings}
    return ModelSettings.model_validate(given)


@asynccontextmanager
async def asked(
    wire: Wire,
    *replies: Reply,
    **settings: Any,
) -> AsyncGenerator[tuple[Backend, ProviderServer]]:
    """Give a backend and the server that it asks; at the end, every connection is closed."""
    async with provider_server(*replies) as server:
        async with open_backend(settings_for(wire, server.url, **settings)) as backend:
            yield backend, server
        await server.until_no_connection()


async def whole_answer(backend: Backend) -> tuple[list[str], Outcome]:
    async with backend.stream(PROMPT, session_id="s") as pieces:
        return [piece async for piece in pieces], pieces.outcome


async def failure_of(backend: Backend, prompt: str = PROMPT) -> tuple[list[str], BackendError]:
    """Give what came of an answer that fails, and the failure."""
    read: list[str] = []

    async def ask() -> None:
        async with backend.stream(prompt, session_id="s") as pieces:
            async for piece in pieces:
                read.append(piece)  # noqa: PERF401 - what comes before the failure counts

    with pytest.raises(BackendError) as raised:
        await ask()
    return read, raised.value
