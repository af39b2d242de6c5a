"""What a provider's failures mean to the caller, whichever of its libraries reports them.

Three kinds: the provider answered with an HTTP status (:func:`refusal`), the connection to it
failed (:func:`connection_failure`), or the answer itself is not whole (:func:`stream_aborted`,
:func:`cut_short`, :func:`malformed_response`). The sentences are for whoever asked and tell nothing of what
is behind them; the details are for the log.
"""

import math
import os
import time
from contextlib import suppress
from email.utils import mktime_tz, parsedate_tz
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from grpclib.const import Status

from relay_common.redact import Secrets
from relay_model.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "OVERLOADED",
    "ProviderError",
    "connection_failure",
    "cut_short",
    "malformed_response",
    "refusal",
    "retry_after",
    "stream_aborted",
]

OVERLOADED = 529
"""Not a registered status; several providers use it for more requests than they can serve."""

_BUSY = (Status.RESOURCE_EXHAUSTED, "The model is busy. Try again later.")
_DOWN = (Status.UNAVAILABLE, "The model cannot be reached at the moment.")
_REFUSED = (Status.INVALID_ARGUMENT, "The model did not accept the prompt.")

_MEANINGS: "Mapping[int, tuple[Status, str]]" = {
    HTTPStatus.BAD_REQUEST: _REFUSED,
    HTTPStatus.UNAUTHORIZED: (Status.UNAUTHENTICATED, "The service is not signed in to the model."),
    HTTPStatus.PAYMENT_REQUIRED: (Status.RESOURCE_EXHAUSTED, "The model is used up for now."),
    HTTPStatus.FORBIDDEN: (Status.PERMISSION_DENIED, "The service may not use this model."),
    HTTPStatus.NOT_FOUND: (Status.NOT_FOUND, "There is no such model."),
    HTTPStatus.REQUEST_TIMEOUT: _DOWN,
    HTTPStatus.CONFLICT: _DOWN,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: (Status.INVALID_ARGUMENT, "The prompt is too long."),
    HTTPStatus.UNPROCESSABLE_ENTITY: _REFUSED,
    HTTPStatus.TOO_MANY_REQUESTS: _BUSY,
    OVERLOADED: _BUSY,
}

# These say that the same request may succeed later, as does every 5xx.
_PASSING = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS}

# What a provider asks for beyond this is a mistake, or not for anyone who waits.
_LONGEST_RETRY_AFTER = 86_400.0

# Of what a provider says of a failure, which may be a page of HTML.
_LONGEST_DETAIL = 500


class ProviderError(BackendError):
    """A provider that failed.

    Attributes:
        may_retry: whether the provider has said that the same request may succeed later.

    """

    def __init__(
        self,
        meaning: tuple[Status, str],
        detail: str,
        *,
        retry_after: float | None = None,
        may_retry: bool = False,
    ) -> None:
        """Describe a failure; no key that is in the environment gets into the detail."""
        status, message = meaning
        safe = Secrets(os.environ).hidden_in(detail)
        super().__init__(status, message, detail=safe[:_LONGEST_DETAIL], retry_after=retry_after)
        self.may_retry = may_retry


def refusal(code: int, headers: "Mapping[str, str]", detail: str) -> ProviderError:
    """Describe an answer that was refused with an HTTP status of 400 and up.

    Args:
        code: the status, or that which an error within an answer stands for.
        headers: of the response, where ``x-should-retry`` overrules the status, and
            ``retry-after-ms`` and ``retry-after`` say when.
        detail: what the provider said.

    """
    is_servers = code >= HTTPStatus.INTERNAL_SERVER_ERROR
    default = _DOWN if is_servers else (Status.INTERNAL, "The model failed.")
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
        meaning = (Status.DEADLINE_EXCEEDED, "The model did not answer in time.")
        return ProviderError(meaning, detail)
    return ProviderError(_DOWN, detail)


def stream_aborted(detail: str) -> ProviderError:
    """Describe an answer that the provider gave up, for a reason that it tells in words only."""
    return ProviderError((Status.UNAVAILABLE, "The model broke off its answer."), detail)


def cut_short() -> ProviderError:
    """Describe an answer that ended without saying that it was complete."""
    return stream_aborted("the provider ended an answer without finishing it")


def malformed_response(error: Exception) -> ProviderError:
    """Describe an answer that is not in the provider's own format."""
    meaning = (Status.INTERNAL, "The model's answer could not be read.")
    # The error itself may show what it could not read, and the answer is nobody's business.
    return ProviderError(meaning, f"not in the provider's format: {type(error).__name__}")


def retry_after(headers: "Mapping[str, str]") -> float | None:
    """Read how many seconds to wait before another try (RFC 9110 section 10.2.3), if it is said."""
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
