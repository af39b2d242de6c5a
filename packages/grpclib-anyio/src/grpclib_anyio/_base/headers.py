"""Headers of a gRPC call: grpclib's metadata encoding, and what a transport adds to it.

For example, ``encode_timeout(1.5)`` is ``"1500000u"``, and ``is_content_type`` finds that
``application/grpc`` is what a protobuf codec reads.
"""

from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

from grpclib.encoding.base import GRPC_CONTENT_TYPE, CodecBase
from grpclib.encoding.proto import ProtoCodec
from grpclib.metadata import decode_metadata as grpclib_decode_metadata
from grpclib.metadata import encode_grpc_message, encode_metadata
from multidict import MultiDict

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "MAX_TIMEOUT",
    "Headers",
    "Metadata",
    "content_type",
    "cut_grpc_message",
    "decode_metadata",
    "encode_metadata",
    "encode_timeout",
    "header_list_size",
    "is_content_type",
    "quote",
]

#: As they are on the wire, in their order.
Headers = list[tuple[str, str]]
Metadata = MultiDict[str | bytes]

#: Characters of a peer's header that a message quotes: enough for each value that means anything.
_MAX_QUOTED = 100
#: RFC 9113 § 6.5.2: what a header counts besides its bytes.
_FIELD_OVERHEAD = 32
#: Of a byte that is percent-encoded.
_HEX_DIGITS = 2
#: gRPC PROTOCOL-HTTP2, Timeout: a positive integer of at most 8 digits.
_MAX_TIMEOUT_VALUE = 99_999_999
_NANOSECONDS_OF_UNIT = {
    "n": 1,
    "u": 1_000,
    "m": 1_000_000,
    "S": 1_000_000_000,
    "M": 60_000_000_000,
    "H": 3_600_000_000_000,
}
#: Seconds, the longest timeout that can be said: 99,999,999 hours.
MAX_TIMEOUT = _MAX_TIMEOUT_VALUE * 3_600


def encode_timeout(seconds: float) -> str:
    """Encode a timeout in the finest unit in which 8 digits hold it, rounded up."""
    nanoseconds = max(1, round(seconds * 1e9))
    for unit, size in _NANOSECONDS_OF_UNIT.items():
        value = -(-nanoseconds // size)
        if value <= _MAX_TIMEOUT_VALUE:
            return f"{value}{unit}"
    return f"{_MAX_TIMEOUT_VALUE}H"


def header_list_size(headers: Headers) -> int:
    """Return the bytes that a peer counts for ``headers`` (RFC 9113 § 6.5.2)."""
    return sum(_FIELD_OVERHEAD + _byte_count(name) + _byte_count(value) for name, value in headers)


def _byte_count(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def cut_grpc_message(encoded: str, size: int) -> str:
    """Return the beginning of a ``grpc-message`` that takes ``size`` bytes, in whole characters."""
    start = encoded[:size]
    head, percent, digits = start.rpartition("%")
    if percent and len(digits) < _HEX_DIGITS:
        start = head
    return encode_grpc_message(unquote(start, errors="ignore"))


def quote(value: str) -> str:
    """Quote what a peer has said, and no more than 100 characters of it, for an answer to it."""
    return repr(value if len(value) <= _MAX_QUOTED else f"{value[:_MAX_QUOTED]}…")


def decode_metadata(headers: list[tuple[str, str]]) -> Metadata:
    """Return the custom metadata among ``headers``; binary values as bytes.

    Raises:
        ValueError: a value of a ``-bin`` key is not base64.

    """
    decode = cast("Callable[[Any], Metadata]", grpclib_decode_metadata)
    return decode(headers)


def content_type(codec: CodecBase) -> str:
    """Return the content type of requests in ``codec``'s encoding."""
    subtype = codec.__content_subtype__
    return GRPC_CONTENT_TYPE if subtype == "proto" else f"{GRPC_CONTENT_TYPE}+{subtype}"


def is_content_type(value: str, codec: CodecBase) -> bool:
    """Return whether a peer's content type is gRPC in ``codec``'s encoding."""
    base, _, subtype = value.partition(";")[0].strip().partition("+")
    return base == GRPC_CONTENT_TYPE and (
        (subtype or ProtoCodec.__content_subtype__) == codec.__content_subtype__
    )
