"""Reading a prompt out of an HTTP request, GET or POST, and refusing what is none.

For example, ``GET /api/ai/stream?prompt=hi&format=json`` asks "hi" and wants JSON events; without a
prompt, with half of a surrogate pair in it, or with one that is too long, the request is refused
before any model is asked.
"""

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import parse_qsl

from quart import Request
from werkzeug.exceptions import HTTPException

from grpclib_anyio.betterproto import maker
from relay_gateway.relay.encoder import Encoder
from relay_gateway.relay.sse import JsonEncoder, TextEncoder
from relay_proto.ai import GenerateRequest

__all__ = ["BadRequestError", "Question", "read_question"]

_ENCODERS: dict[str, type[Encoder]] = {"text": TextEncoder, "json": JsonEncoder}
#: A query holds three fields that mean something; a flood of others is not parsed.
_MAX_FIELDS = 16

_make_request = maker(GenerateRequest)


class BadRequestError(HTTPException):
    """The request is refused; ``description`` says what to do about it."""

    def __init__(self, description: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        """Refuse with ``status``."""
        super().__init__(description)
        self.code = status.value


@dataclass(frozen=True)
class Question:
    """What a request asks, and how the answer is to be written."""

    request: GenerateRequest
    encoder: Encoder


async def read_question(request: Request, max_bytes: int) -> Question:
    """Return what is asked; a prompt has at most ``max_bytes`` bytes in UTF-8.

    Waits for the body of a POST; not a checkpoint for a GET.

    Raises:
        BadRequestError: a field is missing, too long or not text; with the status to answer.

    """
    fields = await _json_fields(request) if request.method == "POST" else _query_fields(request)
    prompt, session_id = _text(fields, "prompt"), _text(fields, "session_id")
    if not prompt:
        raise BadRequestError("prompt is required")
    if len(prompt.encode()) > max_bytes:
        status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        raise BadRequestError(f"prompt is longer than {max_bytes} bytes", status)
    encoder = _encoder(_text(fields, "format", "text"))
    return Question(_make_request(prompt=prompt, session_id=session_id), encoder)


def _encoder(name: str) -> Encoder:
    if name not in _ENCODERS:
        raise BadRequestError(f"format must be one of {', '.join(_ENCODERS)}")
    return _ENCODERS[name]()


def _query_fields(request: Request) -> dict[str, Any]:
    try:
        query = request.query_string.decode("ascii")
        fields = parse_qsl(
            query, keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS
        )
        return dict(fields)
    except ValueError as error:
        raise BadRequestError("the query must be percent-encoded UTF-8") from error


async def _json_fields(request: Request) -> dict[str, Any]:
    try:
        fields = json.loads(await request.get_data(cache=False))
    except (ValueError, RecursionError) as error:
        raise BadRequestError("the body must be JSON") from error
    if not isinstance(fields, dict):
        raise BadRequestError("the body must be a JSON object")
    # The query may say how the answer is to be written, as with a GET.
    return {"format": request.args.get("format", "text"), **cast("dict[str, Any]", fields)}


def _text(fields: dict[str, Any], name: str, default: str = "") -> str:
    value = fields.get(name, default)
    if not isinstance(value, str):
        raise BadRequestError(f"{name} must be a string")
    try:
        value.encode()
    except UnicodeEncodeError as error:  # JSON can spell half of a surrogate pair
        raise BadRequestError(f"{name} must be valid Unicode") from error
    return value
