"""Headers of a gRPC call: grpclib's metadata encoding, and what a transport adds to it.

For example, ``encode_timeout(1.5)`` is ``"1500000u"``, and ``is_content_type`` finds that
``application/grpc`` is what a protobuf codec reads.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Collection, Mapping
from typing import Any, cast
from urllib.parse import unquote

from grpclib.encoding.base import GRPC_CONTENT_TYPE, CodecBase
from grpclib.encoding.proto import ProtoCodec
from grpclib.metadata import encode_grpc_message
from multidict import MultiDict

__all__ = [
    "MAX_TIMEOUT",
    "Headers",
    "Metadata",
    "MetadataLike",
    "content_type",
    "cut_grpc_message",
    "decode_bin_value",
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

#: What callers give: a mapping or pairs; text, or bytes for a ``-bin`` key.
MetadataLike = Mapping[str, str | bytes] | Collection[tuple[str, str | bytes]]

#: Fields of HTTP or gRPC that are nobody's metadata, besides those that begin as ``_PREFIXES``
#: say. A call that is sent on has a length and a host of its own. RFC 9113 § 8.2.2 forbids the last
#: five.
_RESERVED = frozenset(
    {
        "te",
        "content-type",
        "user-agent",
        "content-length",
        "host",
        "connection",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
    }
)
_PREFIXES = (":", "grpc-")
#: RFC 9110 § 5.6.2, a token; RFC 9113 § 8.2.1 has no upper case.
_KEY = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+")
#: RFC 9110 § 5.5: no control characters. A lone surrogate has no bytes.
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]*")
_BASE64_GROUP = 4

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


def decode_metadata(headers: Headers) -> Metadata:
    """Return the custom metadata among ``headers``; binary values as bytes.

    What is returned can be given to :func:`encode_metadata` as it is. A binary field may hold
    several values with commas in between: a proxy joins repeated fields in this way.

    Raises:
        ValueError: a value of a ``-bin`` key is not base64.

    """
    metadata: Metadata = MultiDict()
    for key, value in headers:
        if key in _RESERVED or key.startswith(_PREFIXES):
            continue
        if key.endswith("-bin"):
            for each in value.split(","):
                metadata.add(key, decode_bin_value(each))
        else:
            metadata.add(key, _text(value))
    return metadata


def decode_bin_value(value: str) -> bytes:
    """Decode base64 with or without padding; raises ``ValueError`` if it is something else."""
    digits = value.strip(" \t").rstrip("=")
    return b64decode(digits + "=" * (-len(digits) % _BASE64_GROUP), validate=True)


def _text(value: str) -> str:
    """Read as UTF-8 what was read as latin-1, if it is that, because it is sent as UTF-8."""
    if value.isascii():
        return value
    try:
        return value.encode("latin-1").decode()
    except UnicodeDecodeError:
        return value


def encode_metadata(metadata: MetadataLike) -> Headers:
    """Return metadata as headers.

    Takes what HTTP/2 carries, and not only the printable ASCII of gRPC's document, so that a relay
    can send on whatever has arrived. White space at the ends of a value is left out (RFC 9113
    § 8.2.1), as gRPC's document allows.

    Raises:
        ValueError: a key is none, or HTTP's or gRPC's own; a value has control characters.
        TypeError: a value is bytes, or for a ``-bin`` key is not.

    """
    pairs = cast("Any", metadata).items() if isinstance(metadata, Mapping) else metadata
    return [(key, _encoded(key, value)) for key, value in pairs]


def _encoded(key: str, value: str | bytes) -> str:
    if key in _RESERVED or key.startswith(_PREFIXES) or not _KEY.fullmatch(key):
        raise ValueError(f"Invalid metadata key: {key!r}")
    if isinstance(value, bytes) and key.endswith("-bin"):
        return b64encode(value).rstrip(b"=").decode("ascii")
    if not isinstance(value, str) or key.endswith("-bin"):
        due = "bytes" if key.endswith("-bin") else "str"
        raise TypeError(f"Invalid metadata value for {key}: {due} expected")
    if not _VALUE.fullmatch(value):
        raise ValueError(f"Invalid metadata value for {key}")
    return value.strip(" \t")


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
