"""HTTP/2 error codes and gRPC statuses, each in terms of the other.

However the transport ends a call, the error is a :class:`grpclib.GRPCError`, so that a caller needs
one ``except``. Two subclasses also derive from what grpclib itself raises in the same place, so
that code written for grpclib keeps working. For example, RST_STREAM(REFUSED_STREAM) from the peer
becomes ``UnprocessedError`` with UNAVAILABLE. It is a ``TerminatedError``, and therefore both a
``GRPCError`` and grpclib's ``StreamTerminatedError``.
"""

import http
from collections.abc import Mapping
from types import MappingProxyType

from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError
from h2.errors import ErrorCodes

from grpclib_anyio._base.headers import quote

__all__ = [
    "DeadlineExceededError",
    "GRPCError",
    "TerminatedError",
    "UnprocessedError",
    "http_status_error",
    "reset_error",
]

#: gRPC PROTOCOL-HTTP2, "Errors": what an RST_STREAM (or GOAWAY) code means to a caller.
#: A code that is not listed is UNKNOWN.
STATUS_OF_CODE: Mapping[int, Status] = MappingProxyType(
    {
        ErrorCodes.NO_ERROR: Status.INTERNAL,
        ErrorCodes.PROTOCOL_ERROR: Status.INTERNAL,
        ErrorCodes.INTERNAL_ERROR: Status.INTERNAL,
        ErrorCodes.FLOW_CONTROL_ERROR: Status.INTERNAL,
        ErrorCodes.SETTINGS_TIMEOUT: Status.INTERNAL,
        ErrorCodes.FRAME_SIZE_ERROR: Status.INTERNAL,
        ErrorCodes.REFUSED_STREAM: Status.UNAVAILABLE,
        ErrorCodes.CANCEL: Status.CANCELLED,
        ErrorCodes.COMPRESSION_ERROR: Status.INTERNAL,
        ErrorCodes.CONNECT_ERROR: Status.INTERNAL,
        ErrorCodes.ENHANCE_YOUR_CALM: Status.RESOURCE_EXHAUSTED,
        ErrorCodes.INADEQUATE_SECURITY: Status.PERMISSION_DENIED,
    }
)

#: gRPC http-grpc-status-mapping: for a response that is not gRPC at all, such as a proxy's own.
STATUS_OF_HTTP: Mapping[int, Status] = MappingProxyType(
    {
        http.HTTPStatus.BAD_REQUEST: Status.INTERNAL,
        http.HTTPStatus.UNAUTHORIZED: Status.UNAUTHENTICATED,
        http.HTTPStatus.FORBIDDEN: Status.PERMISSION_DENIED,
        http.HTTPStatus.NOT_FOUND: Status.UNIMPLEMENTED,
        http.HTTPStatus.TOO_MANY_REQUESTS: Status.UNAVAILABLE,
        http.HTTPStatus.BAD_GATEWAY: Status.UNAVAILABLE,
        http.HTTPStatus.SERVICE_UNAVAILABLE: Status.UNAVAILABLE,
        http.HTTPStatus.GATEWAY_TIMEOUT: Status.UNAVAILABLE,
    }
)


_HTTP_STATUS_LENGTH = 3


class TerminatedError(GRPCError, StreamTerminatedError):
    """The call ended without a status from the peer: a reset, a lost connection, a bad frame."""

    def copy(self) -> "TerminatedError":
        """Return an equal error: each call raises its own, with its own traceback."""
        return type(self)(self.status, self.message, self.details)


class UnprocessedError(TerminatedError):
    """The call ended before the peer did anything for it: a retry is safe for any method.

    A channel does so once by itself, and raises this when it fails again, or when the request
    was too large to be held (``Configuration.max_retry_buffer_size``).
    """


class DeadlineExceededError(GRPCError, TimeoutError):
    """The call's deadline passed, by our own clock."""

    def __init__(self, message: str = "Deadline exceeded") -> None:
        """Build the error; its status is always DEADLINE_EXCEEDED."""
        super().__init__(Status.DEADLINE_EXCEEDED, message)


def again(error: GRPCError) -> GRPCError:
    """Return an equal error, for raising one that is kept.

    An error references by its traceback the frames that it has passed, and they reference the
    object that keeps the error. Only the garbage collector would free such a cycle.
    """
    equal = error.__class__.__new__(error.__class__, *error.args)
    vars(equal).update(vars(error))
    equal.__cause__ = error.__cause__
    return equal


def _name(code: int) -> str:
    try:
        return ErrorCodes(code).name
    except ValueError:
        return f"0x{code:x}"


def reset_error(code: int) -> TerminatedError:
    """Return what a caller is told when the peer resets its stream with ``code``."""
    status = STATUS_OF_CODE.get(code, Status.UNKNOWN)
    kind = UnprocessedError if code == ErrorCodes.REFUSED_STREAM else TerminatedError
    return kind(status, f"Stream reset by the peer: {_name(code)}")


def unprocessed(error: TerminatedError) -> UnprocessedError:
    """Return what a caller is told if its request did not reach the peer before ``error``."""
    return UnprocessedError(error.status, error.message, error.details)


def http_status_error(value: str) -> GRPCError:
    """Return what a caller is told when ``:status`` is ``value`` rather than 200."""
    # Three digits (RFC 9110 § 15): Python refuses to read thousands.
    is_code = value.isdecimal() and len(value) == _HTTP_STATUS_LENGTH
    status = STATUS_OF_HTTP.get(int(value), Status.UNKNOWN) if is_code else Status.UNKNOWN
    return GRPCError(status, f"The peer answered with HTTP status {quote(value)}")


def unavailable(message: str) -> TerminatedError:
    """Return the error of a call because it got no connection, or its connection was lost."""
    return TerminatedError(Status.UNAVAILABLE, message)


def goaway_message(code: int, detail: bytes) -> str:
    """Describe a GOAWAY frame for people; ``detail`` is its additional debug data."""
    text = detail[:100].decode("ascii", "replace")
    return f"The peer closed the connection: {_name(code)}{f' ({text})' if text else ''}"
