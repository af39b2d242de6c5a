"""What a person is told: how an answer ended, on the wire and on the page."""

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_RELAY = "src/relay_gateway/relay/relay.py"
_SSE = "src/relay_gateway/relay/sse.py"
_COMPLETION = "src/relay_gateway/relay/completion.py"

_STATIC = "src/relay_gateway/web/static/"
_ANSWER, _EVENTS = f"{_STATIC}answer.js", f"{_STATIC}event_stream.js"

_TEST_JSON = "tests/gateway/test_json_events.py::"
_TEST_TRUTH = "tests/e2e/test_page_truth.py::"
_TEST_MARKDOWN = "tests/e2e/test_page_markdown.py::"
_TEST_EVENTS = "tests/e2e/test_page_events.py::test_any_stream_cut_anywhere"

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
    Mutant(
        0,
        "the page waits for a silent network without end",
        _ANSWER,
        right=": this.#onSilence();",
        wrong=": 0;",
        tests=(
            f"{_TEST_TRUTH}test_silence_ends_the_answer",
            f"{_TEST_TRUTH}test_front_that_stops_forwarding",
        ),
    ),
    Mutant(
        0,
        "a heartbeat is no sign of life",
        _ANSWER,
        right="    watchdog.heard(); // bytes",
        wrong="    if (value.length > 8) watchdog.heard(); // bytes",
        tests=(f"{_TEST_TRUTH}test_heartbeats_keep_an_answer_alive",),
    ),
    Mutant(
        0,
        "the wait for the first byte has no end",
        _ANSWER,
        right="this.#timer = setTimeout(() => this.heard(), HOLD);",
        wrong="this.#timer = 0;",
        tests=(f"{_TEST_TRUTH}test_silence_ends_the_answer",),
    ),
    Mutant(
        0,
        "an answer that ends without its last event is complete",
        _ANSWER,
        right="if (done) throw new AnswerError(LOST);",
        wrong="if (done) return listener.onDone({});",
        tests=(f"{_TEST_TRUTH}test_answer_that_is_not_complete",),
    ),
    Mutant(
        0,
        "any status is told in the same words",
        _ANSWER,
        right="const statusWords = (status) => REFUSALS[status] ??",
        wrong="const statusWords = (status) =>",
        tests=(f"{_TEST_TRUTH}test_words_fit_the_status",),
    ),
    Mutant(
        0,
        "a page to log in is an answer",
        _ANSWER,
        right='if (!isOfType(response, "text/event-stream")) throw',
        wrong="if (!response) throw",
        tests=(f"{_TEST_TRUTH}test_words_fit_the_status",),
    ),
    Mutant(
        0,
        "a body that does not end keeps its connection",
        _ANSWER,
        right="    setTimeout(() => controller.abort(), END_TIME);",
        wrong="   ",
        tests=(f"{_TEST_TRUTH}test_body_that_does_not_end_after_done_is_not_kept",),
    ),
    Mutant(
        0,
        "an answer that was cut is done",
        f"{_STATIC}app.js",
        right='ENDINGS[reason ?? "stop"]',
        wrong='ENDINGS["stop"]',
        tests=(f"{_TEST_TRUTH}test_end_of_an_answer_is_told_in_words",),
    ),
    Mutant(
        0,
        "a CRLF that is cut in two ends two lines",
        _EVENTS,
        right='this.#afterCr = text.endsWith("\\r");',
        wrong="this.#afterCr = false;",
        tests=(_TEST_EVENTS,),
    ),
    Mutant(
        0,
        "U+2028 ends a line",
        _EVENTS,
        right="/\\r\\n|\\n|\\r/",
        wrong="/\\r\\n|\\n|\\r|\\u2028/",
        tests=(_TEST_EVENTS,),
    ),
    Mutant(
        0,
        "a letter that is cut in two is no letter",
        _EVENTS,
        right="{ stream: true }",
        wrong="{ stream: false }",
        tests=(_TEST_EVENTS,),
    ),
    Mutant(
        0,
        "a link leads anywhere",
        f"{_STATIC}markdown_inline.js",
        right='(address.href !== "" && !LINK.test(address.href))',
        wrong="address.href === undefined",
        tests=(f"{_TEST_MARKDOWN}test_hostile_answer_is_harmless_and_has_a_bounded_cost",),
    ),
    Mutant(
        0,
        "what a partial line drew stays",
        f"{_STATIC}markdown.js",
        right="    leaf?.reset(mark);\n",
        wrong="",
        tests=(f"{_TEST_MARKDOWN}test_document_whole_and_cut_at_every_character",),
    ),
    Mutant(
        0,
        "quotes within each other have no limit",
        f"{_STATIC}markdown.js",
        right="const MAX_DEPTH = 20;",
        wrong="const MAX_DEPTH = 20_000;",
        tests=(f"{_TEST_MARKDOWN}test_hostile_answer_is_harmless_and_has_a_bounded_cost",),
    ),
]
