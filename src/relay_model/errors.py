"""What can go wrong in a backend, and what can keep a program from starting."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grpclib.const import Status

__all__ = ["EXIT_FAILURE", "EXIT_USAGE", "BackendError", "StartupError"]

EXIT_FAILURE = 1
EXIT_USAGE = 2
"""What argparse exits with: the command line, or the file it names, is wrong."""


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


class StartupError(Exception):
    """Why a program cannot start, in one line that says what to do about it.

    Attributes:
        exit_code: what the process exits with.

    """

    def __init__(self, message: str, *, exit_code: int = EXIT_USAGE) -> None:
        """Take the line, without the program's name and without a full stop."""
        super().__init__(message)
        self.exit_code = exit_code
