"""What ``POST /v1/chat/completions`` asks, as OpenAI's API spells it, and as the contract does.

For example ``{"messages": [{"role": "user", "content": "Hello"}], "stream": true}``. A parameter
that would change the answer, and that no model here can be given, is refused by its name. One that
would change nothing is taken and ignored.
"""

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, TypeAlias

import pydantic
from pydantic import BaseModel, ConfigDict, Field, JsonValue, StrictBool, StrictStr

from grpclib_anyio.betterproto import maker
from relay_gateway.web.openai.errors import RefusedError
from relay_gateway.web.validation import what_is_wrong
from relay_proto import ai

__all__ = ["IGNORED", "ChatCompletionRequest", "read_request"]

#: Parameters that change nothing about the answer, or only who pays for it.
IGNORED = frozenset(
    {
        "metadata",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "user",
    }
)
#: Parameters that may be given as long as they ask for what is done anyway.
_ONLY: Mapping[str, JsonValue] = {"n": 1, "logprobs": False, "modalities": ["text"]}

_MAX_MESSAGES = 2048
_MAX_PARTS = 256


class _Model(BaseModel):
    """Unknown fields are refused by name; nothing is converted from one type to another."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class _Loose(BaseModel):
    """Fields that are not known may be there: libraries send back what they were given."""

    model_config = ConfigDict(extra="ignore", strict=True, hide_input_in_errors=True)


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

    url: str
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


class StreamOptions(_Loose):
    """How an answer is streamed."""

    include_usage: StrictBool | None = None


class ChatCompletionRequest(_Model):
    """The body of ``POST /v1/chat/completions``."""

    model: str = ""
    messages: list[ChatMessage] = Field(min_length=1, max_length=_MAX_MESSAGES)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(default=None, ge=1, lt=2**32)
    max_completion_tokens: int | None = Field(default=None, ge=1, lt=2**32)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    top_k: int | None = Field(default=None, ge=0, lt=2**32)
    stop: StrictStr | list[str] | None = None
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    reasoning_effort: str | None = None
    tools: list[FunctionTool] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: (
        Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")]
        | None
    ) = None

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with what the answer cost."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    def to_contract(self) -> ai.GenerateRequest:
        """Return the request in the terms of the contract.

        Raises:
            RefusedError: two fields contradict each other, or an image is none.

        """
        return ai.GenerateRequest(
            prompt=self._only_prompt(),
            model=self.model,
            messages=[
                _message(message, f"messages[{index}]")
                for index, message in enumerate(self.messages)
            ],
            parameters=self._parameters(),
            tools=[_tool(tool.function) for tool in self.tools or ()],
            tool_choice=self._tool_choice(),
            response_format=self._response_format(),
        )

    def _only_prompt(self) -> str:
        """Give the text of the only message, for a model service that knows nothing but prompts."""
        (message, *others) = self.messages
        is_prompt = isinstance(message, UserMessage) and isinstance(message.content, str)
        return str(message.content) if is_prompt and not others else ""

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
                "max_tokens and max_completion_tokens are two names of one limit: give one.",
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


# -- reading ---------------------------------------------------------------------------------------


def read_request(fields: Mapping[str, Any]) -> ChatCompletionRequest:
    """Return what the JSON of a body asks.

    Raises:
        RefusedError: a field is missing, unknown, or of the wrong kind; with its name, and never
            with what it has.

    """
    given = {name: value for name, value in fields.items() if value is not None}
    for name in IGNORED & given.keys():
        del given[name]
    for name, only in _ONLY.items():
        if given.pop(name, only) != only:
            raise RefusedError(f"{name} is not supported: leave it out.", param=name)
    try:
        return ChatCompletionRequest.model_validate(given)
    except pydantic.ValidationError as error:
        wrong = what_is_wrong(error, given)
        raise RefusedError(str(wrong), param=wrong.field) from error
