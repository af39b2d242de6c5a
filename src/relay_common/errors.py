"""Why a program cannot start, and the exit codes for it.

For example ``raise StartupError("the model x.gguf is not a GGUF file")`` ends ``relay-model`` with
exit code 2 and ``relay-model: error: the model x.gguf is not a GGUF file`` on stderr.
"""

__all__ = ["EXIT_FAILURE", "EXIT_USAGE", "StartupError", "startup_error"]

EXIT_FAILURE = 1
EXIT_USAGE = 2
"""The exit code of argparse: the command line, or a file that it names, is wrong."""


class StartupError(Exception):
    """Why a program cannot start or a command cannot finish, in one line that says what to do.

    Attributes:
        exit_code: the exit code for the process.

    """

    def __init__(self, message: str, *, exit_code: int = EXIT_USAGE) -> None:
        """Take the line, without the program's name and without a full stop at its end."""
        super().__init__(message)
        self.exit_code = exit_code


def startup_error(group: BaseExceptionGroup[BaseException]) -> StartupError | None:
    """Return a StartupError of an exception group; None if the group has any other exception."""
    matching, others = group.split(StartupError)
    if matching is None or others is not None:
        return None
    error: StartupError | BaseExceptionGroup[StartupError] = matching
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
