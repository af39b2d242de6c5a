"""The HTTP interface as it is described: what pages may ask, and what is refused or taken."""

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_WEB = "src/relay_gateway/web/"
_CROSS_ORIGIN = f"{_WEB}cross_origin.py"
_REQUEST = f"{_WEB}openai/request.py"

_TEST_CROSS_ORIGIN = "tests/gateway/test_cross_origin.py::"
_TEST_DEMO = "tests/model/test_demo_backend.py::"
_TEST_DESCRIPTION = "tests/gateway/test_description.py::"
_TEST_ODD = "tests/gateway/test_odd_bodies.py::"
_TEST_PARAMETERS = "tests/gateway/test_parameters.py::"

MUTANTS = [
    Mutant(
        0,
        "a page may not send its key, for which the star does not stand",
        _CROSS_ORIGIN,
        right='"Access-Control-Allow-Headers": "Authorization, *"',
        wrong='"Access-Control-Allow-Headers": "*"',
        tests=(f"{_TEST_CROSS_ORIGIN}test_preflight",),
    ),
    Mutant(
        0,
        "a page cannot read that it must not ask again",
        _CROSS_ORIGIN,
        right='"Access-Control-Expose-Headers": "Retry-After, x-should-retry"',
        wrong='"Access-Control-Expose-Headers": "Retry-After"',
        tests=(f"{_TEST_CROSS_ORIGIN}test_a_page_may_read_whether_to_ask_again",),
    ),
    Mutant(
        0,
        "a page sees a failed fetch when the gateway stops",
        f"{_WEB}routes.py",
        right='        if current_request.method != "OPTIONS":',
        wrong="        if current_request.method:",
        tests=(f"{_TEST_CROSS_ORIGIN}test_a_page_is_told_that_the_gateway_stops",),
    ),
    Mutant(
        0,
        "the health checks are HTML",
        f"{_WEB}routes.py",
        right='Response("ok\\n", content_type="text/plain; charset=utf-8")',
        wrong='Response("ok\\n")',
        tests=(f"{_TEST_DESCRIPTION}test_every_response_that_is_described_is_sent",),
    ),
    Mutant(
        0,
        "a GET is said to tell whether to ask again",
        f"{_WEB}description/native.py",
        right='_not_understood("A field is missing or wrong.")',
        wrong='_not_understood("A field is missing or wrong.", "x-should-retry")',
        tests=(f"{_TEST_DESCRIPTION}test_every_response_that_is_described_is_sent",),
    ),
    Mutant(
        0,
        "a status that can be had is not described",
        f"{_WEB}description/chat.py",
        right='            _no_model("x-should-retry"),\n',
        wrong="",
        tests=(f"{_TEST_DESCRIPTION}test_every_response_that_is_described_is_sent",),
    ),
    Mutant(
        0,
        "a field of an event is not described",
        f"{_WEB}description/native.py",
        right="    finish_reason: Literal[",
        wrong="    reason: Literal[",
        tests=(f"{_TEST_DESCRIPTION}test_every_response_that_is_described_is_sent",),
    ),
    Mutant(
        0,
        "a list of models that fails is the caller's fault",
        f"{_WEB}catalogue.py",
        right="            if error.status in _CALLERS_FAULT:",
        wrong="            if error.status in ():",
        tests=(
            f"{_TEST_DESCRIPTION}test_a_list_that_the_model_service_refuses_is_not_the_callers_fault",
        ),
    ),
    Mutant(
        0,
        "what tells a kind is looked up though it cannot be",
        f"{_WEB}validation.py",
        right="return kind if isinstance(kind, str) else None",
        wrong="return kind  # type: ignore[return-value]",
        tests=(f"{_TEST_ODD}test_what_tells_the_kind_is_no_text",),
    ),
    Mutant(
        0,
        "5.0 is no whole number",
        f"{_WEB}conversation.py",
        right="return int(value) if isinstance(value, float) and value.is_integer() else value",
        wrong="return value",
        tests=(f"{_TEST_ODD}test_a_whole_number_may_be_written_with_a_point",),
    ),
    Mutant(
        0,
        "a whole number has no bounds",
        f"{_WEB}conversation.py",
        right="Annotated[int, Field(ge=0, lt=2**32), _Whole]",
        wrong="Annotated[int, _Whole]",
        tests=(f"{_TEST_ODD}test_a_number_that_is_not_whole_is_refused",),
    ),
    Mutant(
        0,
        "a number that no double holds is null for the model",
        f"{_WEB}json_body.py",
        right=", parse_float=_finite)",
        wrong=")",
        tests=(f"{_TEST_ODD}test_a_number_that_no_double_holds_is_refused",),
    ),
    Mutant(
        0,
        "true is one",
        _REQUEST,
        right="if value != only or isinstance(value, bool) != isinstance(only, bool):",
        wrong="if value != only:",
        tests=(f"{_TEST_ODD}test_what_only_looks_like_what_is_done_anyway_is_refused",),
    ),
    Mutant(
        0,
        "a wrong format in the query is ignored",
        f"{_WEB}prompt.py",
        right='    _encoder(fields["format"])  # refuses',
        wrong="    # refuses",
        tests=(
            f"{_TEST_ODD}test_a_wrong_format_in_the_query_is_refused_also_if_the_body_has_another",
        ),
    ),
    Mutant(
        0,
        "a parameter that changes nothing is refused",
        _REQUEST,
        right='        "prompt_cache_options",\n',
        wrong="",
        tests=(f"{_TEST_PARAMETERS}test_what_changes_nothing_is_taken",),
    ),
    Mutant(
        0,
        "a caller is told of a field that JSON does not have",
        "src/relay_gateway/relay/outcome.py",
        right='_ONLY_IN_CONTRACT.sub("", violation.field)',
        wrong="violation.field",
        tests=("tests/gateway/test_outcome.py::test_a_field_has_the_name_that_its_caller_gave_it",),
    ),
    Mutant(
        0,
        "the demo fails where only the model has spoken",
        "src/relay_model/backends/demo.py",
        right="said = (others or conversation.messages)[-1]",
        wrong="said = others[-1]",
        tests=(f"{_TEST_DEMO}test_where_only_the_model_has_spoken_that_is_repeated",),
    ),
    Mutant(
        0,
        "a line of Ollama's ends where Unicode says",
        "src/relay_model/backends/providers/ollama.py",
        right="    response.aiter_lines = partial(_lines, response)",
        wrong="    response.aiter_lines = response.aiter_lines",
        tests=(
            "tests/model/providers/test_any_split.py::test_any_text",
            "tests/model/providers/test_any_split.py::test_ollama",
        ),
    ),
    Mutant(
        0,
        "a piece of a line of Ollama's is lost between two packets",
        "src/relay_model/backends/providers/ollama.py",
        right='yield "".join([*begun, end])',
        wrong="yield end",
        tests=("tests/model/providers/test_any_split.py::test_any_text",),
    ),
]
