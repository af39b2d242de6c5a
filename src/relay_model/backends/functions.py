"""A function as a backend: an async generator function that is given a conversation.

For example, all that a package has to bring::

    async def answer(conversation):
        for word in conversation.prompt.split():
            yield f"{word} "
"""

from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Self

from relay_model.backends.protocol import ModelInfo
from relay_model.outcome import FinishReason, Outcome

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from relay_model.conversation import Conversation
    from relay_model.pieces import Piece

__all__ = ["FunctionBackend"]


class FunctionBackend:
    """Answers with what a function yields, and closes its generator where the answer ends."""

    def __init__(
        self, name: str, function: "Callable[[Conversation], AsyncGenerator[Piece]]"
    ) -> None:
        """Answer with ``function``, as a model of the backend's name."""
        self.models = (ModelInfo(name),)
        self._function = function

    @asynccontextmanager
    async def stream(self, conversation: "Conversation") -> "AsyncGenerator[_Yielded]":
        """Answer one conversation; leaving the context closes the generator."""
        async with aclosing(self._function(conversation)) as pieces:
            yield _Yielded(pieces)


class _Yielded:
    """The pieces of one answer; the function has no other way to say how it ended."""

    outcome = Outcome(FinishReason.STOP)

    def __init__(self, pieces: "AsyncGenerator[Piece]") -> None:
        self._pieces = pieces

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> "Piece":
        return await anext(self._pieces)
