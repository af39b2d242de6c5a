"""Compressed messages: gzip, or none (gRPC compression document; PROTOCOL-HTTP2, Message-Encoding).

Each side says what it can read (``grpc-accept-encoding``) and how it compresses
(``grpc-encoding``). A flag before each message says whether that one is compressed. For example, a
client that compresses sends these headers, and then a message that gzip makes smaller and one that
it does not::

    grpc-encoding: gzip
    grpc-accept-encoding: identity,gzip
    01 <length> <gzip>      deflate(message)
    00 <length> <message>   deflate(message) is None

An encoding that the server does not accept ends the call with UNIMPLEMENTED, one that the client
did not offer with INTERNAL. A side need not accept gzip: ``Configuration.accepts_compression``.

To compress and to inflate is computation, and the event loop waits for it: a few hundredths of a
second for a message of 4 MiB, which is all that ``max_message_size`` lets a message inflate to by
default. What has arrived stays compressed until its call asks for it, so the HTTP/2 window bounds
the memory that it takes.
"""

import zlib
from typing import Final

from grpclib.const import Status

from grpclib_anyio._base.errors import GRPCError

__all__ = [
    "ENCODING",
    "Compressed",
    "accept_encoding",
    "accepts_gzip",
    "deflate",
    "inflate",
    "is_accepted",
]

_IDENTITY = "identity"
_GZIP = "gzip"

#: The header of a side that compresses.
ENCODING: Final = ("grpc-encoding", _GZIP)

#: zlib's name for the gzip format with the largest window.
_GZIP_FORMAT = 31
#: RFC 1952: header (10 bytes) and trailer (8); what is in between takes 2 bytes at least.
_SMALLEST_GZIP = 20


class Compressed(bytes):
    """A message as it arrived, with the flag that says that it is compressed."""

    __slots__ = ()


def accept_encoding(*, gzip: bool) -> tuple[str, str]:
    """Return the header in which a side says what it reads."""
    return "grpc-accept-encoding", f"{_IDENTITY},{_GZIP}" if gzip else _IDENTITY


def is_accepted(encoding: str, accepted: tuple[str, str]) -> bool:
    """Return whether ``encoding``, which ``grpc-encoding`` says, is in our header ``accepted``."""
    return encoding in accepted[1].split(",")


def accepts_gzip(accepted: str) -> bool:
    """Return whether gzip is among ``accepted``, the value of ``grpc-accept-encoding``."""
    return _GZIP in (name.strip() for name in accepted.split(","))


def deflate(message: bytes) -> bytes | None:
    """Compress a message, or return None if that would not make it smaller.

    As fast as zlib can, not as small: the event loop waits.
    """
    if len(message) <= _SMALLEST_GZIP:
        return None
    deflated = zlib.compress(message, zlib.Z_BEST_SPEED, wbits=_GZIP_FORMAT)
    return deflated if len(deflated) < len(message) else None


def inflate(message: Compressed, max_size: int) -> bytes:
    """Return what ``message`` was before it was compressed; at most ``max_size`` bytes.

    Raises:
        GRPCError: RESOURCE_EXHAUSTED, it would be larger, and is not inflated further; or INTERNAL,
            it is not gzip, or not whole, or more than one member, which no gRPC peer sends.

    """
    inflater = zlib.decompressobj(_GZIP_FORMAT)
    try:
        inflated = inflater.decompress(message, max_size + 1)
    except zlib.error as error:
        raise _malformed() from error
    if len(inflated) > max_size:
        text = f"Compressed message is larger than the limit of {max_size} bytes"
        raise GRPCError(Status.RESOURCE_EXHAUSTED, text)
    # Members after the first are not worth what many empty ones would cost.
    if not inflater.eof or inflater.unused_data:
        raise _malformed()
    return inflated


def _malformed() -> GRPCError:
    return GRPCError(Status.INTERNAL, "Compressed message is not gzip")
