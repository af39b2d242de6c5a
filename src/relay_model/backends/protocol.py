"""What a backend is: the protocol between the service and what answers prompts.

The service uses a backend like this, once for each prompt::

    async with backend.stream(prompt, session_id=session_id) as pieces:
        async for piece in pieces:
            ...
    outcome = pieces.outcome
"""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable
    from contextlib import AbstractAsyncContextManager

    from relay_model.outcome import Outcome

__all__ = ["Backend", "Pieces"]


class Pieces(Protocol):
    """An async iterator of the text of one answer, in the pieces in which the model makes it."""

    def __aiter__(self) -> "AsyncIterator[str]":
        """Return the iterator itself, because an answer can be read once."""
        ...

    def __anext__(self) -> "Awaitable[str]":
        """Wait for the next piece; it need not be a whole word."""
        ...

    @property
    def outcome(self) -> "Outcome":
        """How the answer ended; valid once the iterator is exhausted."""
        ...


class Backend(Protocol):
    """Answers prompts, several at a time."""

    def stream(self, prompt: str, *, session_id: str) -> "AbstractAsyncContextManager[Pieces]":
        """Answer one prompt.

        Inside the context, the iterator gives the text in pieces and ends when the answer is
        complete. Leaving the context stops the model, however the context is left: when it returns
        or raises, nothing of the answer runs any more. Leaving may await, also after a
        cancellation, for a bounded time. At most ``settings.max_concurrent`` contexts are open at a
        time.

        Args:
            prompt: what was asked; not empty.
            session_id: groups the prompts of one conversation; may be empty.

        Raises:
            BackendError: on entering or from the iterator. An answer that was cut short always
                raises, so that it never looks like a complete one.

        """
        ...
