"""What can keep a program from starting."""

__all__ = ["EXIT_FAILURE", "EXIT_USAGE", "StartupError"]

EXIT_FAILURE = 1
EXIT_USAGE = 2
"""What argparse exits with: the command line, or the file it names, is wrong."""


class StartupError(Exception):
    """Why a program cannot start, in one line that says what to do about it.

    Attributes:
        exit_code: what the process exits with.

    """

    def __init__(self, message: str, *, exit_code: int = EXIT_USAGE) -> None:
        """Take the line, without the program's name and without a full stop."""
        super().__init__(message)
        self.exit_code = exit_code
