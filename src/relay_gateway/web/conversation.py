"""A conversation as JSON, and as the contract spells it; both APIs ask with the same fields.

For example ``{"messages": [{"role": "user", "content": "Hello"}], "temperature": 0.2}``. The names
are those of OpenAI's chat completions, because every client knows them.
"""

import base64
import binascii
from collections.abc import Iterator
from http import HTTPStatus
from typing import Annotated, Any, Literal, TypeAlias

import pydantic
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, StrictStr

from grpclib_anyio.betterproto import maker
from relay_gateway.web.refusal import RefusedError
from relay_proto import ai

__all__ = ["DEFAULT_MODEL", "ChatMessage", "ConversationRequest", "check_size"]

#: The name of the model of a service that has no names; it stands for no name with any service.
DEFAULT_MODEL = "default"

_MAX_MESSAGES = 2048
_MAX_PARTS = 256
_BASE64 = "(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)"
_IMAGE_URL = f"^(?:https?://|data:[^;,]+;base64,{_BASE64}$)"


class _Model(BaseModel):
    """Unknown fields are refused by name; nothing is converted from one type to another."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class _Loose(BaseModel):
    """Fields that are not known may be there: libraries send back what they were given."""

    model_config = ConfigDict(extra="ignore", strict=True, hide_input_in_errors=True)


def _whole(value: object) -> object:
    """Take 5.0 for 5, as JSON schema does, because some languages have one type of number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


_Whole = BeforeValidator(_whole)
_Length: TypeAlias = Annotated[int, Field(ge=1, lt=2**32), _Whole]
_Count: TypeAlias = Annotated[int, Field(ge=0, lt=2**32), _Whole]
_Seed: TypeAlias = Annotated[int, Field(ge=-(2**63), lt=2**63), _Whole]


class TextPart(_Loose):
    """Text of a message."""

    type: Literal["text"]
    text: str


class RefusalPart(_Loose):
    """What the model said instead of an answer."""

    type: Literal["refusal"]
    refusal: str


class ImageUrl(_Loose):
    """An image: ``https://…``, or its bytes as ``data:image/png;base64,…``."""

    # What :func:`_image` takes; it says in words what is wrong.
    url: str = Field(json_schema_extra={"pattern": _IMAGE_URL})
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(_Loose):
    """An image of a user."""

    type: Literal["image_url"]
    image_url: ImageUrl


class FunctionCall(_Loose):
    """A function that the model called."""

    name: str
    arguments: str


class ToolCallOfMessage(_Loose):
    """A call of a tool that the model made."""

    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


TextContent: TypeAlias = str | Annotated[list[TextPart], Field(max_length=_MAX_PARTS)]
UserPart: TypeAlias = Annotated[TextPart | ImagePart, Field(discriminator="type")]
AssistantPart: TypeAlias = Annotated[TextPart | RefusalPart, Field(discriminator="type")]


class SystemMessage(_Loose):
    """Instructions that stand above the user's."""

    role: Literal["system", "developer"]
    content: TextContent
    name: str | None = None


class UserMessage(_Loose):
    """What a user says."""

    role: Literal["user"]
    content: str | Annotated[list[UserPart], Field(max_length=_MAX_PARTS)]
    name: str | None = None


class AssistantMessage(_Loose):
    """What the model said."""

    role: Literal["assistant"]
    content: str | Annotated[list[AssistantPart], Field(max_length=_MAX_PARTS)] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCallOfMessage] | None = Field(default=None, max_length=_MAX_PARTS)
    name: str | None = None


class ToolMessage(_Loose):
    """What a tool said."""

    role: Literal["tool"]
    content: TextContent
    tool_call_id: str


ChatMessage: TypeAlias = Annotated[
    SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")
]


class Function(_Model):
    """A function that the model may call, and the JSON schema of its arguments."""

    name: str
    description: str | None = None
    parameters: dict[str, JsonValue] | None = None
    strict: bool | None = None


class FunctionTool(_Model):
    """A tool that the model may call."""

    type: Literal["function"]
    function: Function


class NamedFunction(_Model):
    """The name of a function."""

    name: str


class NamedToolChoice(_Model):
    """The tool that the model has to call."""

    type: Literal["function"]
    function: NamedFunction


class JsonSchema(_Model):
    """The JSON that an answer has to be."""

    name: str
    description: str | None = None
    schema_: dict[str, JsonValue] = Field(default_factory=dict, alias="schema")
    strict: bool | None = None


