"""What went wrong, as a problem document (RFC 9457): the errors of ``/api/``.

For example::

    {"type": "about:blank", "title": "Bad Request", "status": 400,
     "detail": "prompt is required", "field": "prompt"}
"""

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from quart import Response

from relay_gateway.web.failure import headers_of, status_of

if TYPE_CHECKING:
    from werkzeug.exceptions import HTTPException

    from relay_gateway.relay.outcome import Outcome

__all__ = ["problem_of_failure", "problem_of_refusal"]


def problem_of_refusal(error: "HTTPException") -> Response:
    """Say why a request was refused; also for what Quart itself refuses."""
    status = HTTPStatus(error.code or HTTPStatus.INTERNAL_SERVER_ERROR)
    headers = {n: value for n, value in error.get_headers() if n.lower() != "content-type"}
    members = {"field": getattr(error, "param", None), "code": getattr(error, "word", None)}
    return _problem(status, error.description or error.name, members, headers)


def problem_of_failure(failure: "Outcome") -> Response:
    """Say how an answer failed before its first token."""
    members = {"field": failure.field, "code": failure.code, "cause": failure.cause.value}
    return _problem(status_of(failure), failure.message, members, headers_of(failure))


def _problem(
    status: HTTPStatus, detail: str, members: dict[str, Any], headers: dict[str, str]
) -> Response:
    given = {name: value for name, value in members.items() if value is not None}
    problem = {"type": "about:blank", "title": status.phrase, "status": status, "detail": detail}
    body = json.dumps({**problem, **given}, ensure_ascii=False)
    return Response(body, status, {"Content-Type": "application/problem+json", **headers})
