"""What every test of a backend does: open it, read an answer, or see it fail."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import anyio.lowlevel
import pytest

from relay_common.errors import EXIT_USAGE, StartupError
from relay_model.backends.protocol import Backend
from relay_model.backends.registry import open_backend
from relay_model.backends.settings import BackendSettings
from relay_model.conversation import Conversation
from relay_model.errors import BackendError
from relay_model.outcome import Outcome
from relay_model.pieces import Piece

__all__ = ["PROMPT", "failure_of", "opening_failure", "pieces_of", "text", "whole_answer"]

PROMPT = "Tell me a story."


def text(piece: Piece) -> str:
    """Give a piece that has to be text."""
    assert isinstance(piece, str)
    return piece


Opener = Callable[[BackendSettings], AbstractAsyncContextManager[Backend]]


async def whole_answer(backend: Backend, prompt: str = PROMPT) -> tuple[list[str], Outcome]:
    """Return the text of an answer, piece by piece, and how it ended."""
    async with backend.stream(Conversation.of(prompt, session_id="s")) as pieces:
        return [p async for p in pieces if isinstance(p, str)], pieces.outcome


async def pieces_of(
    backend: Backend, conversation: Conversation | None = None
) -> tuple[list[Piece], Outcome]:
    """Return all pieces of an answer, and how it ended."""
    async with backend.stream(conversation or Conversation.of(PROMPT)) as pieces:
        return [piece async for piece in pieces], pieces.outcome


async def failure_of(
    backend: Backend, asked: str | Conversation = PROMPT
) -> tuple[list[str], BackendError]:
    """Return the pieces of an answer that fails, and the failure."""
    read: list[str] = []
    conversation = Conversation.of(asked) if isinstance(asked, str) else asked

    async def ask() -> None:
        async with backend.stream(conversation) as pieces:
            async for piece in pieces:
                read.append(text(piece))  # noqa: PERF401 - what comes before the failure counts

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
