"""Mutants of the programs: how they start, and how they stop."""

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_SHUTDOWN = "src/relay_gateway/web/shutdown.py"
_ROUTES = "src/relay_gateway/web/routes.py"
_WORKER = "src/relay_gateway/server/worker.py"
_IDLE = "src/relay_gateway/server/idle.py"
_ACCEPT = "src/relay_gateway/server/accept.py"
_HTTP2 = "src/relay_gateway/server/http2.py"

_TEST_GRACE = "tests/gateway/test_grace.py::"
_TEST_LAST = "tests/gateway/test_last_call.py::"
_TEST_ACCEPT = "tests/gateway/test_accept.py::"

MUTANTS = [
    Mutant(
        0,
        "answers have no grace at a stop",
        _SHUTDOWN,
        right="        await self._until_idle(grace)\n",
        wrong="",
        tests=(f"{_TEST_GRACE}test_answers_end_in_the_grace_and_so_does_it",),
    ),
    Mutant(
        0,
        "a request that is refused makes the grace longer",
        _SHUTDOWN,
        right="        self.requests += not self.has_begun\n        return not self.has_begun\n",
        wrong="        self.requests += 1\n        return True\n",
        tests=(f"{_TEST_GRACE}test_refused_requests_do_not_make_the_grace_longer",),
    ),
    Mutant(
        0,
        "a second order to stop is forgotten when it comes first",
        _SHUTDOWN,
        right="while self.requests and not self._skipped:",
        wrong="while self.requests:",
        tests=(f"{_TEST_GRACE}test_second_order_before_the_first_has_run_is_kept",),
    ),
    Mutant(
        0,
        "a request whose body comes in the grace is stopped at once",
        _ROUTES,
        right="        if self._shutdown.answers_are_stopped:",
        wrong="        if self._shutdown.has_begun:",
        tests=(f"{_TEST_GRACE}test_request_whose_body_comes_late_has_what_is_left_of_the_grace",),
    ),
    Mutant(
        0,
        "a refused client keeps its connection",
        _ROUTES,
        right='            response.headers["Connection"] = "close"',
        wrong="            pass",
        tests=(
            f"{_TEST_GRACE}test_requests_are_refused_in_the_grace_and_their_connections_closed",
        ),
    ),
    Mutant(
        0,
        "what has come is not answered at a stop",
        _WORKER,
        right="            await self._answer_what_has_come()\n",
        wrong="            pass\n",
        tests=(f"{_TEST_LAST}test_connections_in_the_backlog_are_answered",),
    ),
    Mutant(
        0,
        "a second order to stop cuts answers off without a word",
        _WORKER,
        right="                self.skip()\n",
        wrong="",
        tests=(f"{_TEST_LAST}test_second_order_tells_answers_on_the_wire",),
    ),
    Mutant(
        0,
        "a cancellation reaches hypercorn before the answers are told",
        _WORKER,
        right="self.body = trio.CancelScope(shield=True)",
        wrong="self.body = trio.CancelScope()",
        tests=(f"{_TEST_LAST}test_second_order_tells_answers_on_the_wire",),
    ),
    Mutant(
        0,
        "a connection without a request is closed before it can send one",
        _IDLE,
        right="(self._terminated.ends_idle and not self._is_fresh)",
        wrong="self._terminated.ends_idle",
        tests=(f"{_TEST_LAST}test_connection_without_a_request_may_still_send_it",),
    ),
    Mutant(
        0,
        "the kernel makes connections that nobody accepts",
        _ACCEPT,
        right="(0x15, 0, 1, 0x02),",
        wrong="(0x15, 0, 1, 0xFF),",
        tests=(f"{_TEST_ACCEPT}test_kernel_makes_no_connection_after_the_last_call",),
    ),
    Mutant(
        0,
        "GOAWAY comes while streams are open",
        _HTTP2,
        right="worker.is_stopping and self.idle and",
        wrong="worker.is_stopping and",
        tests=(f"{_TEST_LAST}test_http2_streams_under_way_end_before_goaway",),
    ),
    Mutant(
        0,
        "a stream is over before its end is sent",
        _HTTP2,
        right="self._sent if self._complete else self._is_empty",
        wrong="self._is_empty",
        tests=(
            f"{_TEST_LAST}test_http2_streams_under_way_end_before_goaway",
            f"{_TEST_LAST}test_second_order_tells_answers_on_the_wire",
            "tests/cancellation/test_matrix.py::test_cell",
        ),
    ),
]
