"""What can keep a program from doing what it was started for."""

__all__ = ["EXIT_FAILURE", "EXIT_USAGE", "StartupError", "startup_error"]

EXIT_FAILURE = 1
EXIT_USAGE = 2
"""What argparse exits with: the command line, or the file it names, is wrong."""


class StartupError(Exception):
    """Why a program cannot start, or a command not finish, in one line that says what to do.

    Attributes:
        exit_code: what the process exits with.

    """

    def __init__(self, message: str, *, exit_code: int = EXIT_USAGE) -> None:
        """Take the line, without the program's name and without a full stop."""
        super().__init__(message)
        self.exit_code = exit_code


def startup_error(group: BaseExceptionGroup[BaseException]) -> StartupError | None:
    """Find the error that a task group's exception group is about, if it is about no other."""
    matching, others = group.split(StartupError)
    if matching is None or others is not None:
        return None
    error: StartupError | BaseExceptionGroup[StartupError] = matching
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
