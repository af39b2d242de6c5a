"""What a backend is asked: a conversation that has been checked.

A :class:`Conversation` is a request of the contract in plain values. What is missing or makes no
sense was refused before, so that a backend need not ask again::

    conversation = read_conversation(GenerateRequest(prompt="Hello"))
    conversation.messages     # (Message(Role.USER, (Text("Hello"),)),)

A refusal names the field, for example ``messages[2].parts[0]: must be one of text, image,
tool_call and reasoning``.
"""

import math
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from grpclib.const import Status

from relay_model.errors import BackendError, refused
from relay_model.json_objects import read_object

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from relay_proto import ai
    from relay_proto.ai import GenerateRequest

__all__ = [
    "Choice",
    "Conversation",
    "Format",
    "Image",
    "Message",
    "Parameters",
    "Part",
    "Reasoning",
    "ResponseFormat",
    "Role",
    "Text",
    "Tool",
    "ToolCall",
    "ToolChoice",
    "check_size",
    "read_conversation",
]


class Role(Enum):
    """Who says a message; the numbers are those of ``ai.proto``."""

    SYSTEM = 1
    """The operator of the model: instructions that stand above the user's."""
    USER = 2
    ASSISTANT = 3
    """The model, earlier in the conversation."""
    TOOL = 4
    """A tool that the model called."""


class Text(NamedTuple):
    """Text of a message; may be empty."""

    text: str


class Image(NamedTuple):
    """An image of a user: either its bytes or where it is."""

    data: bytes | None
    uri: str | None
    media_type: str
    """Of the bytes, for example ``image/png``."""
    detail: str
    """How closely the model should look, in the words of its API; may be empty."""


class ToolCall(NamedTuple):
    """A call of a tool that the model made."""

    id: str
    name: str
    arguments: str
    """What the model wrote, which should be a JSON object but may not be one."""


class Reasoning(NamedTuple):
    """What the model thought before it answered."""

    text: str


Part: TypeAlias = Text | Image | ToolCall | Reasoning


class Message(NamedTuple):
    """One message of a conversation."""

    role: Role
    parts: "tuple[Part, ...]"
    tool_call_id: str = ""
    """Which call this is the result of; of the role TOOL only, and never empty there."""
    name: str = ""

    @property
    def text(self) -> str:
        """All text of the message, one part after the other."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))


class Tool(NamedTuple):
    """What the model may call."""

    name: str
    description: str
    parameters: "dict[str, object]"
    """The JSON schema of its arguments; empty when there are none."""
    strict: bool | None


class Choice(Enum):
    """Whether the model calls a tool; the numbers are those of ``ai.proto``."""

    AUTO = 0
    """The model decides."""
    NONE = 1
    REQUIRED = 2
    """It calls at least one."""
    NAMED = 3
    """It calls the one that is named."""


class ToolChoice(NamedTuple):
    """Whether the model calls a tool, and which."""

    mode: Choice = Choice.AUTO
    name: str = ""


class Format(Enum):
    """What an answer's text looks like; the numbers are those of ``ai.proto``."""

    TEXT = 0
    JSON_OBJECT = 1
    """Any JSON object."""
    JSON_SCHEMA = 2
    """JSON that fits a schema."""


class ResponseFormat(NamedTuple):
    """What an answer's text looks like, and its schema if there is one."""

    type: Format = Format.TEXT
    schema: "dict[str, object] | None" = None
    name: str = ""
    description: str = ""
    strict: bool | None = None


class Parameters(NamedTuple):
    """How a model answers. What is None, or empty, is the model's own default."""

    max_tokens: int | None = None
    """The longest answer in tokens, reasoning included."""
    temperature: float | None = None
    top_p: float | None = None
    stop: "tuple[str, ...]" = ()
    """The answer ends before any of these texts."""
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    top_k: int | None = None
    reasoning_effort: str | None = None
    """How much the model thinks, in the words of its API."""
    parallel_tool_calls: bool | None = None


