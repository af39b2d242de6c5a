"""What a person is told: how an answer ended, on the wire and on the page."""

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_RELAY = "src/relay_gateway/relay/relay.py"
_SSE = "src/relay_gateway/relay/sse.py"
_COMPLETION = "src/relay_gateway/relay/completion.py"

_TEST_JSON = "tests/gateway/test_json_events.py::"

MUTANTS = [
    Mutant(
        0,
        "the last event of a JSON stream is no JSON",
        _RELAY,
        right="return self._done_event",
        wrong="return sse.DONE",
        tests=(f"{_TEST_JSON}test_done_says_how_the_answer_ended",),
    ),
    Mutant(
        0,
        "a bug before the last event ends the stream without one",
        _RELAY,
        right="self._done_event = self._encoder.done(Completion(last))",
        wrong="self._last = last",
        also=(
            (
                "return self._done_event",
                "return self._encoder.done(Completion(self._last))",
            ),
        ),
        tests=(f"{_TEST_JSON}test_bug_of_ours_is_told_in_json",),
    ),
    Mutant(
        0,
        "usage that is absent is zero",
        _COMPLETION,
        right="        if not betterproto.serialized_on_wire(usage):\n            return None\n",
        wrong="",
        tests=(f"{_TEST_JSON}test_done_says_how_the_answer_ended",),
    ),
    Mutant(
        0,
        "a reason of a newer model service is no reason",
        _COMPLETION,
        right='self._last.finish_reason, "other")',
        wrong="self._last.finish_reason)",
        tests=(f"{_TEST_JSON}test_done_says_how_the_answer_ended",),
    ),
    Mutant(
        0,
        "an error in JSON is told as text",
        _SSE,
        right='return _json_event("error", fields)',
        wrong="return TextEncoder().error(failure)",
        tests=(f"{_TEST_JSON}test_error_is_json",),
    ),
]
