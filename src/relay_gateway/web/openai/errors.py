"""What went wrong, in the shape of OpenAI's API, whose clients read its fields.

For example, a model that does not exist::

    {"error": {"message": "There is no model gpt-9.", "type": "invalid_request_error",
               "param": "model", "code": "model_not_found"}}
"""

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from werkzeug.exceptions import HTTPException

if TYPE_CHECKING:
    from relay_gateway.relay.outcome import Outcome

__all__ = ["RefusedError", "error_object", "failure_object"]


class RefusedError(HTTPException):
    """A request that is refused before any model is asked."""

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        status: HTTPStatus = HTTPStatus.BAD_REQUEST,
    ) -> None:
        """Refuse with ``status``.

        Args:
            message: what to do about it; never contains what was asked.
            param: the field that is wrong, for example ``messages[0].content``.
            code: a word that programs compare.
            status: the status of the response.

        """
        super().__init__(message)
        self.code = status.value
        self.param = param
        self.word = code


#: The kinds of errors, by the status of their response; others are the server's.
_TYPES = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.FORBIDDEN: "permission_error",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error",
}
#: Words for failures of the model, by their gRPC status.
_CODES = {
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
