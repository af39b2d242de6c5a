"""What can go wrong in a backend.

For example, a provider that is overloaded::

    raise BackendError(
        Status.RESOURCE_EXHAUSTED,
        "The model is busy. Try again later.",
        detail="HTTP 529: overloaded_error",
        retry_after=20.0,
    )
"""

from grpclib.const import Status

__all__ = ["BackendError", "refused"]


class BackendError(Exception):
    """A backend that cannot answer, or that failed in the middle of an answer.

    The caller can act on the status, so each kind of failure has its own:

    ====================  =========================================================
    INVALID_ARGUMENT      the prompt is too long, or was refused
    UNAUTHENTICATED       our key is missing or wrong
    PERMISSION_DENIED     our key may not use this model
    NOT_FOUND             there is no such model
    RESOURCE_EXHAUSTED    too many requests, a quota, an overloaded provider
    UNAVAILABLE           the provider cannot be reached, is down, or ended its
                          answer early
    DEADLINE_EXCEEDED     the provider was silent for longer than it may be
    INTERNAL              anything else, for example an answer that cannot be read
    ====================  =========================================================

    Attributes:
        status: the gRPC status that the caller gets.
        message: a sentence for the caller; says nothing about the service's internals.
        detail: what an operator wants to know; only for the log. Never contains a key.
        retry_after: seconds after which a retry may succeed; None if unknown. The caller gets them
            as ``google.rpc.RetryInfo``.
        field: which field of the request is wrong, for example ``messages[2].role``; None if it is
            none of them. The caller gets it as ``google.rpc.BadRequest``, with the message, so both
            may be shown to the one who asked.

    """

    def __init__(
        self,
        status: Status,
        message: str,
        *,
        detail: str | None = None,
        retry_after: float | None = None,
        field: str | None = None,
    ) -> None:
        """Describe the failure to the caller, and in ``detail`` to the operator."""
        super().__init__(message)
        self.status = status
        self.message = message
        self.detail = detail
        self.retry_after = retry_after
        self.field = field


def refused(field: str, reason: str) -> BackendError:
    """Make the refusal of one field of a request.

    Args:
        field: which one, for example ``messages[2].role``.
        reason: what it must be, or what cannot be done with it. Never the value that it has,
            because the reason is shown to the one who asked.

    """
    return BackendError(Status.INVALID_ARGUMENT, f"{field}: {reason}", field=field)
