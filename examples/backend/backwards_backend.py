"""A backend in a package of its own. Its pyproject.toml says how to install and start it."""

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager

import anyio

from relay_model.outcome import FinishReason, Outcome
from relay_model.settings import ModelSettings


async def reversed_words(prompt: str) -> AsyncGenerator[str]:
    for word in reversed(prompt.split()):
        yield f"{word} "
        await anyio.sleep(0.05)


class Answer:
    outcome = Outcome(FinishReason.STOP)

    def __init__(self, words: AsyncGenerator[str]) -> None:
        self._words = words

    def __aiter__(self) -> "Answer":
        return self

    async def __anext__(self) -> str:
        return await anext(self._words)


class Backwards:
    @asynccontextmanager
    async def stream(self, prompt: str, *, session_id: str) -> AsyncGenerator[Answer]:
        async with aclosing(reversed_words(prompt)) as words:  # leaving it stops the model
            yield Answer(words)


@asynccontextmanager
async def open_backend(settings: ModelSettings) -> AsyncGenerator[Backwards]:
    yield Backwards()  # a model would be loaded here, and let go after the yield
