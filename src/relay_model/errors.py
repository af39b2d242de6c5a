"""What can go wrong in a backend."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grpclib.const import Status

__all__ = ["BackendError"]


class BackendError(Exception):
    """A backend that cannot answer, or that broke off in the middle of an answer.

    The status is what a caller can act on, so each failure has its own:

    ====================  =========================================================
    INVALID_ARGUMENT      the prompt: too long, or refused as a request
    UNAUTHENTICATED       our key is missing or wrong
    PERMISSION_DENIED     our key may not use this model
    NOT_FOUND             there is no such model
    RESOURCE_EXHAUSTED    too many requests, a quota, an overloaded provider
    UNAVAILABLE           the provider cannot be reached, is down, was silent for
                          longer than it may be, or broke off
    INTERNAL              anything else, such as an answer that makes no sense
    ====================  =========================================================

    DEADLINE_EXCEEDED is not among them: the deadline is the caller's.

    Attributes:
        status: the gRPC status that the caller gets.
        message: a sentence for the person who asked; nothing about our insides.
        detail: what an operator wants to know; goes to the log and nowhere else. Never a key.
        retry_after: seconds after which it is worth another try, where that is known; the caller
            gets them as ``google.rpc.RetryInfo``.

    """

    def __init__(
        self,
        status: "Status",
        message: str,
        *,
        detail: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        """Describe the failure once for each of its readers."""
        super().__init__(message)
        self.status = status
        self.message = message
        self.detail = detail
        self.retry_after = retry_after
