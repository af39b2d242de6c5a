"""A backend without a model: repeats the prompt, a word at a time."""

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self

import anyio

from relay_model.outcome import FinishReason, Outcome

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from relay_model.settings import ModelSettings

__all__ = ["DemoBackend", "open_backend"]


class DemoBackend:
    """Answers every prompt with ``Streaming response to: <prompt>``, word by word."""

    def __init__(self, delay: float) -> None:
        """Set the pause between two words, in seconds."""
        self._delay = delay

    @asynccontextmanager
    async def stream(
        self,
        prompt: str,
        *,
        session_id: str,  # noqa: ARG002 - part of the protocol; every answer here stands alone
    ) -> "AsyncGenerator[_Paced]":
        """Answer one prompt; leaving the context ends the answer there and then."""
        words = f"Streaming response to: {prompt}".split()
        yield _Paced(iter(words), self._delay)


class _Paced:
    """Words with a pause between them, each with the space that was after it."""

    outcome = Outcome(FinishReason.STOP)

    def __init__(self, words: "Iterator[str]", delay: float) -> None:
        self._words = words
        self._delay = delay
        self._next_delay = 0.0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        word = next(self._words, None)
        if word is None:
            raise StopAsyncIteration
        await anyio.sleep(self._next_delay)
        self._next_delay = self._delay
        return f"{word} "


@asynccontextmanager
async def open_backend(settings: "ModelSettings") -> "AsyncGenerator[DemoBackend]":
    """Open the demo backend, which needs nothing and holds nothing."""
    yield DemoBackend(settings.demo_delay)
