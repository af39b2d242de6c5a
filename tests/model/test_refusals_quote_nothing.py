"""A refusal of a field is shown to the browser, so it never has a value of the request."""

from collections.abc import Iterator
from importlib import import_module
from itertools import product
from typing import Any

import pytest

from relay_model.backends.providers import anthropic_request, ollama_request, openai_request
from relay_model.backends.settings import BackendSettings
from relay_model.backends.support import Support
from relay_model.conversation import read_conversation
from relay_model.errors import BackendError

# For type checkers, the members of betterproto's enums are plain numbers.
ai: Any = import_module("relay_proto.ai")

SECRET = "Zq7 secret Xw9"
TEXT = ai.Part(text=SECRET)
IMAGES = [
    ai.Image(uri=SECRET, detail=SECRET),
    ai.Image(data=SECRET.encode(), media_type=SECRET),
    ai.Image(data=SECRET.encode()),
    ai.Image(uri=SECRET, data=SECRET.encode(), media_type=SECRET),
    ai.Image(media_type=SECRET),
]
CALLS = [
    ai.ToolCall(*fields)
    for fields in product((SECRET, ""), (SECRET, ""), (SECRET, "", f'{{"{SECRET}": 1}}'))
]
PARTS = [
    TEXT,
    ai.Part(reasoning=SECRET),
    ai.Part(),
    ai.Part(text=SECRET, reasoning=SECRET),
    *(ai.Part(image=image) for image in IMAGES),
    *(ai.Part(tool_call=call) for call in CALLS),
]
OPTIONS: list[dict[str, Any]] = [
    {},
    *(
        {"tools": [ai.Tool(name, SECRET, schema)] * number}
        for name in (SECRET, "")
        for schema in (SECRET, "", f'{{"{SECRET}": 1}}')
        for number in (1, 2, 200)
    ),
    *({"tool_choice": ai.ToolChoice(mode, SECRET)} for mode in range(6)),
    *(
        {"response_format": ai.ResponseFormat(kind, schema, SECRET, SECRET)}
        for kind in range(4)
        for schema in (SECRET, f'{{"{SECRET}": 1}}')
    ),
    {"parameters": ai.Parameters(reasoning_effort=SECRET)},
    {"parameters": ai.Parameters(stop=[SECRET] * 99)},
    {"parameters": ai.Parameters(stop=[SECRET], top_k=7, seed=7, max_tokens=7)},
    {"parameters": ai.Parameters(max_tokens=0)},
    {"parameters": ai.Parameters(temperature=99.0)},
]


def requests() -> Iterator[Any]:
    for role, part, called in product(range(6), PARTS, (SECRET, "")):
        message = ai.Message(role, [part, TEXT], called, SECRET)
        yield ai.GenerateRequest(messages=[message])
        yield ai.GenerateRequest(messages=[message, ai.Message(ai.Role.USER, [TEXT])])
    for options in OPTIONS:
        yield ai.GenerateRequest(messages=[ai.Message(ai.Role.USER, [TEXT])], **options)
    yield ai.GenerateRequest(model=SECRET, session_id=SECRET, caller=SECRET)


SETTINGS = BackendSettings(model="m")
BACKENDS: dict[str, Any] = {
    "OpenAI": openai_request.Asking(SETTINGS, is_own=True),
    "another that speaks OpenAI's API": openai_request.Asking(SETTINGS, is_own=False),
    "Anthropic": anthropic_request.Asking(SETTINGS, is_own=True),
    "Ollama": ollama_request.Asking(SETTINGS),
}


def refusals(asking: Any, request: Any) -> Iterator[BackendError]:
    """Give the first refusal of each step that a backend takes, also after one has refused."""
    try:
        conversation = read_conversation(request)
    except BackendError as error:
        yield error
        return
    for step in (asking.support.check, Support("none").check, asking.options):
        try:
            step(conversation)
        except BackendError as error:
            yield error


@pytest.mark.parametrize("asking", BACKENDS.values(), ids=BACKENDS)
def test_no_refusal_has_a_value(asking: Any) -> None:
    seen: set[str | None] = set()
    for request in requests():
        for error in refusals(asking, request):
            seen.add(error.field)
            for shown in (error.message, str(error.field)):
                assert "Zq7" not in shown
                assert "Xw9" not in shown
                assert "secret" not in shown.casefold()
    assert len(seen) > 20  # they were refused, for many reasons
