"""A provider's backend in front of a server that follows a script."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from relay_model.backends.protocol import Backend
from relay_model.backends.registry import open_backend
from relay_model.settings import ModelSettings
from tests.support.provider_server import ProviderServer, Reply, provider_server
from tests.support.provider_wires import Wire

__all__ = ["provider_backend", "settings_for"]


def settings_for(wire: Wire, url: str, **settings: Any) -> ModelSettings:
    """Return the settings of a backend whose provider is at `url`."""
    given = {"backend": wire.name, "model": "m", "base_url": url + wire.path, **settings}
    return ModelSettings.model_validate(given)


@asynccontextmanager
async def provider_backend(
    wire: Wire, *replies: Reply, **settings: Any
) -> AsyncGenerator[tuple[Backend, ProviderServer]]:
    """Give a backend and the server that it asks; at the end, every connection is closed."""
    async with provider_server(*replies) as server:
        async with open_backend(settings_for(wire, server.url, **settings)) as backend:
            yield backend, server
        await server.until_no_connection()
