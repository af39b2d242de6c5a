"""What a provider's failures mean to the caller, whichever library reports them.

There are three kinds of failure. The provider answered with an HTTP status (:func:`refusal`). The
connection to it failed (:func:`connection_failure`). Or the answer is not whole
(:func:`stream_aborted`, :func:`cut_short`, :func:`malformed_response`).

Each failure has a sentence for the caller that tells nothing about the provider, and a detail for
the log. For example, HTTP status 529 becomes RESOURCE_EXHAUSTED with "The model is busy. Try again
later.", and the log line has ``HTTP 529`` and what the provider said.
"""

import math
import os
import time
from contextlib import suppress
from email.utils import mktime_tz, parsedate_tz
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

from grpclib.const import Status

from relay_common.redact import Redactor
from relay_model.backends.providers.http_client import found_closed
from relay_model.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "OVERLOADED",
    "Meaning",
    "ProviderError",
    "connection_failure",
    "cut_short",
    "malformed_response",
    "refusal",
    "retry_after",
    "stream_aborted",
]

OVERLOADED = 529
"""Not a registered status; several providers answer with it when they are overloaded."""


class Meaning(NamedTuple):
    """What a failure means to the caller."""

    status: Status
    message: str
    """A sentence for the caller."""


_BUSY = Meaning(Status.RESOURCE_EXHAUSTED, "The model is busy. Try again later.")
_DOWN = Meaning(Status.UNAVAILABLE, "The model cannot be reached at the moment.")
_FAILED = Meaning(Status.INTERNAL, "The model failed.")
_FORBIDDEN = Meaning(Status.PERMISSION_DENIED, "The service may not use this model.")
_INCOMPLETE = Meaning(Status.UNAVAILABLE, "The model stopped before its answer ended.")
_NOT_FOUND = Meaning(Status.NOT_FOUND, "There is no such model.")
_NOT_SIGNED_IN = Meaning(Status.UNAUTHENTICATED, "The service is not signed in to the model.")
_QUOTA_SPENT = Meaning(Status.RESOURCE_EXHAUSTED, "The model is used up for now.")
_REFUSED = Meaning(Status.INVALID_ARGUMENT, "The model did not accept the prompt.")
_TIMED_OUT = Meaning(Status.DEADLINE_EXCEEDED, "The model did not answer in time.")
_TOO_LONG = Meaning(Status.INVALID_ARGUMENT, "The prompt is too long.")
_UNREADABLE = Meaning(Status.INTERNAL, "The model's answer could not be read.")

_MEANINGS: "Mapping[int, Meaning]" = {
    HTTPStatus.BAD_REQUEST: _REFUSED,
    HTTPStatus.UNAUTHORIZED: _NOT_SIGNED_IN,
    HTTPStatus.PAYMENT_REQUIRED: _QUOTA_SPENT,
    HTTPStatus.FORBIDDEN: _FORBIDDEN,
    HTTPStatus.NOT_FOUND: _NOT_FOUND,
    HTTPStatus.REQUEST_TIMEOUT: _DOWN,
    HTTPStatus.CONFLICT: _DOWN,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: _TOO_LONG,
    HTTPStatus.UNPROCESSABLE_ENTITY: _REFUSED,
    HTTPStatus.TOO_MANY_REQUESTS: _BUSY,
    OVERLOADED: _BUSY,
}

# With these, and with every 5xx, the same request may succeed later.
_PASSING = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS}

# Seconds. A provider that asks for a longer delay made a mistake, or no caller waits that long.
_LONGEST_RETRY_AFTER = 86_400.0

# Characters kept of what a provider says about a failure, because it may be a page of HTML.
_LONGEST_DETAIL = 500


class ProviderError(BackendError):
    """A provider that failed.

    Attributes:
        may_retry: whether the same request may succeed later.
        may_retry_at_once: whether it may succeed without a delay.

    """

    def __init__(
        self,
        meaning: Meaning,
        detail: str,
        *,
        retry_after: float | None = None,
        may_retry: bool = False,
        may_retry_at_once: bool = False,
    ) -> None:
        """Describe a failure; keys from the environment are redacted in the detail."""
        safe = Redactor(os.environ).redact(detail)[:_LONGEST_DETAIL]
        super().__init__(meaning.status, meaning.message, detail=safe, retry_after=retry_after)
        self.may_retry = may_retry or may_retry_at_once
        self.may_retry_at_once = may_retry_at_once


def refusal(code: int, headers: "Mapping[str, str]", detail: str) -> ProviderError:
    """Describe an answer that was refused with an HTTP status of 400 and up.

    Args:
        code: the status, or the status that an error within an answer corresponds to.
        headers: those of the response. ``x-should-retry`` overrules the status;
            ``retry-after-ms`` and ``retry-after`` give the delay.
        detail: what the provider said.

    """
    is_servers = code >= HTTPStatus.INTERNAL_SERVER_ERROR
    default = _DOWN if is_servers else _FAILED
    advice = headers.get("x-should-retry")
    return ProviderError(
        _MEANINGS.get(code, default),
        f"HTTP {code}: {detail}",
        retry_after=retry_after(headers),
        may_retry=advice != "false" and (advice == "true" or is_servers or code in _PASSING),
    )


def connection_failure(error: BaseException, httpx: Any) -> ProviderError | None:
    """Describe a connection that could not be made or was lost; None for any other error.

    Args:
        error: what the provider's library raised, which may wrap what its HTTP client did.
        httpx: the library of that client, ``httpx`` or its successor ``httpx2``.

    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, httpx.TransportError):
        cause = cause.__cause__
    if cause is None:
        return None
    detail = f"{type(cause).__name__}: {cause}"
    if isinstance(cause, httpx.TimeoutException) and not isinstance(cause, httpx.ConnectTimeout):
        return ProviderError(_TIMED_OUT, detail)
    return ProviderError(_DOWN, detail, may_retry_at_once=_found_closed(cause))


def _found_closed(error: Any) -> bool:
    """Say whether a connection was closed by the provider before the request was made."""
    with suppress(RuntimeError):  # of an error that is of no request
        return found_closed(error.request)
    return False


def stream_aborted(detail: str) -> ProviderError:
    """Describe an answer that the provider ended early, with a reason that is only text."""
    return ProviderError(_INCOMPLETE, detail)


def cut_short() -> ProviderError:
    """Describe an answer that ended without saying that it was complete."""
    return stream_aborted("the provider ended an answer without finishing it")


def malformed_response(error: Exception) -> ProviderError:
    """Describe an answer that is not in the provider's own format."""
    # The error's text may quote the answer, and answers are never logged.
    return ProviderError(_UNREADABLE, f"not in the provider's format: {type(error).__name__}")


def retry_after(headers: "Mapping[str, str]") -> float | None:
    """Read the seconds to wait before a retry (RFC 9110 section 10.2.3); None if none are given."""
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return min(milliseconds / 1000, _LONGEST_RETRY_AFTER)
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is None and value is not None and (date := parsedate_tz(value)) is not None:
        seconds = max(0.0, mktime_tz(date) - time.time())
    return None if seconds is None else min(seconds, _LONGEST_RETRY_AFTER)


def _number(value: str | None) -> float | None:
    with suppress(ValueError):
        number = float(value or "")
        if math.isfinite(number) and number >= 0:
            return number
    return None
