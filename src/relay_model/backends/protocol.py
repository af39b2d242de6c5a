"""What a backend is."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable
    from contextlib import AbstractAsyncContextManager

    from relay_model.outcome import Outcome

__all__ = ["Backend", "Pieces"]


class Pieces(Protocol):
    """An async iterator of the text of one answer, in the pieces in which it is made."""

    def __aiter__(self) -> "AsyncIterator[str]":
        """Return itself: the pieces are there once."""
        ...

    def __anext__(self) -> "Awaitable[str]":
        """Wait for the next piece, which need not be a whole word."""
        ...

    @property
    def outcome(self) -> "Outcome":
        """How the answer ended; means something once the iterator has come to its end."""
        ...


class Backend(Protocol):
    """Answers prompts, several at a time."""

    def stream(self, prompt: str, *, session_id: str) -> "AbstractAsyncContextManager[Pieces]":
        """Answer one prompt.

        Inside the context, the iterator gives the text in pieces and ends when the answer is
        complete. Leaving the context, by whatever way, stops generation: nothing of it runs on
        afterwards. No more contexts are open at a time than ``settings.max_concurrent``.

        Args:
            prompt: what was asked; not empty.
            session_id: groups the prompts of one conversation.

        Raises:
            BackendError: on entering or from the iterator. An answer that was cut short always
                raises; it never looks like a complete one.

        """
        ...
