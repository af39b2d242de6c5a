"""Mutants of what keeps the event loop free of the reader of the log."""

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_BACKGROUND = "src/relay_common/background.py"
_TESTS = "tests/common/test_background.py::"
_UNREAD = f"{_TESTS}test_pipe_that_nobody_reads_holds_neither_the_program_nor_its_exit"

MUTANTS = [
    Mutant(
        0,
        "the log is written where it is logged",
        "src/relay_common/log.py",
        right="        return BackgroundHandler(stream.fileno())",
        wrong="        return logging.StreamHandler(stream)",
        tests=(_UNREAD,),
    ),
    Mutant(
        0,
        "the end of the program waits for the reader of the log",
        _BACKGROUND,
        right="self._thread.join(_CLOSE_SECONDS)",
        wrong="self._thread.join()",
        tests=(_UNREAD,),
    ),
    Mutant(
        0,
        "dropped lines are not counted",
        _BACKGROUND,
        right="            self._unreported += line\n",
        wrong="            pass\n",
        tests=(f"{_TESTS}test_lines_that_do_not_fit_are_counted_and_reported",),
    ),
]
