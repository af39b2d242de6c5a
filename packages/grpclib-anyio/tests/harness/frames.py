"""HTTP/2 frames and header blocks put together by hand, right or wrong.

For example, a request of which a proxy has made something malformed::

    frame(HEADERS, END_HEADERS, 1, block((":method", "POST"), ("key", "value ")))
"""

from hpack.hpack import encode_integer

__all__ = [
    "CONTINUATION",
    "DATA",
    "END_HEADERS",
    "END_STREAM",
    "GOAWAY",
    "HEADERS",
    "PING",
    "PREFACE",
    "PRIORITY",
    "PUSH",
    "RST",
    "SETTINGS",
    "UPDATE",
    "block",
    "frame",
]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS = 1, 4


def frame(
    kind: int, flags: int, stream_id: int, payload: bytes = b"", length: int | None = None
) -> bytes:
    """Put a frame together, right or wrong (RFC 9113 § 4.1)."""
    size = len(payload) if length is None else length
    head = size.to_bytes(3) + bytes((kind, flags)) + stream_id.to_bytes(4)
    return head + payload


def block(*headers: tuple[str, str]) -> bytes:
    """Encode headers as literals that leave HPACK's table alone (RFC 7541 § 6.2.2)."""
    return b"".join(b"\0" + _string(name) + _string(value) for name, value in headers)


def _string(text: str) -> bytes:
    data = text.encode("latin-1")
    return bytes(encode_integer(len(data), 7)) + data
