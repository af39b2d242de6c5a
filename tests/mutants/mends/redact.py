"""Mutants of what keeps prompts out of the log, and of what counts the lines that are lost."""

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_SHARED_TEXT = "src/relay_common/shared_text.py"
_BACKGROUND = "src/relay_common/background.py"
_TESTS = "tests/common/test_shared_text.py::"
_TESTS_BACKGROUND = "tests/common/test_background.py::"
_SPELLED = f"{_TESTS}test_quoted_prompt_is_withheld_however_it_is_spelled"

MUTANTS = [
    Mutant(
        0,
        "a failure's line comes before what was logged earlier",
        "src/relay_common/cli.py",
        right="    close_log()\n",
        wrong="",
        tests=(
            "tests/common/test_cli.py::test_the_line_of_a_failure_comes_after_all_that_was_logged",
        ),
    ),
    Mutant(
        0,
        "the gateway logs what the model wrote as it is",
        "src/relay_gateway/web/accounting.py",
        right="without_prompt(relay.outcome.detail, relay.request)",
        wrong="relay.outcome.detail",
        tests=("tests/gateway/test_prompt_in_logs.py",),
    ),
    Mutant(
        0,
        "the model service logs what the provider wrote as it is",
        "src/relay_model/service.py",
        right="log.add(error=without_prompt(error.detail or error.message, request))",
        wrong="log.add(error=error.detail or error.message)",
        tests=("tests/model/providers/test_prompt_in_logs.py",),
    ),
    Mutant(
        0,
        "a retry is logged with what the provider wrote as it is",
        "src/relay_model/backends/providers/provider.py",
        right="without_prompt(error.detail or error.message, conversation)",
        wrong="error.detail",
        tests=("tests/model/providers/test_prompt_in_logs.py",),
    ),
    Mutant(
        0,
        "a traceback of a backend has its errors' messages as they are",
        "src/relay_model/service.py",
        right="log.add(exception=traceback_without_prompt(error, request))",
        wrong="log.add(exc_info=error)",
        tests=("tests/model/test_service.py",),
    ),
    Mutant(
        0,
        "only the last message of a conversation is the prompt",
        _SHARED_TEXT,
        right="    waiting: list[Any] = [\n",
        wrong="    yield asked.prompt\n    return\n    waiting: list[Any] = [\n",
        tests=(f"{_TESTS}test_every_text_of_a_conversation_is_the_prompt",),
    ),
    Mutant(
        0,
        "a quote that was escaped is not recognised",
        _SHARED_TEXT,
        right="    while waiting and len(readings) < _MAX_READINGS:\n",
        wrong="    while False:\n",
        tests=(_SPELLED,),
    ),
    Mutant(
        0,
        "a quote that was escaped twice is not recognised",
        _SHARED_TEXT,
        right="                waiting.append(other)\n",
        wrong="",
        tests=(_SPELLED,),
    ),
    Mutant(
        0,
        "only every eighth byte of a prompt is looked at",
        _SHARED_TEXT,
        right="    for offset in range(_RUN):\n",
        wrong="    for offset in (0,):\n",
        tests=(f"{_TESTS}test_eight_letters_are_found_wherever_they_stand",),
    ),
    Mutant(
        0,
        "a short prompt is logged",
        _SHARED_TEXT,
        right="words.keys() & set(folded)",
        wrong="set[bytes]()",
        tests=(f"{_TESTS}test_short_text_is_withheld_where_it_is_whole_words",),
    ),
    Mutant(
        0,
        "a traceback has the messages of an error's causes as they are",
        _SHARED_TEXT,
        right="    message = without_shared(_message_of(error), texts)\n",
        wrong="    message = _message_of(error)\n",
        tests=(f"{_TESTS}test_traceback_has_types_and_places_but_no_prompt",),
    ),
    Mutant(
        0,
        "a drop is not reported before the next line comes",
        _BACKGROUND,
        right="        self._changed.notify()\n\n    def _drop",
        wrong="            self._changed.notify()\n\n    def _drop",
        tests=(f"{_TESTS_BACKGROUND}test_drop_is_reported_when_no_further_line_comes",),
    ),
    Mutant(
        0,
        "a line that could not be written is not counted",
        _BACKGROUND,
        right="                    self._unreported += 1\n                    self._count()\n",
        wrong="                    self._unreported += 1\n",
        tests=(f"{_TESTS_BACKGROUND}test_line_that_is_written_in_part_is_dropped",),
    ),
    Mutant(
        0,
        "a full buffer takes single lines between its drops",
        _BACKGROUND,
        right="if self._has_room else self._max_buffered // 2",
        wrong="if self._has_room else self._max_buffered",
        tests=(
            f"{_TESTS_BACKGROUND}test_full_buffer_takes_lines_again_when_half_of_it_is_written",
        ),
    ),
    Mutant(
        0,
        "a forked child gives its lines to a thread that it does not have",
        _BACKGROUND,
        right="            self._start()\n        with",
        wrong="            pass\n        with",
        tests=(f"{_TESTS_BACKGROUND}test_forked_child_logs_for_itself",),
    ),
    Mutant(
        0,
        "hypercorn's own logs are written by the event loop",
        "src/relay_gateway/server/worker.py",
        right="            write_in_background(logger)\n",
        wrong="            pass\n",
        tests=("tests/gateway/test_unread_logs.py",),
    ),
    Mutant(
        0,
        "the metric of dropped lines is always zero",
        "src/relay_common/log_metrics.py",
        right="text, dropped_lines())",
        wrong="text, 0)",
        tests=("tests/common/test_log_metrics.py",),
    ),
]
