"""Requests against the types of the providers' own libraries, for conversations that are drawn.

The libraries describe what their providers document. A request has to fit, and has to come back as
it was: the types leave out what they do not know.
"""

from collections.abc import Iterable, Mapping
from typing import Any, cast

from anthropic.types.message_create_params import MessageCreateParamsStreaming
from hypothesis import given
from hypothesis import strategies as st
from ollama._types import ChatRequest
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming
from pydantic import TypeAdapter

from relay_model.backends.providers import anthropic_request, ollama_request, openai_request
from relay_model.backends.settings import BackendSettings
from relay_model.conversation import (
    Choice,
    Conversation,
    Format,
    Image,
    Message,
    Parameters,
    Reasoning,
    ResponseFormat,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
)
from relay_model.errors import BackendError

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")

_texts = st.text(max_size=8).map(Text)
_names = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
_ZONE: dict[str, Any] = {"type": "object", "properties": {"zone": {"type": "string"}}}
_NO_SCHEMA: dict[str, Any] = {}
_STRICT: dict[str, Any] = {**_ZONE, "required": ["zone"]}
_schemas = st.sampled_from([_NO_SCHEMA, _STRICT])
_images = st.builds(
    Image, st.just(b"png"), st.none(), st.just("image/png"), st.sampled_from(["", "auto", "low"])
) | st.builds(
    Image, st.none(), st.just("https://example.org/a"), st.just(""), st.sampled_from(["", "high"])
)
_calls = st.builds(ToolCall, st.just("call-1"), _names, st.sampled_from(["", "{}", '{"a": [1]}']))
_reasoning = st.text(min_size=1, max_size=8).map(Reasoning)
_speakers = st.sampled_from(["", "ann"])


def _message(role: Role, *parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Message]:
    contents = st.lists(st.one_of(*parts), min_size=1, max_size=3).map(tuple)
    return st.builds(Message, st.just(role), contents, name=_speakers)


def _called(said: Message, call: ToolCall, result: Text) -> tuple[Message, ...]:
    asked = said._replace(parts=(*said.parts, call))
    return (asked, Message(Role.TOOL, (result,), call.id))


def _alone(message: Message) -> tuple[Message, ...]:
    return (message,)


def _whole(turns: list[tuple[Message, ...]], last: Message) -> tuple[Message, ...]:
    return (*(message for turn in turns for message in turn), last)


_turns = st.one_of(
    _message(Role.SYSTEM, _texts).map(_alone),
    _message(Role.USER, _texts, _images).map(_alone),
    _message(Role.ASSISTANT, _texts, _reasoning).map(_alone),
    st.builds(_called, _message(Role.ASSISTANT, _texts), _calls, _texts),
)
_messages = st.builds(
    _whole,
    st.lists(_turns, max_size=4),
    _message(Role.USER, st.text(min_size=1, max_size=8).map(Text)),
)


@st.composite
def _conversations(draw: st.DrawFn) -> Conversation:
    def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.none() | values

    optional_flag = maybe(st.booleans())
    tools = draw(
        st.lists(
            st.builds(Tool, _names, st.text(max_size=5), _schemas, optional_flag),
            max_size=2,
            unique_by=lambda tool: tool.name,
        )
    )
    modes = [Choice.AUTO, Choice.NONE, *([Choice.REQUIRED, Choice.NAMED] if tools else [])]
    mode = draw(st.sampled_from(modes))
    kind = draw(st.sampled_from(Format))
    return Conversation(
        draw(_messages),
        parameters=Parameters(
            draw(maybe(st.integers(1, 99))),
            draw(maybe(st.floats(0, 2))),
            draw(maybe(st.floats(0, 1))),
            draw(st.lists(st.text(min_size=1, max_size=3), max_size=2).map(tuple)),
            draw(maybe(st.integers(-(2**63), 2**63 - 1))),
            draw(maybe(st.floats(-2, 2))),
            draw(maybe(st.floats(-2, 2))),
            draw(maybe(st.integers(0, 99))),
            draw(maybe(st.sampled_from(EFFORTS))),
            draw(optional_flag),
        ),
        tools=tuple(tools),
        tool_choice=ToolChoice(mode, tools[0].name if mode is Choice.NAMED else ""),
        response_format=ResponseFormat(
            kind,
            draw(_schemas) if kind is Format.JSON_SCHEMA else None,
            draw(st.sampled_from(["", "answer"])) if kind is Format.JSON_SCHEMA else "",
            draw(st.sampled_from(["", "A time."])) if kind is Format.JSON_SCHEMA else "",
            draw(optional_flag),
        ),
    )


