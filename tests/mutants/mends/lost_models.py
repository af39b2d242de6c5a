"""A model that is lost is unavailable, whatever stands in between."""

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_OUTCOME = "src/relay_gateway/relay/outcome.py"
_CONNECTOR = "packages/grpclib-anyio/src/grpclib_anyio/_channel/connector.py"

_TEST_CONNECTOR = "packages/grpclib-anyio/tests/test_connector.py::"

MUTANTS = [
    Mutant(
        0,
        "a stream that a proxy resets is the model's error",
        _OUTCOME,
        right="    is_lost = isinstance(error, TerminatedError)\n",
        wrong="    is_lost = error.status is Status.UNAVAILABLE\n",
        tests=("tests/gateway/test_outcome.py::test_a_stream_that_is_reset_has_lost_its_model",),
    ),
    Mutant(
        0,
        "a channel keeps to the clock of a loop that is over",
        _CONNECTOR,
        right="        self._tasks = tasks\n        self._begin()\n",
        wrong="        self._tasks = tasks\n        self.timers = Timers()\n",
        tests=(f"{_TEST_CONNECTOR}test_a_channel_tries_again_in_each_loop",),
    ),
]
