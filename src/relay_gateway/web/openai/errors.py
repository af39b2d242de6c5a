"""What went wrong, in the shape of OpenAI's API, whose clients read its fields.

For example, a model that does not exist::

    {"error": {"message": "There is no model gpt-9.", "type": "invalid_request_error",
               "param": "model", "code": "model_not_found"}}
"""

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from relay_gateway.relay.outcome import Outcome

__all__ = ["error_object", "failure_object"]


#: The kinds of errors, by the status of their response; others are the server's.
_TYPES = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.FORBIDDEN: "permission_error",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error",
}
#: Words for failures of the model, by their gRPC status; others are called by their cause.
_CODES = {
    "INVALID_ARGUMENT": None,  # the request is wrong, and `param` says where
    "NOT_FOUND": "model_not_found",
    "RESOURCE_EXHAUSTED": "rate_limit_exceeded",
    "DEADLINE_EXCEEDED": "timeout",
}


def error_object(
    status: int, message: str, *, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """Return the JSON of an error."""
    client = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
    kind = _TYPES.get(HTTPStatus(status), "invalid_request_error" if client else "server_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def failure_object(failure: "Outcome", status: int) -> dict[str, Any]:
    """Return the JSON of a model's failure."""
    code = _CODES.get(failure.code, failure.cause.value)
    return error_object(status, failure.message, param=failure.field, code=code)
