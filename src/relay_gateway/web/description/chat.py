"""OpenAI's paths described: completions, chunks, models and errors, in OpenAI's shapes.

For example, a token of a stream is a :class:`ChatCompletionChunk`, and what goes wrong is an
:class:`ErrorObject`.
"""

from http import HTTPStatus
from typing import Literal

from pydantic import Field

from relay_gateway.web.conversation import FunctionCall
from relay_gateway.web.description.native import STREAM_HEADERS, TRACE
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
from relay_gateway.web.openai.request import ChatCompletionRequest

__all__ = ["OPERATIONS"]

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]

# -- answers ---------------------------------------------------------------------------------------


class PromptTokensDetails(Answer):
    """Of the tokens of the prompt."""

    cached_tokens: int


class CompletionTokensDetails(Answer):
    """Of the tokens of the answer."""

    reasoning_tokens: int


class CompletionUsage(Answer):
    """The model's own tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails = absent()
    completion_tokens_details: CompletionTokensDetails = absent()


class ToolCall(Answer):
    """A call of a tool."""

    id: str
    type: Literal["function"]
    function: FunctionCall


class CompletionMessage(Answer):
    """What the model says."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    reasoning_content: str = absent("what the model thought")
    tool_calls: list[ToolCall] = absent()


class CompletionChoice(Answer):
    """The only answer."""

    index: Literal[0]
    message: CompletionMessage
    logprobs: None
    finish_reason: FinishReason


class ChatCompletion(Answer):
    """A whole answer."""

    id: str
    object: Literal["chat.completion"]
    created: int = Field(description="seconds since 1970")
    model: str
    choices: list[CompletionChoice] = Field(min_length=1, max_length=1)
    usage: CompletionUsage | None


# -- chunks ----------------------------------------------------------------------------------------


class FunctionDelta(Answer):
    """A piece of a call of a function."""

    name: str = absent("in the first piece of a call only")
    arguments: str = Field(description="a piece of JSON")


class ToolCallChunk(Answer):
    """A piece of a call of a tool: the pieces of one index belong together."""

    index: int
    id: str = absent("in the first piece of a call only")
    type: Literal["function"] = absent()
    function: FunctionDelta


class Delta(Answer):
    """A piece of what the model says."""

    role: Literal["assistant"] = absent("in the first chunk only")
    content: str = absent()
    reasoning_content: str = absent("a piece of what the model thinks")
    refusal: str = absent()
    tool_calls: list[ToolCallChunk] = absent()


class ChunkChoice(Answer):
    """A piece of the only answer."""

    index: Literal[0]
    delta: Delta
    logprobs: None
    finish_reason: FinishReason | None