def _concrete(value: Any) -> Any:
    """Make lists of what pydantic reads lazily."""
    if isinstance(value, Mapping):
        mapping = cast("Mapping[str, Any]", value)
        return {name: _concrete(each) for name, each in mapping.items()}
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        items: Iterable[Any] = value  # pyright: ignore[reportUnknownVariableType]
        return [_concrete(each) for each in items]
    return value


OPENAI = TypeAdapter[Any](CompletionCreateParamsStreaming)
ANTHROPIC = TypeAdapter[Any](MessageCreateParamsStreaming)
SETTINGS = BackendSettings(model="m", system_prompt="Be brief.")


def _asked(asking: Any, conversation: Conversation) -> dict[str, Any]:
    """Return the request, as it is sent."""
    asking.support.check(conversation)
    options: dict[str, Any] = asking.options(conversation)
    extra: dict[str, Any] = options.pop("extra_body", {})
    return {**options, **extra, "stream": True}


def _within(conversation: Conversation, asking: Any) -> Conversation:
    """Leave out what a backend refuses, as a caller would, until it asks."""
    for _ in range(100):
        try:
            asking.support.check(conversation)
            asking.options(conversation)
        except BackendError as error:
            conversation = _without(conversation, error.field or "")
        else:
            return conversation
    raise AssertionError(conversation)


def _without(conversation: Conversation, field: str) -> Conversation:
    name, _, rest = field.partition(".")
    if name == "parameters":
        nothing: dict[str, Any] = {rest: () if rest == "stop" else None}
        return conversation._replace(parameters=conversation.parameters._replace(**nothing))
    if name == "response_format":
        return conversation._replace(response_format=ResponseFormat())
    if name == "tool_choice":
        return conversation._replace(tool_choice=ToolChoice())
    if name.startswith("tools"):
        return conversation._replace(
            tools=tuple(tool._replace(strict=None) for tool in conversation.tools)
        )
    messages = tuple(
        message._replace(name="", parts=tuple(p for p in message.parts if not isinstance(p, Image)))
        for message in conversation.messages
    )
    assert messages != conversation.messages, field
    return conversation._replace(messages=messages)


@given(_conversations())
def test_openai_is_asked_in_its_own_types(conversation: Conversation) -> None:
    asking = openai_request.Asking(SETTINGS, is_own=True)
    asked = _asked(asking, _within(conversation, asking))
    assert _concrete(OPENAI.validate_python(asked)) == asked


@given(_conversations())
def test_servers_like_openai_are_asked_for_two_things_more(conversation: Conversation) -> None:
    asked = _asked(openai_request.Asking(SETTINGS, is_own=False), conversation)
    asked.pop("top_k", None)
    for message in asked["messages"]:
        message.pop("reasoning_content", None)
    assert _concrete(OPENAI.validate_python(asked)) == asked


@given(_conversations())
def test_anthropic_is_asked_in_its_own_types(conversation: Conversation) -> None:
    asking = anthropic_request.Asking(SETTINGS, is_own=True)
    asked = _asked(asking, _within(conversation, asking))
    assert _concrete(ANTHROPIC.validate_python(asked)) == asked


@given(_conversations())
def test_servers_like_anthropic_are_asked_for_its_older_parameters_too(
    conversation: Conversation,
) -> None:
    asking = anthropic_request.Asking(SETTINGS, is_own=False)
    asked = _asked(asking, _within(conversation, asking))
    for name in ("temperature", "top_p", "top_k"):
        asked.pop(name, None)
    assert _concrete(ANTHROPIC.validate_python(asked)) == asked


@given(_conversations())
def test_ollama_is_asked_in_its_own_types(conversation: Conversation) -> None:
    asking = ollama_request.Asking(SETTINGS)
    asked = _asked(asking, _within(conversation, asking))
    assert ChatRequest(**asked).model_dump(exclude_none=True) == asked
