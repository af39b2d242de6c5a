"""A conversation in the words of Ollama's chat.

For example, ``Conversation.of("Hello")`` becomes
``{"model": …, "messages": [{"role": "user", "content": "Hello"}], "options": {…}}``.
"""

from typing import TYPE_CHECKING, Any

from relay_model.backends.providers.credentials import require_model
from relay_model.backends.support import EVERY_PARAMETER, Support
from relay_model.conversation import Choice, Format, Image, Message, Reasoning, Role, ToolCall
from relay_model.errors import refused
from relay_model.json_objects import read_object

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay_model.backends.settings import BackendSettings
    from relay_model.conversation import Conversation, Tool

__all__ = ["Asking"]

#: Whether a model thinks, where it is not a matter of how much.
_THINKS = {"none": False, "low": "low", "medium": "medium", "high": "high"}


class Asking:
    """Writes requests."""

    def __init__(self, settings: "BackendSettings") -> None:
        """Write for the model that is set."""
        self._settings = settings
        self._model = require_model(settings)
        self.support = Support(
            "ollama",
            parameters=EVERY_PARAMETER - {"parallel_tool_calls"},
            formats=frozenset(Format),
            images=True,
            tools=True,
        )

    def options(self, conversation: "Conversation") -> dict[str, Any]:
        """Return the arguments of ``chat``.

        Raises:
            BackendError: INVALID_ARGUMENT, what is asked has no words in this API.

        """
        arguments: dict[str, Any] = {
            "model": self._model,
            "messages": list(self._messages(conversation)),
            "options": self._parameters(conversation),
        }
        choice = conversation.tool_choice.mode
        if choice in {Choice.REQUIRED, Choice.NAMED}:
            raise refused("tool_choice", "this API leaves the choice to the model")
        if conversation.tools and choice is not Choice.NONE:
            arguments["tools"] = [_tool(tool) for tool in conversation.tools]
        match conversation.response_format.type:
            case Format.JSON_OBJECT:
                arguments["format"] = "json"
            case Format.JSON_SCHEMA:
                arguments["format"] = conversation.response_format.schema
            case Format.TEXT:
                pass
        if (effort := conversation.parameters.reasoning_effort) is not None:
            if effort not in _THINKS:
                name = "parameters.reasoning_effort"
                raise refused(name, f"must be one of {', '.join(_THINKS)}")
            arguments["think"] = _THINKS[effort]
        return arguments

    def _parameters(self, conversation: "Conversation") -> dict[str, Any]:
        given = conversation.parameters._asdict()
        temperature = given["temperature"]
        options = {
            "num_predict": self._settings.longest(conversation),
            "temperature": self._settings.temperature if temperature is None else temperature,
            "stop": list(given["stop"]) or None,
        }
        for name in ("top_p", "top_k", "seed", "frequency_penalty", "presence_penalty"):
            options[name] = given[name]
        return {name: value for name, value in options.items() if value is not None}

    def _messages(self, conversation: "Conversation") -> "Iterator[dict[str, Any]]":
        if self._settings.system_prompt is not None:
            yield {"role": "system", "content": self._settings.system_prompt}
        called: dict[str, str] = {}
        for index, message in enumerate(conversation.messages):
            calls = [part for part in message.parts if isinstance(part, ToolCall)]
            called |= {call.id: call.name for call in calls}
            yield _message(message, calls, called, f"messages[{index}]")


def _message(
    message: Message, calls: list[ToolCall], called: dict[str, str], field: str
) -> dict[str, Any]:
    written: dict[str, Any] = {"role": message.role.name.lower(), "content": message.text}
    if message.role is Role.TOOL:
        written["tool_name"] = called[message.tool_call_id]
    if calls:
        written["tool_calls"] = [_call(call, field) for call in calls]
    if thought := [part.text for part in message.parts if isinstance(part, Reasoning)]:
        written["thinking"] = "".join(thought)
    if images := [part for part in message.parts if isinstance(part, Image)]:
        written["images"] = [_data(image, field) for image in images]
    return written


def _data(image: Image, field: str) -> bytes:
    if image.data is None:
        raise refused(field, "this API takes the bytes of an image, not its address")
    return image.data


def _call(call: ToolCall, field: str) -> dict[str, Any]:
    reason = "the arguments of a call must be a JSON object"
    arguments = read_object(call.arguments or "{}", field, reason)
    return {"function": {"name": call.name, "arguments": arguments}}


def _tool(tool: "Tool") -> dict[str, Any]:
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters or {"type": "object", "properties": {}},
    }
    return {"type": "function", "function": function}