class ChatCompletionChunk(Answer):
    """A piece of a streamed answer."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int = Field(description="seconds since 1970")
    model: str
    choices: list[ChunkChoice] = Field(max_length=1, description="empty where the usage is")
    usage: CompletionUsage | None = absent("with `stream_options.include_usage` only")


# -- models, and errors ----------------------------------------------------------------------------


class ModelObject(Answer):
    """A model of the model service."""

    id: str
    object: Literal["model"]
    created: int = Field(description="seconds since 1970, or 0")
    owned_by: str


class ModelList(Answer):
    """The models; the first one answers by default."""

    object: Literal["list"]
    data: list[ModelObject]


class ErrorDetails(Answer):
    """What went wrong."""

    message: str = Field(description="for people")
    type: str
    param: str | None = Field(description="the field of the request that is wrong")
    code: str | None = Field(description="a word that programs compare")


class ErrorObject(Answer):
    """An error, also in the last event of a stream that breaks."""

    error: ErrorDetails


def _error(
    status: HTTPStatus,
    description: str,
    message: str,
    *headers: str,
    kind: str = "invalid_request_error",
    param: str | None = None,
    code: str | None = None,
) -> Reply:
    details = {"message": message, "type": kind, "param": param, "code": code}
    content = Content("application/json", ErrorObject, examples={"error": {"error": details}})
    return Reply(status, description, (content,), headers)


def _no_model(*headers: str) -> Reply:
    return _error(
        HTTPStatus.NOT_FOUND,
        "There is no such model.",
        "there is no model 'x'",
        *headers,
        param="model",
        code="model_not_found",
    )


_FORBIDDEN = _error(
    HTTPStatus.FORBIDDEN,
    FOREIGN,
    "this origin is not served",
    kind="permission_error",
    param="origin",
)
#: How the model service can fail whatever it is asked.
_FAILED = (
    _error(
        HTTPStatus.TOO_MANY_REQUESTS,
        "The model is busy.",
        "The model is busy. Please try again in a moment.",
        "Retry-After",
        kind="rate_limit_error",
        code="rate_limit_exceeded",
    ),
    _error(
        HTTPStatus.BAD_GATEWAY,
        "The model failed.",
        "The model failed to answer. Please try again.",
        "x-should-retry",
        kind="server_error",
        code="model_error",
    ),
    _error(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The model cannot be reached, or the gateway is being stopped.",
        "The model cannot be reached right now. Please try again in a moment.",
        "Retry-After",
        kind="server_error",
        code="model_unavailable",
    ),
    _error(
        HTTPStatus.GATEWAY_TIMEOUT,
        "The model took too long.",
        "The answer took too long and was stopped.",
        "x-should-retry",
        kind="server_error",
        code="timeout",
    ),
)

# -- paths -----------------------------------------------------------------------------------------

_ANSWER = Reply(
    HTTPStatus.OK,
    "The answer: a whole one, or a stream if `stream` is true. A stream ends with `[DONE]`, or with"
    " an error and without it.",
    (
        Content(
            "application/json",
            ChatCompletion,
            examples={
                "whole": {
                    "id": "chatcmpl-1",
                    "object": "chat.completion",
                    "created": 1_790_000_000,
                    "model": "demo",
                    "choices": [
                        {
                            "index": 0,
                            "message": {"role": "assistant", "content": "Hello", "refusal": None},
                            "logprobs": None,
                            "finish_reason": "stop",
                        }
                    ],
                    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
                }
            },
        ),
        streamed(
            {"message": (ChatCompletionChunk, ErrorObject)},
            stream='data: {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created":'
            ' 1790000000, "model": "demo", "choices": [{"index": 0, "delta": {"content": "Hello"},'
            ' "logprobs": null, "finish_reason": null}]}\n\ndata: [DONE]\n\n',
        ),
    ),
    STREAM_HEADERS,
)

OPERATIONS = (
    Operation(
        "post",
        "/v1/chat/completions",
        "createChatCompletion",
        "OpenAI",
        "Answer a conversation",
        (
            _ANSWER,
            _error(
                HTTPStatus.BAD_REQUEST,
                "A field is missing, unknown or wrong, or the model service refuses it.",
                "messages is required",
                "x-should-retry",
                param="messages",
            ),
            _FORBIDDEN,
            _no_model("x-should-retry"),
            _error(
                HTTPStatus.REQUEST_TIMEOUT,
                "The request's body did not come.",
                "The server closed the network connection because the browser didn't finish the"
                " request within the specified time.",
            ),
            _error(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                "The messages have more than `RELAY_MAX_PROMPT_BYTES` bytes of text.",
                "messages have 70000 bytes of text, where 65536 is the most",
                param="messages",
                code="context_length_exceeded",
            ),
            *_FAILED,
        ),
        "An `Authorization` header is accepted and ignored. A client that leaves stops the model.",
        (TRACE,),
        Content(
            "application/json",
            ChatCompletionRequest,
            examples={
                "stream": {"messages": [{"role": "user", "content": "Hello"}], "stream": True}
            },
        ),
    ),
    Operation(
        "get",
        "/v1/models",
        "listModels",
        "OpenAI",
        "List the models",
        (
            Reply(HTTPStatus.OK, "The models.", (Content("application/json", ModelList),)),
            _FORBIDDEN,
            *_FAILED,
        ),
    ),
    Operation(
        "get",
        "/v1/models/{name}",
        "showModel",
        "OpenAI",
        "Show one model",
        (
            Reply(HTTPStatus.OK, "The model.", (Content("application/json", ModelObject),)),
            _FORBIDDEN,
            _no_model(),
            *_FAILED,
        ),
        parameters=(
            Parameter(
                "name",
                "path",
                "the `id` of a model",
                {"type": "string", "minLength": 1},
                is_required=True,
                example="demo",
            ),
        ),
    ),
)
