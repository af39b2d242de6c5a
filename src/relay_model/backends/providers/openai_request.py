"""A conversation in the words of OpenAI's chat completions.

For example, ``Conversation.of("Hello")`` becomes
``{"model": …, "max_tokens": 512, "messages": [{"role": "user", "content": "Hello"}]}``.
"""

import base64
from typing import TYPE_CHECKING, Any

from relay_model.backends.providers.credentials import require_model
from relay_model.backends.support import EVERY_PARAMETER, Support
from relay_model.conversation import (
    Choice,
    Format,
    Image,
    Message,
    Reasoning,
    Role,
    Text,
    ToolCall,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay_model.backends.settings import BackendSettings
    from relay_model.conversation import Conversation, ResponseFormat, Tool, ToolChoice

__all__ = ["Asking"]


class Asking:
    """Writes requests as one server understands them."""

    def __init__(self, settings: "BackendSettings", *, is_own: bool) -> None:
        """Write for OpenAI itself, or for another server that speaks its API."""
        self._is_own = is_own
        self._settings = settings
        self._model = require_model(settings)
        # OpenAI's newer models refuse the older name, other servers may not know the newer.
        self._limit = "max_completion_tokens" if is_own else "max_tokens"
        self.support = Support(
            "openai",
            parameters=EVERY_PARAMETER - {"top_k"} if is_own else EVERY_PARAMETER,
            formats=frozenset(Format),
            images=True,
            tools=True,
            details=True,
            names=True,
            strict_tools=True,
            descriptions=True,
        )

    def options(self, conversation: "Conversation") -> dict[str, Any]:
        """Return the options of a request, apart from how its answer comes."""
        options = {
            "model": self._model,
            "messages": list(self._messages(conversation)),
            **dict(self._parameters(conversation)),
        }
        if conversation.tools:
            options["tools"] = [_tool(tool) for tool in conversation.tools]
            options["tool_choice"] = _tool_choice(conversation.tool_choice)
        if conversation.response_format.type is not Format.TEXT:
            options["response_format"] = _format(conversation.response_format)
        return options

    def _parameters(self, conversation: "Conversation") -> "Iterator[tuple[str, Any]]":
        given = conversation.parameters._asdict()
        given["max_tokens"] = self._settings.longest(conversation)
        if given["temperature"] is None:
            given["temperature"] = self._settings.temperature
        if not conversation.tools:  # the API refuses it without tools
            del given["parallel_tool_calls"]
        if (top_k := given.pop("top_k")) is not None:
            yield "extra_body", {"top_k": top_k}
        given["stop"] = list(given["stop"]) or None
        names = {"max_tokens": self._limit}
        for name, value in given.items():
            if value is not None:
                yield names.get(name, name), value

    def _messages(self, conversation: "Conversation") -> "Iterator[dict[str, Any]]":
        if self._settings.system_prompt is not None:
            yield {"role": "system", "content": self._settings.system_prompt}
        for message in conversation.messages:
            written = _message(message)
            if message.name:
                written["name"] = message.name
            reasoning = [part.text for part in message.parts if isinstance(part, Reasoning)]
            if reasoning and not self._is_own:  # OpenAI's own API takes none
                written["reasoning_content"] = "".join(reasoning)
            yield written


def _message(message: Message) -> dict[str, Any]:
    match message.role:
        case Role.SYSTEM:
            return {"role": "system", "content": message.text}
        case Role.USER:
            return {"role": "user", "content": _content(message)}
        case Role.TOOL:
            return {
                "role": "tool",
                "tool_call_id": message.tool_call_id,
                "content": message.text,
            }
        case Role.ASSISTANT:
            written: dict[str, Any] = {"role": "assistant", "content": message.text}
            calls = [_call(part) for part in message.parts if isinstance(part, ToolCall)]
            if calls:
                written |= {"content": message.text or None, "tool_calls": calls}
            return written


def _content(message: Message) -> str | list[dict[str, Any]]:
    if all(isinstance(part, Text) for part in message.parts):
        return message.text
    return [_part(part) for part in message.parts]


def _part(part: object) -> dict[str, Any]:
    if isinstance(part, Image):
        url = {"url": _url(part), "detail": part.detail or "auto"}
        return {"type": "image_url", "image_url": url}
    return {"type": "text", "text": part.text if isinstance(part, Text) else ""}


def _url(image: Image) -> str:
    if image.data is None:
        return image.uri or ""
    return f"data:{image.media_type};base64,{base64.b64encode(image.data).decode()}"


def _call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def _tool(tool: "Tool") -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.parameters:
        function["parameters"] = tool.parameters
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _tool_choice(choice: "ToolChoice") -> str | dict[str, Any]:
    if choice.mode is Choice.NAMED:
        return {"type": "function", "function": {"name": choice.name}}
    return {Choice.NONE: "none", Choice.REQUIRED: "required"}.get(choice.mode, "auto")


def _format(given: "ResponseFormat") -> dict[str, Any]:
    if given.type is Format.JSON_OBJECT:
        return {"type": "json_object"}
    schema: dict[str, Any] = {"name": given.name or "answer", "schema": given.schema}
    if given.description:
        schema["description"] = given.description
    if given.strict is not None:
        schema["strict"] = given.strict
    return {"type": "json_schema", "json_schema": schema}
