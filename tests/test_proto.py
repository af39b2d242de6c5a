"""The contract: what is on the wire, and that our codec reads and writes all of it by itself."""

import dataclasses
import math
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from betterproto import Message

from grpclib_anyio.betterproto.codec import CompiledCodec
from harness.ai import GenerateRequest as OldRequest
from harness.ai import GenerateResponse as OldResponse
from relay_model.conversation import Conversation, read_conversation

# For type checkers, the members of betterproto's enums are plain numbers.
ai: Any = import_module("relay_proto.ai")

MESSAGES = [type_ for type_ in Message.__subclasses__() if type_.__module__ == ai.__name__]

CONVERSATION = ai.GenerateRequest(
    session_id="s",
    model="m",
    messages=[
        ai.Message(ai.Role.SYSTEM, [ai.Part(text="Be brief.")]),
        ai.Message(
            ai.Role.USER,
            [
                ai.Part(text=""),
                ai.Part(image=ai.Image(data=b"", media_type="image/png")),
                ai.Part(image=ai.Image(uri="https://example.org/a.png", detail="low")),
            ],
            name="ann",
        ),
        ai.Message(
            ai.Role.ASSISTANT,
            [ai.Part(reasoning="Hm."), ai.Part(tool_call=ai.ToolCall("1", "time", "{}"))],
        ),
        ai.Message(ai.Role.TOOL, [ai.Part(text="noon")], tool_call_id="1"),
    ],
    parameters=ai.Parameters(
        max_tokens=0, temperature=0.0, top_p=1.0, stop=["\n", "END"], seed=-1, top_k=40
    ),
    tools=[ai.Tool("time", "Tells the time.", "{}", strict=False)],
    tool_choice=ai.ToolChoice(ai.ToolChoiceMode.NAMED, "time"),
    response_format=ai.ResponseFormat(ai.ResponseFormatType.JSON_SCHEMA, "{}", "answer"),
    request_id="r",
    caller="team",
)

EXAMPLES = [
    *(message() for message in MESSAGES),
    CONVERSATION,
    ai.GenerateResponse(token="Hello"),
    ai.GenerateResponse(reasoning="Hm."),
    ai.GenerateResponse(refusal="No."),
    ai.GenerateResponse(tool_call=ai.ToolCallDelta(1, "id", "time", '{"a"')),
    ai.GenerateResponse(
        done=True,
        finish_reason=ai.FinishReason.TOOL_CALLS,
        usage=ai.Usage(7, 5, cached_tokens=0, reasoning_tokens=3),
    ),
    ai.ListModelsResponse([ai.Model("m", created=0, context_tokens=2048), ai.Model("n")], 4),
]


def check_fast_codec(message: Message, monkeypatch: pytest.MonkeyPatch) -> None:
    """Encode and decode a message with nothing to fall back on."""
    codec = CompiledCodec()
    monkeypatch.setattr(codec, "_general", None)
    data = codec.encode(message, type(message))
    assert data == bytes(message)
    assert codec.decode(data, type(message)) == message


@pytest.mark.parametrize("message", EXAMPLES, ids=str)
def test_no_message_is_left_to_the_slow_codec(
    message: Message, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_fast_codec(message, monkeypatch)


def test_a_plain_token_is_what_it_always_was() -> None:
    message = ai.GenerateResponse(token="Hello")
    assert CompiledCodec().encode(message, ai.GenerateResponse) == b"\x0a\x05Hello"


def test_the_last_message_is_what_it_always_was() -> None:
    message = ai.GenerateResponse(
        done=True, finish_reason=ai.FinishReason.LENGTH, usage=ai.Usage(7, 5)
    )
    encoded = CompiledCodec().encode(message, ai.GenerateResponse)
    assert encoded == b"\x10\x01\x18\x02\x22\x04\x08\x07\x10\x05"


def test_a_prompt_is_what_it_always_was() -> None:
    message = ai.GenerateRequest(prompt="Hi", session_id="s")
    assert CompiledCodec().encode(message, ai.GenerateRequest) == b"\x0a\x02Hi\x12\x01s"


def test_an_old_request_is_understood() -> None:
    asked = CompiledCodec().decode(b"\x0a\x02Hi\x12\x01s", ai.GenerateRequest)
    assert read_conversation(asked) == Conversation.of("Hi", session_id="s")


def test_an_old_service_reads_the_prompt_of_a_new_request() -> None:
    hello = ai.Message(ai.Role.USER, [ai.Part(text="Hi")])
    asked = ai.GenerateRequest(prompt="Hi", session_id="s", messages=[hello])
    data = CompiledCodec().encode(asked, ai.GenerateRequest)
    read = CompiledCodec().decode(data, OldRequest)
    assert (read.prompt, read.session_id) == ("Hi", "s")


def test_an_old_gateway_reads_the_pieces_of_a_new_answer() -> None:
    """It knows tokens and the end, and sees empty tokens where there is something else."""
    answer = [
        ai.GenerateResponse(reasoning="Hm."),
        ai.GenerateResponse(token="Hi"),
        ai.GenerateResponse(tool_call=ai.ToolCallDelta(0, "a", "time", "{}")),
        ai.GenerateResponse(done=True, usage=ai.Usage(1, 2, cached_tokens=1)),
    ]
    read = [OldResponse().parse(bytes(each)) for each in answer]
    assert [(each.token, each.done) for each in read] == [
        ("", False),
        ("Hi", False),
        ("", False),
        ("", True),
    ]


def _samples(field: Any, cls: Any) -> list[Any]:
    """Give values of a field: the least, and one that is something."""
    if field.proto_type == "message":
        return [cls()]
    if field.proto_type == "enum":
        return [cls.try_value(0), cls.try_value(1), cls.try_value(99)]
    scalars: dict[str, list[Any]] = {
        "string": ["", "caf\u00e9"],
        "bytes": [b"", b"\xff"],
        "bool": [False, True],
        "uint32": [0, 2**32 - 1],
        "int64": [0, -1, 2**63 - 1],
        "double": [0.0, -0.5, math.inf],
    }
    return scalars[field.proto_type]


def _each_field() -> Iterator[Message]:
    """Give a message for each field of each type, and each of its values."""
    types: list[Any] = list(MESSAGES)
    for message_type in types:
        description = message_type()._betterproto  # noqa: SLF001 - as the codec reads it
        for name, field in description.meta_by_field_name.items():
            is_list = description.default_gen[name] is list
            for value in _samples(field, description.cls_by_field[name]):
                yield message_type(**{name: [value, value] if is_list else value})


@pytest.mark.parametrize("message", list(_each_field()), ids=repr)
def test_no_field_is_left_to_the_slow_codec(
    message: Message, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_fast_codec(message, monkeypatch)


def test_an_empty_text_is_a_text() -> None:
    codec = CompiledCodec()
    part = codec.decode(codec.encode(ai.Part(text=""), ai.Part), ai.Part)
    assert (part.text, part.image, part.tool_call, part.reasoning) == ("", None, None, None)


def _fields(message_type: Any) -> list[Any]:
    return [field.metadata["betterproto"] for field in dataclasses.fields(message_type)]


def test_reserved_numbers_are_not_used() -> None:
    assert 10 not in {field.number for field in _fields(ai.GenerateRequest)}
    assert not {7, 8} & {field.number for field in _fields(ai.GenerateResponse)}


def test_a_response_has_no_optional_field() -> None:
    assert not [field.number for field in _fields(ai.GenerateResponse) if field.optional]
