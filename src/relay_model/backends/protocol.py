"""What a backend is: the protocol between the service and what answers.

The service uses a backend like this, once for each request::

    async with backend.stream(conversation) as pieces:
        async for piece in pieces:
            ...
    outcome = pieces.outcome
"""

from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from relay_model.conversation import Conversation
    from relay_model.outcome import Outcome
    from relay_model.pieces import Piece

__all__ = ["Backend", "Lingering", "ModelInfo", "Pieces"]


class ModelInfo(NamedTuple):
    """A model that a backend has."""

    id: str
    """What requests call it."""
    owned_by: str = ""
    context_tokens: int | None = None
    """How many tokens of a conversation and its answer it holds; None if that is not known."""


class Pieces(Protocol):
    """An async iterator of one answer, in the pieces in which the model makes it."""

    def __aiter__(self) -> "AsyncIterator[Piece]":
        """Return the iterator itself, because an answer can be read once."""
        ...

    def __anext__(self) -> "Awaitable[Piece]":
        """Wait for the next piece; one of text need not be a whole word."""
        ...

    @property
    def outcome(self) -> "Outcome":
        """How the answer ended; valid once the iterator is exhausted."""
        ...


@runtime_checkable
class Lingering(Protocol):
    """Pieces whose model may go on for a while when their context has been left.

    It is for what nothing can stop, such as a thread. The answer keeps its place among
    ``settings.max_concurrent`` until then.
    """

    def call_when_stopped(self, callback: "Callable[[], None]") -> None:
        """Call back in the event loop, once, when nothing of the answer runs any more."""
        ...


class Backend(Protocol):
    """Answers conversations, several at a time."""

    @property
    def models(self) -> "Sequence[ModelInfo]":
        """The models that there are; the first one answers when a request names none."""
        ...

    def stream(self, conversation: "Conversation") -> "AbstractAsyncContextManager[Pieces]":
        """Answer one conversation.

        Inside the context, the iterator gives the answer in pieces and ends when it is complete.
        Leaving the context stops the model, however the context is left: when it returns or raises,
        nothing of the answer runs any more, unless the pieces are :class:`Lingering`.
        Leaving may await, also after a cancellation, for a bounded time. At most
        ``settings.max_concurrent`` contexts are open at a time.

        Args:
            conversation: what is asked. The service has checked it, and that its model is one of
                :attr:`models`.

        Raises:
            BackendError: on entering or from the iterator. What is asked and cannot be done is
                INVALID_ARGUMENT with its field, see ``support``. An answer that was cut short
                always raises, so that it never looks like a complete one.

        """
        ...
