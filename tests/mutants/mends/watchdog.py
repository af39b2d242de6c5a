"""An event loop that is blocked: what still notices it, and who says so."""

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_TRANSPORT = "packages/grpclib-anyio/"
_STREAM = f"{_TRANSPORT}src/grpclib_anyio/_stream/stream.py"
_TEST_BLOCKING = f"{_TRANSPORT}tests/test_blocking_handlers.py::"

MUTANTS = [
    Mutant(
        0,
        "only messages count before a checkpoint",
        _STREAM,
        right=" or monotonic() >= self._turn_ends\n",
        wrong="\n",
        tests=(
            f"{_TEST_BLOCKING}test_a_reset_is_heard_at_the_next_piece",
            f"{_TEST_BLOCKING}test_a_reader_that_blocks_hears_a_reset",
        ),
    ),
    Mutant(
        0,
        "one turn of the loop after a handler that blocked",
        _STREAM,
        right="_TURNS_TO_HEAR = 3",
        wrong="_TURNS_TO_HEAR = 1",
        tests=(f"{_TEST_BLOCKING}test_a_reset_is_heard_at_the_next_piece",),
    ),
]