class TextFormat(_Model):
    """An answer of any text."""

    type: Literal["text"]


class JsonObjectFormat(_Model):
    """An answer that is a JSON object."""

    type: Literal["json_object"]


class JsonSchemaFormat(_Model):
    """An answer that is JSON of a schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


class ConversationRequest(_Model):
    """What is asked of a model: a conversation, and how it is to be answered."""

    model: str = Field(default="", description="a model's name; the default one if it is empty")
    messages: list[ChatMessage] = Field(
        default=[], max_length=_MAX_MESSAGES, description="the conversation"
    )
    max_tokens: _Length | None = Field(
        default=None, description="tokens that the answer may have at most"
    )
    max_completion_tokens: _Length | None = Field(
        default=None, description="another name of `max_tokens`"
    )
    temperature: float | None = Field(
        default=None, ge=0, le=2, description="how freely tokens are drawn; 0 takes the likeliest"
    )
    top_p: float | None = Field(
        default=None, ge=0, le=1, description="draw from the likeliest tokens of this probability"
    )
    top_k: _Count | None = Field(
        default=None,
        description="draw from the likeliest tokens, at most this number of them",
    )
    stop: StrictStr | list[str] | None = Field(
        default=None, description="texts before which the answer ends"
    )
    seed: _Seed | None = Field(default=None, description="makes what is drawn repeatable")
    frequency_penalty: float | None = Field(
        default=None, ge=-2, le=2, description="makes tokens less likely each time that they come"
    )
    presence_penalty: float | None = Field(
        default=None, ge=-2, le=2, description="makes tokens less likely once they have come"
    )
    reasoning_effort: str | None = Field(
        default=None, description="how much the model thinks, in its own words, such as `low`"
    )
    tools: list[FunctionTool] | None = Field(
        default=None, description="functions that the model may call"
    )
    tool_choice: Literal["none", "auto", "required"] | NamedToolChoice | None = Field(
        default=None, description="whether the model calls a tool, or which"
    )
    parallel_tool_calls: bool | None = Field(
        default=None, description="whether one answer may call several tools"
    )
    response_format: (
        Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")]
        | None
    ) = Field(default=None, description="what the answer has to be")

    @property
    def text_size(self) -> int:
        """Bytes of text in the messages, in UTF-8."""
        return sum(len(text.encode()) for message in self.messages for text in _texts_of(message))

    def to_contract(self) -> ai.GenerateRequest:
        """Return the request in the terms of the contract.

        Raises:
            RefusedError: two fields contradict each other, or an image is none.

        """
        given: dict[str, Any] = {
            "prompt": self._only_prompt(),
            "model": "" if self.model == DEFAULT_MODEL else self.model,
            "messages": [
                _message(message, f"messages[{index}]")
                for index, message in enumerate(self.messages)
            ],
            "parameters": self._parameters(),
            "tools": [_tool(tool.function) for tool in self.tools or ()],
            "tool_choice": self._tool_choice(),
            "response_format": self._response_format(),
        }
        # A message that is there but empty would be written.
        return ai.GenerateRequest(
            **{n: value for n, value in given.items() if value != type(value)()}
        )

    def _only_prompt(self) -> str:
        """Give the text of the only message, for a model service that knows nothing but prompts."""
        match self.messages:
            case [UserMessage(content=str(text), name=None)]:
                return text
            case [UserMessage(content=list(parts), name=None)]:
                texts = [part.text for part in parts if isinstance(part, TextPart)]
                return "".join(texts) if len(texts) == len(parts) else ""
            case _:
                return ""

    def _parameters(self) -> ai.Parameters:
        return ai.Parameters(
            max_tokens=self._max_tokens(),
            temperature=self.temperature,
            top_p=self.top_p,
            stop=[self.stop] if isinstance(self.stop, str) else self.stop or [],
            seed=self.seed,
            frequency_penalty=self.frequency_penalty,
            presence_penalty=self.presence_penalty,
            top_k=self.top_k,
            reasoning_effort=self.reasoning_effort,
            parallel_tool_calls=self.parallel_tool_calls,
        )

    def _max_tokens(self) -> int | None:
        given = {self.max_tokens, self.max_completion_tokens} - {None}
        if len(given) > 1:
            raise RefusedError(
                "max_tokens and max_completion_tokens are two names of one limit: give one",
                param="max_tokens",
            )
        return given.pop() if given else None

    def _tool_choice(self) -> ai.ToolChoice:
        mode = ai.ToolChoiceMode
        if isinstance(self.tool_choice, NamedToolChoice):
            return ai.ToolChoice(mode.try_value(mode.NAMED), self.tool_choice.function.name)
        modes = {"none": mode.NONE, "required": mode.REQUIRED}
        return ai.ToolChoice(mode.try_value(modes.get(self.tool_choice or "auto", mode.AUTO)))

    def _response_format(self) -> ai.ResponseFormat:
        kind, given = ai.ResponseFormatType, self.response_format
        if isinstance(given, JsonObjectFormat):
            return ai.ResponseFormat(kind.try_value(kind.JSON_OBJECT))
        if isinstance(given, JsonSchemaFormat):
            schema = given.json_schema
            return ai.ResponseFormat(
                kind.try_value(kind.JSON_SCHEMA),
                _to_json(schema.schema_),
                schema.name,
                schema.description or "",
                strict=schema.strict,
            )
        return ai.ResponseFormat()


def _texts_of(message: ChatMessage) -> Iterator[str]:
    parts = [message.content] if isinstance(message.content, str) else message.content or []
    for part in parts:
        if isinstance(part, str):
            yield part
        elif isinstance(part, TextPart):
            yield part.text
    if isinstance(message, AssistantMessage):
        yield message.reasoning_content or ""


_text_part = maker(ai.Part)


def _message(message: ChatMessage, name: str) -> ai.Message:
    role = ai.Role
    match message:
        case SystemMessage():
            kind, parts = role.SYSTEM, list(_texts(message.content))
        case UserMessage():
            kind, parts = role.USER, list(_user_parts(message.content, name))
        case AssistantMessage():
            kind, parts = role.ASSISTANT, list(_assistant_parts(message))
        case ToolMessage():
            parts = list(_texts(message.content))
            return ai.Message(role.try_value(role.TOOL), parts, message.tool_call_id)
    return ai.Message(role.try_value(kind), parts, name=message.name or "")


def _texts(content: TextContent) -> Iterator[ai.Part]:
    if isinstance(content, str):
        yield _text_part(text=content)
    else:
        yield from (_text_part(text=part.text) for part in content)


def _user_parts(content: str | list[UserPart], name: str) -> Iterator[ai.Part]:
    if isinstance(content, str):
        yield _text_part(text=content)
        return
    for index, part in enumerate(content):
        if isinstance(part, TextPart):
            yield _text_part(text=part.text)
        else:
            yield ai.Part(image=_image(part.image_url, f"{name}.content[{index}].image_url.url"))


def _assistant_parts(message: AssistantMessage) -> Iterator[ai.Part]:
    if message.reasoning_content:
        yield ai.Part(reasoning=message.reasoning_content)
    content = message.content or []
    for part in [content] if isinstance(content, str) else content:
        match part:
            case str():
                yield _text_part(text=part)
            case TextPart():
                yield _text_part(text=part.text)
            case RefusalPart():
                yield _text_part(text=part.refusal)
    if message.refusal:
        yield _text_part(text=message.refusal)
    for call in message.tool_calls or ():
        yield ai.Part(tool_call=ai.ToolCall(call.id, call.function.name, call.function.arguments))


def _image(image: ImageUrl, name: str) -> ai.Image:
    detail = image.detail or ""
    if not image.url.startswith("data:"):
        if not image.url.startswith(("https://", "http://")):
            raise RefusedError(f"{name} must be https://, http:// or data:", param=name)
        return ai.Image(uri=image.url, detail=detail)
    media_type, _, encoded = image.url.removeprefix("data:").partition(";base64,")
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RefusedError(f"{name} must be data:TYPE;base64,…", param=name) from error
    if not data or not media_type:
        raise RefusedError(f"{name} must be data:TYPE;base64,…", param=name)
    return ai.Image(data=data, media_type=media_type, detail=detail)


def _tool(function: Function) -> ai.Tool:
    parameters = "" if function.parameters is None else _to_json(function.parameters)
    return ai.Tool(function.name, function.description or "", parameters, strict=function.strict)


def _to_json(value: JsonValue) -> str:
    return pydantic.TypeAdapter(JsonValue).dump_json(value).decode()


def check_size(request: ConversationRequest, max_bytes: int) -> None:
    """Refuse messages that have too much text.

    Raises:
        RefusedError: more than ``max_bytes`` bytes in UTF-8.

    """
    if (size := request.text_size) > max_bytes:
        raise RefusedError(
            f"messages have {size} bytes of text, where {max_bytes} is the most",
            param="messages",
            code="context_length_exceeded",
            status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        )
