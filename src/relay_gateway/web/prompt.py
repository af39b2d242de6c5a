"""What ``/api/ai/stream`` is asked, by GET or POST, and refusing what is none.

For example, ``GET /api/ai/stream?prompt=hi&format=json`` asks "hi" and wants JSON events. A POST
may have a conversation instead of a prompt. Without a prompt, with half of a surrogate pair in it,
or with one that is too long, the request is refused before any model is asked.
"""

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl

import pydantic
from pydantic import ConfigDict, Field
from quart import Request

from grpclib_anyio.betterproto import maker
from relay_gateway.relay.encoder import Encoder
from relay_gateway.relay.sse import JsonEncoder, TextEncoder
from relay_gateway.web.conversation import ConversationRequest, check_size
from relay_gateway.web.json_body import read_json_object
from relay_gateway.web.refusal import RefusedError
from relay_gateway.web.validation import what_is_wrong
from relay_proto.ai import GenerateRequest

if TYPE_CHECKING:
    from pydantic.config import JsonDict

__all__ = ["FORMATS", "Question", "StreamRequest", "read_question"]

_ENCODERS: dict[str, type[Encoder]] = {"text": TextEncoder, "json": JsonEncoder}
#: How the events of an answer may be written.
FORMATS = tuple(_ENCODERS)

#: A query holds three fields that mean something; a flood of others is not parsed.
_MAX_FIELDS = 16

_make_request = maker(GenerateRequest)


#: What JSON schema cannot take from the fields: a prompt or messages, and not both.
_EITHER = {
    "oneOf": [
        {
            "required": ["prompt"],
            "properties": {"prompt": {"minLength": 1}, "messages": {"maxItems": 0}},
        },
        {
            "required": ["messages"],
            "properties": {"messages": {"minItems": 1}, "prompt": {"maxLength": 0}},
        },
    ]
}


class StreamRequest(ConversationRequest):
    """The body of ``POST /api/ai/stream``: a prompt, or messages."""

    model_config = ConfigDict(json_schema_extra=cast("JsonDict", _EITHER))

    prompt: str = Field(default="", description="what you ask")
    session_id: str = Field(default="", description="groups the requests of one conversation")
    format: str = Field(
        default="text",
        description="how the events are written",
        json_schema_extra={"enum": list(FORMATS)},
    )


@dataclass(frozen=True)
class Question:
    """What a request asks, and how the answer is to be written."""

    request: GenerateRequest
    encoder: Encoder
    #: What was sent; None for a GET, which asks for nothing but a prompt.
    asked: StreamRequest | None = None


async def read_question(request: Request, max_bytes: int) -> Question:
    """Return what is asked; its text has at most ``max_bytes`` bytes in UTF-8.

    Waits for the body of a POST; not a checkpoint for a GET.

    Raises:
        RefusedError: a field is missing, too long or not text; with the status to answer.

    """
    if request.method == "POST":
        return _question_of_body(await _read_body(request), max_bytes)
    fields = _query_fields(request)
    prompt = _checked_prompt(fields.get("prompt", ""), max_bytes)
    asked = _make_request(prompt=prompt, session_id=fields.get("session_id", ""))
    return Question(asked, _encoder(fields.get("format", "text")))


async def _read_body(request: Request) -> StreamRequest:
    # The query may say how the answer is to be written, as with a GET.
    fields: dict[str, Any] = {"format": request.args.get("format", FORMATS[0])}
    _encoder(fields["format"])  # refuses a wrong one, also if the body has another
    fields.update(await read_json_object(request))
    try:
        return StreamRequest.model_validate(fields)
    except pydantic.ValidationError as error:
        wrong = what_is_wrong(error, fields)
        raise RefusedError(str(wrong), param=wrong.field) from error


def _question_of_body(asked: StreamRequest, max_bytes: int) -> Question:
    encoder = _encoder(asked.format)
    if asked.messages:
        if asked.prompt:
            raise RefusedError("prompt and messages exclude each other", param="prompt")
        check_size(asked, max_bytes)
        contract = asked.to_contract()
    else:
        contract = asked.to_contract()
        contract.prompt = _checked_prompt(asked.prompt, max_bytes)
    contract.session_id = asked.session_id
    return Question(contract, encoder, asked)


def _checked_prompt(prompt: str, max_bytes: int) -> str:
    if not prompt:
        raise RefusedError("prompt is required", param="prompt")
    if len(prompt.encode()) > max_bytes:
        raise RefusedError(
            f"prompt is longer than {max_bytes} bytes",
            param="prompt",
            status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        )
    return prompt


def _encoder(name: str) -> Encoder:
    if name not in _ENCODERS:
        raise RefusedError(f"format must be one of {', '.join(FORMATS)}", param="format")
    return _ENCODERS[name]()


def _query_fields(request: Request) -> dict[str, str]:
    try:
        query = request.query_string.decode("ascii")
        fields = parse_qsl(
            query, keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS
        )
        return dict(fields)
    except ValueError as error:
        raise RefusedError("the query must be percent-encoded UTF-8") from error
