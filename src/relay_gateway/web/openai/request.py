"""What ``POST /v1/chat/completions`` asks.

For example ``{"messages": [{"role": "user", "content": "Hello"}], "stream": true}``. A parameter
that would change the answer, and that no model here can be given, is refused by its name. One that
would change nothing is taken and ignored.
"""

from collections.abc import Mapping
from typing import Any

import pydantic
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from relay_gateway.web.conversation import ChatMessage, ConversationRequest
from relay_gateway.web.refusal import RefusedError
from relay_gateway.web.validation import what_is_wrong

__all__ = ["IGNORED", "ChatCompletionRequest", "read_request"]

#: Parameters that change nothing about the answer, or only who pays for it.
IGNORED = frozenset(
    {
        "metadata",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_options",
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


class StreamOptions(BaseModel):
    """How an answer is streamed; other options than these change only how it is packed."""

    model_config = ConfigDict(extra="ignore", strict=True, hide_input_in_errors=True)

    include_usage: bool | None = None


def _describe_others(schema: dict[str, Any]) -> None:
    """Add to the schema what :func:`read_request` takes beside the fields."""
    for name, field in schema["properties"].items():
        if name not in schema["required"] and "type" in field:
            field["type"] = [field["type"], "null"]
    for name in sorted(IGNORED):
        schema["properties"][name] = {"description": "taken and ignored"}
    for name, only in _ONLY.items():
        schema["properties"][name] = {"enum": [only, None]}


class ChatCompletionRequest(ConversationRequest):
    """The body of ``POST /v1/chat/completions``."""

    model_config = ConfigDict(json_schema_extra=_describe_others)

    messages: list[ChatMessage] = Field(
        min_length=1, max_length=_MAX_MESSAGES, description="the conversation"
    )
    stream: bool | None = Field(default=None, description="whether the answer is streamed")
    stream_options: StreamOptions | None = None

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with what the answer cost."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)


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
        value = given.pop(name, only)
        if value != only or isinstance(value, bool) != isinstance(only, bool):
            raise RefusedError(f"{name} is not supported: leave it out", param=name)
    try:
        return ChatCompletionRequest.model_validate(given)
    except pydantic.ValidationError as error:
        wrong = what_is_wrong(error, given)
        raise RefusedError(str(wrong), param=wrong.field) from error
