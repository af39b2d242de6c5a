"""A backend without a model: repeats the prompt, a word at a time.

For example, the prompt "hello" is answered with ``Streaming ``, ``response ``, ``to: `` and
``hello ``.
"""

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self

import anyio

from relay_model.outcome import FinishReason, Outcome

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from relay_model.backends.settings import BackendSettings

__all__ = ["DemoBackend", "open_backend"]


class DemoBackend:
    """Answers every prompt with ``Streaming response to: <prompt>``, word by word."""

    def __init__(self, delay: float) -> None:
        """Set the pause between two words, in seconds; the first word has none."""
        self._delay = delay

    @asynccontextmanager
    async def stream(self, prompt: str, *, session_id: str) -> "AsyncGenerator[_Paced]":
        """Answer one prompt; leaving the context ends the answer at once."""
        del session_id  # each answer stands alone
        words = f"Streaming response to: {prompt}".split()
        yield _Paced(iter(words), self._delay)


class _Paced:
    """Words with a pause between them, each with a space at its end."""

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
async def open_backend(settings: "BackendSettings") -> "AsyncGenerator[DemoBackend]":
    """Open the demo backend; there is nothing to load and nothing to close."""
    yield DemoBackend(settings.demo_delay)