class Conversation(NamedTuple):
    """What is asked, the oldest message first, and how it is to be answered."""

    messages: "tuple[Message, ...]"
    model: str = ""
    """A model by its id; empty for the first that the backend has."""
    session_id: str = ""
    """Groups the requests of one conversation; may be empty."""
    parameters: Parameters = Parameters()
    tools: "tuple[Tool, ...]" = ()
    tool_choice: ToolChoice = ToolChoice()
    response_format: ResponseFormat = ResponseFormat()
    caller: str = ""
    """The name of the caller; may be empty."""

    @classmethod
    def of(cls, prompt: str, *, session_id: str = "") -> "Conversation":
        """Return what one user says."""
        return cls((Message(Role.USER, (Text(prompt),)),), session_id=session_id)

    @property
    def prompt(self) -> str:
        """The text of the last message, for a backend that knows no conversations."""
        return self.messages[-1].text

    @property
    def size(self) -> int:
        """Bytes of all parts of the messages: their text in UTF-8, and their images."""
        return sum(_size_of(part) for message in self.messages for part in message.parts)


# -- reading and checking --------------------------------------------------------------------------

#: Who may say which parts.
_ALLOWED: "dict[Role, tuple[type[Part], ...]]" = {
    Role.SYSTEM: (Text,),
    Role.USER: (Text, Image),
    Role.ASSISTANT: (Text, ToolCall, Reasoning),
    Role.TOOL: (Text,),
}
#: The smallest and the largest value of a parameter, as OpenAI's API has them.
_RANGES = {
    "max_tokens": (1, math.inf),
    "temperature": (0.0, 2.0),
    "top_p": (0.0, 1.0),
    "frequency_penalty": (-2.0, 2.0),
    "presence_penalty": (-2.0, 2.0),
}
_MAX_STOPS = 16
_MAX_TOOLS = 128


def read_conversation(request: "GenerateRequest") -> Conversation:
    """Return what a request asks.

    Raises:
        BackendError: INVALID_ARGUMENT, with the field; nothing is asked.

    """
    if not request.messages and not request.prompt:
        raise BackendError(Status.INVALID_ARGUMENT, "The prompt is empty.", field="prompt")
    tools = tuple(_tools(request.tools))
    return Conversation(
        tuple(_messages(request)),
        request.model,
        request.session_id,
        _parameters(request.parameters),
        tools,
        _tool_choice(request.tool_choice, {tool.name for tool in tools}),
        _response_format(request.response_format),
        caller=request.caller,
    )


def check_size(conversation: Conversation, max_bytes: int) -> None:
    """Refuse a conversation that is too large.

    Raises:
        BackendError: INVALID_ARGUMENT, it has more than ``max_bytes`` bytes of text and images.

    """
    if (size := conversation.size) > max_bytes:
        message = f"The prompt has {size} bytes, and {max_bytes} is the most."
        raise BackendError(Status.INVALID_ARGUMENT, message, field="prompt")


def _size_of(part: Part) -> int:
    values = [value for value in part if value is not None]
    return sum(len(v) if isinstance(v, bytes) or v.isascii() else len(v.encode()) for v in values)


def _messages(request: "GenerateRequest") -> "Iterator[Message]":
    if not request.messages:
        yield Message(Role.USER, (Text(request.prompt),))
        return
    called: set[str] = set()
    for index, message in enumerate(request.messages):
        name = f"messages[{index}]"
        read = _message(message, name)
        called.update(part.id for part in read.parts if isinstance(part, ToolCall))
        if read.role is Role.TOOL and read.tool_call_id not in called:
            raise refused(f"{name}.tool_call_id", "must be the id of an earlier call of a tool")
        yield read
    if request.messages[-1].role == Role.SYSTEM.value:
        raise refused(f"messages[{len(request.messages) - 1}]", "must not be the system's")


def _message(message: "ai.Message", name: str) -> Message:
    role = _role(message, name)
    parts = tuple(_part(part, f"{name}.parts[{i}]") for i, part in enumerate(message.parts))
    for index, part in enumerate(parts):
        if not isinstance(part, _ALLOWED[role]):
            kind = type(part).__name__
            raise refused(f"{name}.parts[{index}]", f"{kind} is nothing that {role.name} says")
    if bool(message.tool_call_id) != (role is Role.TOOL):
        raise refused(f"{name}.tool_call_id", "is for the results of tools, and required there")
    if message.name and role is Role.TOOL:
        raise refused(f"{name}.name", "is not for the results of tools, whose calls have names")
    return Message(role, parts, message.tool_call_id, message.name)


