"""Mutants of what a backend is asked, and of what it makes of odd answers."""

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_BACKENDS = "src/relay_model/backends/"
_ANSWER = "tests/model/test_llama_answer.py::"
_PROVIDERS = "tests/model/providers/"

MUTANTS = [
    Mutant(
        0,
        "counts of an odd type make a whole answer fail",
        f"{_BACKENDS}providers/anthropic.py",
        right="sum(counts) if is_counted else None",
        wrong="sum(counts)",
        tests=(f"{_PROVIDERS}test_mutations.py",),
    ),
    Mutant(
        0,
        "how closely an image is to be looked at is left out in silence",
        f"{_BACKENDS}support.py",
        right="if part.detail not in _USUAL_DETAIL and not self.details:",
        wrong="if False:",
        tests=(f"{_PROVIDERS}test_conversations.py::test_what_anthropic_cannot_do_is_refused",),
    ),
    Mutant(
        0,
        "a speaker's name is left out in silence",
        f"{_BACKENDS}support.py",
        right="if message.name and not self.names:",
        wrong="if False:",
        tests=(f"{_PROVIDERS}test_conversations.py::test_what_ollama_cannot_do_is_refused",),
    ),
    Mutant(
        0,
        "Anthropic is not told that it must not think",
        f"{_BACKENDS}providers/anthropic_request.py",
        right='        return {"type": "disabled"}',
        wrong="        return None",
        tests=(f"{_PROVIDERS}test_conversations.py::test_anthropic_is_asked_not_to_think",),
    ),
    Mutant(
        0,
        "a request has a field that the provider does not document",
        f"{_BACKENDS}providers/openai_request.py",
        right='function: dict[str, Any] = {"name": tool.name}',
        wrong='function: dict[str, Any] = {"name": tool.name, "odd": True}',
        tests=(f"{_PROVIDERS}test_request_types.py",),
    ),
    Mutant(
        0,
        "a reason of an odd type makes a whole answer fail",
        f"{_BACKENDS}providers/openai.py",
        right="self._reason = str(reason)",
        wrong="self._reason = reason",
        tests=(f"{_PROVIDERS}test_tolerance.py::test_no_text_is_lost",),
    ),
    Mutant(
        0,
        "the engine's RuntimeError about a request is a failure of the model",
        f"{_BACKENDS}local/llama_answer.py",
        right="isinstance(error, ValueError | RuntimeError | TypeError)",
        wrong="isinstance(error, ValueError)",
        tests=(f"{_ANSWER}test_an_engine_that_raises_before_a_step_refuses_the_request",),
    ),
    Mutant(
        0,
        "a seed of -1 is chance",
        f"{_BACKENDS}local/backend.py",
        right="given.seed % _SEEDS",
        wrong="given.seed",
        tests=("tests/model/test_local_backend.py::test_no_seed_stands_for_chance",),
    ),
    Mutant(
        0,
        "the limits of a nested schema are left out in silence",
        f"{_BACKENDS}local/schema.py",
        right='_check(cast("dict[str, Any]", inner), depth + 1)',
        wrong="pass",
        tests=("tests/model/test_local_conversations.py::test_a_schema_of_many_levels_is_refused",),
    ),
    Mutant(
        0,
        "a backend of another package that does not start is a traceback",
        f"{_BACKENDS}registry.py",
        right='return _in_one_line(name, cast("Opener", loaded))',
        wrong='return cast("Opener", loaded)',
        tests=("tests/model/test_package_backends.py",),
    ),
    Mutant(
        0,
        "a speaker's name is dropped by an old model service",
        "src/relay_gateway/web/conversation.py",
        right="case [UserMessage(content=str(text), name=None)]:",
        wrong="case [UserMessage(content=str(text))]:",
        tests=(
            "tests/gateway/test_chat_completions.py::test_what_an_old_service_would_drop_is_refused",
        ),
    ),
]
