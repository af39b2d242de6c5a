"""What can go wrong in a backend."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grpclib.const import Status

__all__ = ["BackendError"]


class BackendError(Exception):
    """A backend that cannot answer, or that broke off in the middle of an answer.

    Attributes:
        status: the gRPC status that the caller gets.
        message: a sentence for the person who asked; nothing about our insides.
        detail: what an operator wants to know; goes to the log and nowhere else.

    """

    def __init__(self, status: "Status", message: str, *, detail: str | None = None) -> None:
        """Describe the failure once for each of its readers."""
        super().__init__(message)
        self.status = status
        self.message = message
        self.detail = detail
