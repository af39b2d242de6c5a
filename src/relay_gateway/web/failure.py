"""The HTTP status of an answer that failed before its first token.

For example, a model that is busy for two more seconds is 429 with ``Retry-After: 2``.
"""

from http import HTTPStatus
from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from relay_gateway.relay.outcome import Outcome

__all__ = ["headers_of", "status_of"]

#: By gRPC status; for every other one, the model has failed behind us.
_STATUSES = {
    "INVALID_ARGUMENT": HTTPStatus.BAD_REQUEST,
    "NOT_FOUND": HTTPStatus.NOT_FOUND,
    "RESOURCE_EXHAUSTED": HTTPStatus.TOO_MANY_REQUESTS,
    "UNAVAILABLE": HTTPStatus.SERVICE_UNAVAILABLE,
    "DEADLINE_EXCEEDED": HTTPStatus.GATEWAY_TIMEOUT,
}
#: These were refused before they cost anything, so they may be repeated.
_REPEATABLE = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
#: Seconds, where the model service names none.
_RETRY_AFTER = 1.0


def status_of(failure: "Outcome") -> HTTPStatus:
    """Return the status of a response that says how an answer failed."""
    return _STATUSES.get(failure.code, HTTPStatus.BAD_GATEWAY)


def headers_of(failure: "Outcome") -> dict[str, str]:
    """Return the headers that say whether, and when, to ask again.

    ``x-should-retry: false`` is for OpenAI's and Anthropic's libraries, which otherwise repeat
    every status from 500 up by themselves. An answer that took too long would be paid for twice.
    """
    if status_of(failure) not in _REPEATABLE:
        return {"x-should-retry": "false"}
    seconds = _RETRY_AFTER if failure.retry_after is None else failure.retry_after
    return {"Retry-After": str(max(1, ceil(seconds)))}
