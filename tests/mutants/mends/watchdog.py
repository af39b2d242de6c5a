"""An event loop that is blocked: what still notices it, and who says so."""

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_TRANSPORT = "packages/grpclib-anyio/"
_STREAM = f"{_TRANSPORT}src/grpclib_anyio/_stream/stream.py"
_THREADED = "src/relay_model/backends/threaded.py"
_TEST_THREADED = "tests/model/test_threaded.py::"
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
    Mutant(
        0,
        "the place is free although a thread goes on",
        "src/relay_model/service.py",
        right="pieces.call_when_stopped(place.keep())",
        wrong="pieces.call_when_stopped(lambda: None)",
        tests=(f"{_TEST_THREADED}test_leaving_within_a_step_does_not_wait_for_it",),
    ),
    Mutant(
        0,
        "leaving waits for the generator's step",
        _THREADED,
        right="            answer.leave()\n",
        wrong="            answer.leave()\n            await answer.stopped.wait()\n",
        tests=(f"{_TEST_THREADED}test_stuck_generator_is_reported_and_left_behind",),
    ),
    Mutant(
        0,
        "a generator that is left is not closed",
        _THREADED,
        right="            if error := await anyio.to_thread.run_sync(\n                _close,",
        wrong="            if error := await anyio.to_thread.run_sync(\n                bool,",
        tests=(f"{_TEST_THREADED}test_leaving_between_two_steps_closes_it",),
    ),
    Mutant(
        0,
        "a generator's StopAsyncIteration is a whole answer",
        _THREADED,
        right=" and not isinstance(error, StopAsyncIteration)",
        wrong="",
        tests=(f"{_TEST_THREADED}test_what_it_raises_ends_its_own_call",),
    ),
    Mutant(
        0,
        "the end of the service waits for every thread",
        _THREADED,
        right="anyio.move_on_after(_STOP_SECONDS, shield=True)",
        wrong="anyio.CancelScope(shield=True)",
        tests=(f"{_TEST_THREADED}test_stuck_generator_is_reported_and_left_behind",),
    ),
]
