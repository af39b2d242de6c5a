"""Mutants of what keeps prompts out of the log, and of what counts the lines that are lost."""

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_SHARED_TEXT = "src/relay_common/shared_text.py"
_TESTS = "tests/common/test_shared_text.py::"
_SPELLED = f"{_TESTS}test_quoted_prompt_is_withheld_however_it_is_spelled"

MUTANTS = [
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
        tests=(f"{_TESTS}test_no_eight_of_a_prompt_are_left_of_any_message",),
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
]
