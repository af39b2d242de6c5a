"""What a request asks, and each way in which it can make no sense."""

from importlib import import_module
from typing import Any

import pytest
from grpclib.const import Status

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
    read_conversation,
)
from relay_model.errors import BackendError

# For type checkers, the members of betterproto's enums are plain numbers.
ai: Any = import_module("relay_proto.ai")

CALL = ai.Part(tool_call=ai.ToolCall("1", "time", "{}"))
HELLO = ai.Message(ai.Role.USER, [ai.Part(text="Hello")])
TIME = ai.Tool("time")


def _refusal(**fields: Any) -> tuple[str | None, str]:
    request = ai.GenerateRequest(**{"messages": [HELLO], **fields})
    with pytest.raises(BackendError) as raised:
        read_conversation(request)
    assert raised.value.status is Status.INVALID_ARGUMENT
    return raised.value.field, raised.value.message


def test_a_prompt_is_what_one_user_says() -> None:
    conversation = read_conversation(ai.GenerateRequest(prompt="Hi", session_id="s"))
    assert conversation == Conversation.of("Hi", session_id="s")
    assert conversation.prompt == "Hi"


def test_messages_stand_before_the_prompt() -> None:
    conversation = read_conversation(ai.GenerateRequest(prompt="Hi", messages=[HELLO]))
    assert conversation.prompt == "Hello"


def test_all_that_a_request_can_have_is_read() -> None:
    request = ai.GenerateRequest(
        session_id="s",
        model="m",
        messages=[
            ai.Message(ai.Role.SYSTEM, [ai.Part(text="Be "), ai.Part(text="brief.")]),
            ai.Message(
                ai.Role.USER,
                [
                    ai.Part(text=""),
                    ai.Part(image=ai.Image(data=b"", media_type="image/png")),
                    ai.Part(image=ai.Image(uri="https://example.org/", detail="low")),
                ],
                name="ann",
            ),
            ai.Message(ai.Role.ASSISTANT, [ai.Part(reasoning="Hm."), CALL]),
            ai.Message(ai.Role.TOOL, [ai.Part(text="noon")], tool_call_id="1"),
        ],
        parameters=ai.Parameters(
            max_tokens=7, temperature=0.0, top_p=1.0, stop=["\n"], seed=-1, top_k=4
        ),
        tools=[ai.Tool("time", "Tells the time.", '{"type": "object"}', strict=False)],
        tool_choice=ai.ToolChoice(ai.ToolChoiceMode.NAMED, "time"),
        response_format=ai.ResponseFormat(ai.ResponseFormatType.JSON_SCHEMA, "{}", "answer"),
        caller="team",
    )
    assert read_conversation(request) == Conversation(
        (
            Message(Role.SYSTEM, (Text("Be "), Text("brief."))),
            Message(
                Role.USER,
                (
                    Text(""),
                    Image(b"", None, "image/png", ""),
                    Image(None, "https://example.org/", "", "low"),
                ),
                name="ann",
            ),
            Message(Role.ASSISTANT, (Reasoning("Hm."), ToolCall("1", "time", "{}"))),
            Message(Role.TOOL, (Text("noon"),), "1"),
        ),
        "m",
        "s",
        Parameters(max_tokens=7, temperature=0.0, top_p=1.0, stop=("\n",), seed=-1, top_k=4),
        (Tool("time", "Tells the time.", {"type": "object"}, strict=False),),
        ToolChoice(Choice.NAMED, "time"),
        ResponseFormat(Format.JSON_SCHEMA, {}, "answer"),
        caller="team",
    )


def test_the_text_of_a_message_is_all_of_its_text() -> None:
    parts = (Text("a"), Image(b"", None, "image/png", ""), Text("b"))
    assert Message(Role.USER, parts).text == "ab"


def test_nothing_asked_is_refused() -> None:
    assert _refusal(messages=[]) == ("prompt", "The prompt is empty.")


