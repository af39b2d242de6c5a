"""Mutants of what clients of OpenAI's API are told."""

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_OPENAI = "src/relay_gateway/web/openai/"
_TESTS = "tests/gateway/test_chat_completions.py::"

MUTANTS = [
    Mutant(
        0,
        "a request that the model service refuses is called a failure of the model",
        f"{_OPENAI}errors.py",
        right='    "INVALID_ARGUMENT": None,  # the request is wrong, and `param` says where\n',
        wrong="",
        tests=(f"{_TESTS}test_a_failure_before_the_first_token_is_a_status",),
    ),
    Mutant(
        0,
        "a client of another API of OpenAI's is told to check its spelling",
        f"{_OPENAI}routes.py",
        right="    message = _NO_SUCH_PATH if is_path else error.description or error.name\n",
        wrong="    message = error.description or error.name\n",
        tests=(f"{_TESTS}test_paths_and_methods_that_are_not_there",),
    ),
]
