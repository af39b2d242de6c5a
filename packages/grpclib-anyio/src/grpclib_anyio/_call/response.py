"""What a response's headers and trailers say (gRPC PROTOCOL-HTTP2, Responses)."""

from typing import Any

from grpclib.const import Status
from grpclib.encoding.base import CodecBase, StatusDetailsCodecBase
from grpclib.metadata import decode_grpc_message

from grpclib_anyio._base.errors import GRPCError, TerminatedError, http_status_error
from grpclib_anyio._base.headers import (
    Headers,
    Metadata,
    decode_bin_value,
    decode_metadata,
    is_content_type,
    quote,
)
from grpclib_anyio._stream.compression import is_accepted

__all__ = ["ResponseStatus", "check_headers", "read_metadata", "read_status"]

#: The status, its message, and its details if the codec of these knows them.
ResponseStatus = tuple[Status, str | None, Any]

_STATUSES = {str(status.value): status for status in Status}


def check_headers(fields: dict[str, str], codec: CodecBase, accepted: tuple[str, str]) -> None:
    """Raise ``GRPCError`` unless they are those of a gRPC response that we can read.

    ``accepted`` is the header that has said how it may be compressed.
    """
    if fields[":status"] != "200":
        raise http_status_error(fields[":status"])
    kind = fields.get("content-type", "")
    if not is_content_type(kind, codec):
        raise GRPCError(Status.UNKNOWN, f"The peer answered with content type {quote(kind)}")
    encoding = fields.get("grpc-encoding", "identity")
    if not is_accepted(encoding, accepted):
        raise GRPCError(Status.INTERNAL, f"The peer compresses with {quote(encoding)}, not offered")


def read_metadata(headers: Headers) -> Metadata:
    """Return the metadata among them; raises ``GRPCError`` if some cannot be decoded."""
    try:
        return decode_metadata(headers)
    except ValueError as error:
        raise GRPCError(Status.INTERNAL, "The peer sent malformed metadata") from error


def read_status(trailers: Headers, details: StatusDetailsCodecBase | None) -> ResponseStatus:
    """Return the status in the trailers.

    Raises:
        GRPCError: they have none, or none that there is. A client treats that as UNKNOWN
            (PROTOCOL-HTTP2, Responses).

    """
    fields = dict(trailers)
    status = _status([value for name, value in trailers if name == "grpc-status"])
    if status is Status.OK:
        return status, None, None
    message = fields.get("grpc-message")
    message = None if message is None else decode_grpc_message(message)
    if status is None:
        said = f"The peer sent no valid grpc-status, but {quote(fields['grpc-status'])}"
        raise GRPCError(Status.UNKNOWN, f"{said}: {message}" if message else said)
    return status, message, _read_details(status, message, fields, details)


def _status(values: list[str]) -> Status | None:
    """Return the status that all values are; None if they are none, or not one."""
    if not values:
        # As HAProxy ends the answer of a server that it has lost.
        raise TerminatedError(Status.UNKNOWN, "The peer sent no grpc-status")
    return _STATUSES.get(values[0]) if len(set(values)) == 1 else None


def _read_details(
    status: Status,
    message: str | None,
    fields: dict[str, str],
    codec: StatusDetailsCodecBase | None,
) -> Any:
    value = fields.get("grpc-status-details-bin")
    if codec is None or value is None:
        return None
    try:
        return codec.decode(status, message, decode_bin_value(value))
    except Exception:  # noqa: BLE001 - whatever a codec raises on malformed input
        return None  # The status stands without its details.