_USER, _ASSISTANT, _TOOL = ai.Role.USER, ai.Role.ASSISTANT, ai.Role.TOOL
_TEXT = ai.Part(text="x")


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ([ai.Message(parts=[_TEXT])], "messages[0].role"),
        ([ai.Message(ai.Role.try_value(9), [_TEXT])], "messages[0].role"),
        ([HELLO, ai.Message(_USER, [ai.Part()])], "messages[1].parts[0]"),
        ([ai.Message(_USER, [ai.Part(text="x", reasoning="y")])], "messages[0].parts[0]"),
        ([ai.Message(_USER, [_TEXT, CALL])], "messages[0].parts[1]"),
        ([ai.Message(_USER, [ai.Part(reasoning="y")])], "messages[0].parts[0]"),
        ([ai.Message(_USER, [ai.Part(image=ai.Image())])], "messages[0].parts[0].image"),
        (
            [ai.Message(_USER, [ai.Part(image=ai.Image(data=b"", uri="x"))])],
            "messages[0].parts[0].image",
        ),
        (
            [ai.Message(_USER, [ai.Part(image=ai.Image(data=b"x"))])],
            "messages[0].parts[0].image.media_type",
        ),
        (
            [ai.Message(_ASSISTANT, [ai.Part(tool_call=ai.ToolCall("", "time"))])],
            "messages[0].parts[0].tool_call",
        ),
        ([HELLO, ai.Message(_TOOL, [_TEXT])], "messages[1].tool_call_id"),
        ([HELLO, ai.Message(_TOOL, [_TEXT], tool_call_id="1")], "messages[1].tool_call_id"),
        (
            [ai.Message(_TOOL, [_TEXT], tool_call_id="1"), ai.Message(_ASSISTANT, [CALL])],
            "messages[0].tool_call_id",
        ),
        ([ai.Message(_USER, [_TEXT], tool_call_id="1")], "messages[0].tool_call_id"),
        ([ai.Message(ai.Role.SYSTEM, [_TEXT])], "messages[0]"),
        (
            [
                ai.Message(_ASSISTANT, [CALL]),
                ai.Message(_TOOL, [_TEXT], tool_call_id="1", name="time"),
            ],
            "messages[1].name",
        ),
    ],
)
def test_a_message_that_makes_no_sense_is_refused(messages: list[Any], field: str) -> None:
    refused, message = _refusal(messages=messages)
    assert refused == field
    assert message.startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": float("inf")}, "top_p"),
        ({"frequency_penalty": 2.1}, "frequency_penalty"),
        ({"presence_penalty": -3.0}, "presence_penalty"),
        ({"stop": ["x", ""]}, "stop"),
        ({"stop": ["x"] * 17}, "stop"),
    ],
)
def test_a_parameter_out_of_its_range_is_refused(parameters: dict[str, Any], field: str) -> None:
    assert _refusal(parameters=ai.Parameters(**parameters))[0] == f"parameters.{field}"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"tools": [ai.Tool("")]}, "tools[0].name"),
        ({"tools": [TIME, TIME]}, "tools[1].name"),
        ({"tools": [ai.Tool("time", parameters="[]")]}, "tools[0].parameters"),
        ({"tools": [ai.Tool("time", parameters="{")]}, "tools[0].parameters"),
        ({"tools": [ai.Tool("time", parameters="[" * 100_000)]}, "tools[0].parameters"),
        ({"tools": [ai.Tool(f"t{i}") for i in range(129)]}, "tools"),
        ({"tool_choice": ai.ToolChoice(ai.ToolChoiceMode.REQUIRED)}, "tool_choice"),
        (
            {"tools": [TIME], "tool_choice": ai.ToolChoice(ai.ToolChoiceMode.NAMED, "date")},
            "tool_choice.name",
        ),
        ({"tool_choice": ai.ToolChoice(ai.ToolChoiceMode.try_value(9))}, "tool_choice.mode"),
        (
            {"response_format": ai.ResponseFormat(ai.ResponseFormatType.try_value(9))},
            "response_format.type",
        ),
        (
            {"response_format": ai.ResponseFormat(ai.ResponseFormatType.JSON_SCHEMA, "null")},
            "response_format.schema",
        ),
    ],
)
def test_tools_and_formats_that_make_no_sense_are_refused(
    fields: dict[str, Any], field: str
) -> None:
    assert _refusal(**fields)[0] == field
