"""What every test of a backend does: open it, read an answer, or see it fail."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import anyio.lowlevel
import pytest

from relay_common.errors import EXIT_USAGE, StartupError
from relay_model.backends.protocol import Backend
from relay_model.backends.registry import open_backend
from relay_model.backends.settings import BackendSettings
from relay_model.errors import BackendError
from relay_model.outcome import Outcome

__all__ = ["PROMPT", "failure_of", "opening_failure", "whole_answer"]

PROMPT = "Tell me a story."

Opener = Callable[[BackendSettings], AbstractAsyncContextManager[Backend]]


async def whole_answer(backend: Backend, prompt: str = PROMPT) -> tuple[list[str], Outcome]:
    """Return the pieces of an answer, and how it ended."""
    async with backend.stream(prompt, session_id="s") as pieces:
        return [piece async for piece in pieces], pieces.outcome


async def failure_of(backend: Backend, prompt: str = PROMPT) -> tuple[list[str], BackendError]:
    """Return the pieces of an answer that fails, and the failure."""
    read: list[str] = []

    async def ask() -> None:
        async with backend.stream(prompt, session_id="s") as pieces:
            async for piece in pieces:
                read.append(piece)  # noqa: PERF401 - what comes before the failure counts

    with pytest.raises(BackendError) as raised:
        await ask()
    return read, raised.value


async def opening_failure(settings: BackendSettings, opener: Opener = open_backend) -> str:
    """Return the line that a backend refuses to open with."""

    async def open_it() -> None:
        async with opener(settings):
            await anyio.lowlevel.checkpoint()

    with pytest.raises(StartupError) as raised:
        await open_it()
    assert raised.value.exit_code == EXIT_USAGE
    return str(raised.value)
