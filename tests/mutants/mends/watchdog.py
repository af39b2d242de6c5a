"""An event loop that is blocked: what still notices it, and who says so."""

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_TRANSPORT = "packages/grpclib-anyio/"
_STREAM = f"{_TRANSPORT}src/grpclib_anyio/_stream/stream.py"
_THREADED = "src/relay_model/backends/threaded.py"
_TEST_THREADED = "tests/model/test_threaded.py::"
_WATCHDOG = "src/relay_common/watchdog.py"
_TEST_WATCHDOG = "tests/common/test_watchdog.py::"
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
    Mutant(
        0,
        "the watchdog logs its own stack",
        _WATCHDOG,
        right="_stack_of(loop)",
        wrong="_stack_of(threading.get_ident())",
        tests=(f"{_TEST_WATCHDOG}test_who_blocks_is_logged_and_counted",),
    ),
    Mutant(
        0,
        "the watchdog logs every blocking",
        _WATCHDOG,
        right="asked >= self._next_report",
        wrong="asked >= 0.0",
        tests=(f"{_TEST_WATCHDOG}test_many_are_counted_and_few_are_logged",),
    ),
    Mutant(
        0,
        "the watchdog's thread waits for a loop that was left",
        _WATCHDOG,
        right="        self._is_over.set()\n        self._is_alive.set()\n",
        wrong="        self._is_alive.set()\n",
        tests=(f"{_TEST_WATCHDOG}test_its_thread_ends_with_it",),
    ),
    Mutant(
        0,
        "the gateway watches nothing",
        "src/relay_gateway/web/asgi.py",
        right="            with self._watchdog:\n",
        wrong="            if self._watchdog:\n",
        tests=(
            "tests/gateway/test_blocked_loop.py::test_handler_that_blocks_is_counted_and_named",
        ),
    ),
    Mutant(
        0,
        "the model service does not count a blocked loop",
        "src/relay_model/serving.py",
        right="self._settings.watchdog_seconds, blocked.inc)",
        wrong="self._settings.watchdog_seconds)",
        tests=("tests/model/test_blocked_loop.py",),
    ),
]
