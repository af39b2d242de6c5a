"""``/api/ai/stream`` described: its events, its problem documents, and when it gives which.

For example, a token of a stream with ``format=json`` is a :class:`TokenEvent`::

    data: {"token": "Hi"}
"""

from http import HTTPStatus
from typing import Literal

from pydantic import Field

from relay_gateway.web.description.operation import (
    FOREIGN,
    Answer,
    Content,
    Operation,
    Parameter,
    Reply,
    absent,
    streamed,
)
from relay_gateway.web.prompt import FORMATS, StreamRequest

__all__ = ["OPERATIONS", "STREAM_HEADERS", "TRACE"]

# -- events ----------------------------------------------------------------------------------------


class TokenEvent(Answer):
    """A piece of the answer."""

    token: str


class RefusalEvent(Answer):
    """A piece of what the model says instead of an answer."""

    refusal: str


class ReasoningEvent(Answer):
    """A piece of what the model thinks, which is no part of the answer."""

    reasoning: str


class ToolCallEvent(Answer):
    """A piece of a call of a tool: the pieces of one index belong together."""

    index: int
    id: str = absent("in the first piece of a call only")
    name: str = absent("in the first piece of a call only")
    arguments: str = Field(description="a piece of JSON")


class Usage(Answer):
    """The model's own tokens."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = absent("tokens of the prompt that were known before")
    reasoning_tokens: int = absent("tokens of the reasoning")


class DoneEvent(Answer):
    """The end of a complete answer; null stands for what the model did not say."""

    finish_reason: Literal["stop", "length", "tool_calls", "content_filter", "other"] | None
    usage: Usage | None


FailureCause = Literal["deadline", "model_error", "model_unavailable", "shutdown"]


class ErrorEvent(Answer):
    """The end of an answer that was cut short."""

    code: str = Field(description="a gRPC status, by name")
    message: str = Field(description="for people")
    cause: FailureCause


# -- errors ----------------------------------------------------------------------------------------


class Problem(Answer):
    """What went wrong (RFC 9457)."""

    type: Literal["about:blank"]
    title: str
    status: int
    detail: str = Field(description="for people")
    field: str = absent("the field of the request that is wrong")
    code: str = absent("a word that programs compare")
    cause: FailureCause = absent("how the answer ended, if a model was asked")


def _problem(
    status: HTTPStatus, description: str, detail: str, *headers: str, **more: str
) -> Reply:
    example = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "detail": detail,
        **more,
    }
    content = Content("application/problem+json", Problem, examples={"problem": example})
    return Reply(status, description, (content,), headers)


def _not_understood(description: str, *headers: str) -> Reply:
    detail = "prompt is required"
    return _problem(HTTPStatus.BAD_REQUEST, description, detail, *headers, field="prompt")


_TOO_LONG = _problem(
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "The text has more than `RELAY_MAX_PROMPT_BYTES` bytes.",
    "prompt is longer than 65536 bytes",
    field="prompt",
)
_STOPPING = _problem(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "The gateway is being stopped.",
    "the gateway is being restarted",
    "Retry-After",
)
_FORBIDDEN = _problem(HTTPStatus.FORBIDDEN, FOREIGN, "this origin is not served", field="origin")
#: Those of a POST, whose headers wait for the first token.
_FAILED = (
    _problem(
        HTTPStatus.NOT_FOUND,
        "There is no such model.",
        "there is no model 'x'",
        "x-should-retry",
        field="model",
        code="model_not_found",
    ),
    _problem(
        HTTPStatus.REQUEST_TIMEOUT,
        "The request's body did not come.",
        "The server closed the network connection because the browser didn't finish the request"
        " within the specified time.",
    ),
    _TOO_LONG,
    _problem(
        HTTPStatus.TOO_MANY_REQUESTS,
        "The model is busy.",
        "The model is busy. Please try again in a moment.",
        "Retry-After",
        code="RESOURCE_EXHAUSTED",
        cause="model_error",
    ),
    _problem(
        HTTPStatus.BAD_GATEWAY,
        "The model failed before its first token.",
        "The model failed to answer. Please try again.",
        "x-should-retry",
        code="INTERNAL",
        cause="model_error",
    ),
    _problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The model cannot be reached, or the gateway is being stopped.",
        "The model cannot be reached right now. Please try again in a moment.",
        "Retry-After",
        code="UNAVAILABLE",
        cause="model_unavailable",
    ),
    _problem(
        HTTPStatus.GATEWAY_TIMEOUT,
        "The answer took longer than `RELAY_DEADLINE_SECONDS`.",
        "The answer took too long and was stopped.",
        "x-should-retry",
        code="DEADLINE_EXCEEDED",
        cause="deadline",
    ),
)

# -- the two ways to ask ---------------------------------------------------------------------------

STREAM_HEADERS = ("Cache-Control", "X-Accel-Buffering")
_STREAM = Reply(
    HTTPStatus.OK,
    "The answer. It ends with exactly one `done` or `error`.",
    (
        streamed(
            {
                "message": (TokenEvent, RefusalEvent),
                "reasoning": (ReasoningEvent,),
                "tool_call": (ToolCallEvent,),
                "done": (DoneEvent,),
                "error": (ErrorEvent,),
            },
            text="data: Hel\n\ndata: lo\n\nevent: done\ndata: [DONE]\n\n",
            json='data: {"token": "Hello"}\n\nevent: done\n'
            'data: {"finish_reason": "stop", "usage": null}\n\n',
            failed="data: Hel\n\n: ping\n\nevent: error\ndata: The model failed to answer."
            " Please try again.\n\n",
        ),
    ),
    STREAM_HEADERS,
)
_EVENTS = (
    "A comment, `: ping`, is sent after `RELAY_HEARTBEAT_SECONDS` without any event. With"
    " `format=json` the data of each event is JSON. With `format=text` it is text, except that of"
    " `tool_call`."
)
TRACE = Parameter(
    "traceparent",
    "header",
    "W3C Trace Context, passed on to the model service",
    {"type": "string"},
    example="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
)
_FORMAT = Parameter(
    "format",
    "query",
    "how the events are written",
    {"type": "string", "enum": list(FORMATS), "default": FORMATS[0]},
)

OPERATIONS = (
    Operation(
        "get",
        "/api/ai/stream",
        "streamPrompt",
        "Native",
        "Stream the answer to a prompt",
        (
            _STREAM,
            _not_understood("A field is missing or wrong."),
            _FORBIDDEN,
            _TOO_LONG,
            _STOPPING,
        ),
        f"For `EventSource`, which has to be closed on `done` and `error`. {_EVENTS}",
        (
            Parameter(
                "prompt",
                "query",
                "what you ask",
                {"type": "string", "minLength": 1},
                is_required=True,
                example="Why is the sky blue?",
            ),
            Parameter("session_id", "query", "groups requests", {"type": "string"}),
            _FORMAT,
            TRACE,
        ),
    ),
    Operation(
        "post",
        "/api/ai/stream",
        "streamConversation",
        "Native",
        "Stream the answer to a prompt or a conversation",
        (
            _STREAM,
            _not_understood(
                "A field is missing, unknown or wrong, or the model service refuses it.",
                "x-should-retry",
            ),
            _FORBIDDEN,
            *_FAILED,
        ),
        "The headers wait for the first token, for `RELAY_HOLD_SECONDS` at most, so that an answer"
        f" that fails before it has a status that says so. {_EVENTS}",
        (_FORMAT, TRACE),
        Content(
            "application/json",
            StreamRequest,
            examples={
                "prompt": {"prompt": "Why is the sky blue?"},
                "conversation": {
                    "messages": [
                        {"role": "system", "content": "Be brief."},
                        {"role": "user", "content": "Hello"},
                    ],
                    "format": "json",
                },
            },
        ),
    ),
)
