"""A conversation in the words of Anthropic's messages.

For example, ``Conversation.of("Hello")`` becomes
``{"model": …, "max_tokens": 512, "messages": [{"role": "user", "content": […]}]}``.
Earlier reasoning is left out: the provider reads only what it has signed, and drops that of earlier
turns itself.
"""

import base64
from itertools import groupby
from typing import TYPE_CHECKING, Any

from relay_model.backends.providers.credentials import require_model
from relay_model.backends.support import Support
from relay_model.conversation import Choice, Format, Image, Message, Role, Text, ToolCall
from relay_model.errors import refused
from relay_model.json_objects import read_object

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay_model.backends.settings import BackendSettings
    from relay_model.conversation import Conversation, Part, Tool, ToolChoice

__all__ = ["Asking"]

#: How much a model may think, by OpenAI's words for it and the provider's own.
_EFFORTS = {
    "none": None,
    "minimal": "low",
    **{word: word for word in ("low", "medium", "high", "xhigh", "max")},
}


class Asking:
    """Writes requests."""

    def __init__(self, settings: "BackendSettings", *, is_own: bool) -> None:
        """Write for Anthropic itself, whose models take no temperature, or for another server."""
        self._settings = settings
        self._model = require_model(settings)
        parameters = {"max_tokens", "stop", "reasoning_effort", "parallel_tool_calls"}
        self.support = Support(
            "anthropic",
            parameters=parameters if is_own else parameters | {"temperature", "top_p", "top_k"},
            formats=frozenset({Format.TEXT, Format.JSON_SCHEMA}),
            images=True,
            tools=True,
            strict_tools=True,
            descriptions=True,
        )

    def options(self, conversation: "Conversation") -> dict[str, Any]:
        """Return the options of a request.

        Raises:
            BackendError: INVALID_ARGUMENT, what is asked has no words in this API.

        """
        options: dict[str, Any] = {
            "model": self._model,
            "max_tokens": self._settings.longest(conversation),
            "messages": list(_messages(conversation)),
        }
        if system := "\n\n".join(self._system(conversation)):
            options["system"] = system
        if conversation.parameters.stop:
            options["stop_sequences"] = list(conversation.parameters.stop)
        if conversation.tools:
            options["tools"] = [_tool(tool) for tool in conversation.tools]
            options["tool_choice"] = _tool_choice(conversation)
        if output := _output(conversation):
            options["output_config"] = output
        if thinking := _thinking(conversation.parameters.reasoning_effort):
            options["thinking"] = thinking
        if extra := self._sampling(conversation):
            options["extra_body"] = extra
        return options

    def _system(self, conversation: "Conversation") -> "Iterator[str]":
        if self._settings.system_prompt is not None:
            yield self._settings.system_prompt
        for message in conversation.messages:
            if message.role is Role.SYSTEM:
                yield message.text

    def _sampling(self, conversation: "Conversation") -> dict[str, Any]:
        """Give what the library has no names for."""
        given = conversation.parameters
        temperature = given.temperature
        if temperature is None:
            temperature = self._settings.temperature
        sampling = {"temperature": temperature, "top_p": given.top_p, "top_k": given.top_k}
        return {name: value for name, value in sampling.items() if value is not None}


def _output(conversation: "Conversation") -> dict[str, Any]:
    output: dict[str, Any] = {}
    effort = conversation.parameters.reasoning_effort
    if effort is not None:
        if effort not in _EFFORTS:
            raise refused("parameters.reasoning_effort", f"must be one of {', '.join(_EFFORTS)}")
        if _EFFORTS[effort] is not None:
            output["effort"] = _EFFORTS[effort]
    if (schema := conversation.response_format.schema) is not None:
        if description := conversation.response_format.description:
            schema = {"description": description, **schema}
        output["format"] = {"type": "json_schema", "schema": schema}
    return output


def _thinking(effort: str | None) -> dict[str, str] | None:
    if effort is None:
        return None
    if _EFFORTS[effort] is None:
        return {"type": "disabled"}
    return {"type": "adaptive", "display": "summarized"}


def _messages(conversation: "Conversation") -> "Iterator[dict[str, Any]]":
    """Write the messages: those of one side that follow each other are one."""
    numbered = [
        (index, message)
        for index, message in enumerate(conversation.messages)
        if message.role is not Role.SYSTEM
    ]
    for is_answer, group in groupby(numbered, lambda each: each[1].role is Role.ASSISTANT):
        blocks = [block for index, message in group for block in _blocks(message, index)]
        if blocks:
            yield {"role": "assistant" if is_answer else "user", "content": _content(blocks)}


def _content(blocks: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """Write one block of text as text."""
    is_text = len(blocks) == 1 and blocks[0]["type"] == "text"
    return str(blocks[0]["text"]) if is_text else blocks


def _blocks(message: Message, index: int) -> "Iterator[dict[str, Any]]":
    if message.role is Role.TOOL:
        result = {"type": "tool_result", "tool_use_id": message.tool_call_id}
        yield {**result, "content": message.text}
        return
    for number, part in enumerate(message.parts):
        if block := _block(part, f"messages[{index}].parts[{number}]"):
            yield block


def _block(part: "Part", field: str) -> dict[str, Any] | None:
    match part:
        case Text(text):
            return {"type": "text", "text": text} if text else None  # the API refuses empty ones
        case Image():
            return {"type": "image", "source": _source(part)}
        case ToolCall(identity, name, arguments):
            called = {"type": "tool_use", "id": identity, "name": name}
            read = read_object(arguments or "{}", f"{field}.tool_call.arguments")
            return {**called, "input": read}
        case _:
            return None


def _source(image: Image) -> dict[str, str]:
    if image.data is None:
        return {"type": "url", "url": image.uri or ""}
    data = base64.b64encode(image.data).decode()
    return {"type": "base64", "media_type": image.media_type, "data": data}


def _tool(tool: "Tool") -> dict[str, Any]:
    written: dict[str, Any] = {
        "name": tool.name,
        "input_schema": tool.parameters or {"type": "object", "properties": {}},
    }
    if tool.description:
        written["description"] = tool.description
    if tool.strict is not None:
        written["strict"] = tool.strict
    return written


def _tool_choice(conversation: "Conversation") -> dict[str, Any]:
    choice: ToolChoice = conversation.tool_choice
    kinds = {Choice.AUTO: "auto", Choice.NONE: "none", Choice.REQUIRED: "any", Choice.NAMED: "tool"}
    written: dict[str, Any] = {"type": kinds[choice.mode]}
    if choice.mode is Choice.NAMED:
        written["name"] = choice.name
    if conversation.parameters.parallel_tool_calls is False and choice.mode is not Choice.NONE:
        written["disable_parallel_tool_use"] = True
    return written