def _role(message: "ai.Message", name: str) -> Role:
    try:
        return Role(int(message.role))
    except ValueError:
        roles = ", ".join(role.name for role in Role)
        raise refused(f"{name}.role", f"must be one of {roles}") from None


def _part(part: "ai.Part", name: str) -> Part:
    given: list[Part] = []
    if part.text is not None:
        given.append(Text(part.text))
    if part.image is not None:
        given.append(_image(part.image, f"{name}.image"))
    if part.tool_call is not None:
        given.append(_tool_call(part.tool_call, f"{name}.tool_call"))
    if part.reasoning is not None:
        given.append(Reasoning(part.reasoning))
    if len(given) != 1:
        raise refused(name, "must be one of text, image, tool_call and reasoning")
    return given[0]


def _image(image: "ai.Image", name: str) -> Image:
    if (image.data is None) == (image.uri is None):
        raise refused(name, "must have either data or uri")
    if image.data is not None and not image.media_type:
        raise refused(f"{name}.media_type", "is required with data")
    return Image(image.data, image.uri, image.media_type, image.detail)


def _tool_call(call: "ai.ToolCall", name: str) -> ToolCall:
    if not call.id or not call.name:
        raise refused(name, "must have an id and a name")
    return ToolCall(call.id, call.name, call.arguments)


def _tools(tools: "Sequence[ai.Tool]") -> "Iterator[Tool]":
    if len(tools) > _MAX_TOOLS:
        raise refused("tools", f"has {len(tools)} tools, where {_MAX_TOOLS} is the most")
    names: set[str] = set()
    for index, tool in enumerate(tools):
        name = f"tools[{index}]"
        if not tool.name or tool.name in names:
            raise refused(f"{name}.name", "must be a name that no other tool has")
        names.add(tool.name)
        parameters = read_object(tool.parameters, f"{name}.parameters") if tool.parameters else {}
        yield Tool(tool.name, tool.description, parameters, tool.strict)


def _tool_choice(choice: "ai.ToolChoice", tools: set[str]) -> ToolChoice:
    try:
        mode = Choice(int(choice.mode))
    except ValueError:
        raise refused("tool_choice.mode", "is none that this service knows") from None
    if mode is Choice.REQUIRED and not tools:
        raise refused("tool_choice", "requires a tool, and there are none")
    if mode is Choice.NAMED and choice.name not in tools:
        raise refused("tool_choice.name", "is none of the tools")
    return ToolChoice(mode, choice.name)


def _response_format(given: "ai.ResponseFormat") -> ResponseFormat:
    try:
        kind = Format(int(given.type))
    except ValueError:
        raise refused("response_format.type", "is none that this service knows") from None
    name = "response_format.schema"
    schema = read_object(given.schema, name) if kind is Format.JSON_SCHEMA else None
    return ResponseFormat(kind, schema, given.name, given.description, given.strict)


def _parameters(given: "ai.Parameters") -> Parameters:
    for name, (least, most) in _RANGES.items():
        value: float | None = getattr(given, name)
        if value is not None and not least <= value <= most:  # a NaN is in no range
            raise refused(f"parameters.{name}", f"must be from {least:g} to {most:g}")
    return Parameters(
        given.max_tokens,
        given.temperature,
        given.top_p,
        _stops(given.stop),
        given.seed,
        given.frequency_penalty,
        given.presence_penalty,
        given.top_k,
        given.reasoning_effort,
        given.parallel_tool_calls,
    )


def _stops(stops: "Iterable[str]") -> tuple[str, ...]:
    given = tuple(stops)
    if len(given) > _MAX_STOPS or "" in given:
        raise refused("parameters.stop", f"must be at most {_MAX_STOPS} texts, none of them empty")
    return given
