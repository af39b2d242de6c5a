"""Connections that do nothing end, and calls that are left while they are handled cost nothing."""

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_TRANSPORT = "packages/grpclib-anyio/src/grpclib_anyio/"
_DRAIN = f"{_TRANSPORT}_connection/drain.py"
_RECEIVER = f"{_TRANSPORT}_connection/receiver.py"
_SERVER_CALL = f"{_TRANSPORT}_call/server.py"
_CONNECTION = f"{_TRANSPORT}_connection/connection.py"

_TESTS = "packages/grpclib-anyio/tests/"
_TEST = f"{_TESTS}test_lifetimes.py::"

MUTANTS = [
    Mutant(
        0,
        "a client that says nothing is kept",
        _DRAIN,
        right="        with anyio.move_on_after(self._config.connect_timeout):",
        wrong="        with anyio.CancelScope():",
        tests=(f"{_TEST}test_a_client_that_does_not_begin_is_let_go",),
    ),
    Mutant(
        0,
        "a connection with a long call is idle",
        _DRAIN,
        right="is_idle = not self._connection.has_calls",
        wrong="is_idle = True",
        tests=(f"{_TEST}test_a_connection_is_idle_from_its_last_call",),
    ),
    Mutant(
        0,
        "a relay whose browsers leave is a flood",
        _RECEIVER,
        right="if not (stream.is_handled or stream.state.headers_sent):",
        wrong="if not stream.state.headers_sent:",
        tests=(f"{_TEST}test_calls_that_are_left_while_they_are_handled_cost_nothing",),
    ),
    Mutant(
        0,
        "no reset is counted",
        _RECEIVER,
        right="if not (stream.is_handled or stream.state.headers_sent):",
        wrong="if stream is None:",
        tests=(
            f"{_TEST}test_calls_that_are_left_before_they_are_handled_are_not_handled_and_counted",
        ),
    ),
]
