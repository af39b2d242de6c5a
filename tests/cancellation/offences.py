"""What neighbours do that no peer should, each a short function that a seed may choose.

Two kinds, and who must not notice them:

- an offence **of a stream** (RFC 9113 § 5.4.2): the other streams of the same connection go on;
- an offence **of a connection** (§ 5.4.1): it may end its own connection, and no other.

For example, ``data_after_the_end`` is of a stream: the stream is half-closed, DATA follows, and
RST_STREAM(STREAM_CLOSED) is right. The same DATA on a stream that never was is of a connection.
"""

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from h2.settings import SettingCodes

from harness.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    PRIORITY,
    PUSH,
    RST,
    SETTINGS,
    UPDATE,
    block,
    frame,
)
from tests.cancellation.raw_peer import Fields, RawHttp2

__all__ = [
    "CONNECTION_OFFENCES",
    "ENDING_REQUESTS",
    "ENDING_RESPONSES",
    "GRPC_OFFENCES",
    "HTTP1_BYTES",
    "MALFORMED_REQUESTS",
    "NOISE",
    "RESPONSE_OFFENCES",
    "STREAM_OFFENCES",
    "ConnectionOffence",
    "Request",
    "RequestOffence",
    "ResponseOffence",
]

_KIB = 1024
_MAX_WINDOW = 2**31 - 1
_ODD_CODES = (0, 1, 3, 8, 11, 13, 14, 0xFFFF_FFFF)
_LONG_SIZES = (9_000, 20_000, 70_000)
#: More than peers allow at once, and so little that a run is short.
_FLOOD = (50, 400, 1500)


@dataclass(frozen=True)
class Request:
    """A request that would be right, for an offence to spoil."""

    fields: Fields
    body: bytes = b""

    def without(self, name: str) -> Fields:
        """Leave a field out."""
        return tuple(item for item in self.fields if item[0] != name)

    def with_other(self, name: str, value: str) -> Fields:
        """Give a field another value, in its place."""
        return tuple((n, value if n == name else v) for n, v in self.fields)


RequestOffence = Callable[[RawHttp2, Request, Random], None]
ResponseOffence = Callable[[RawHttp2, int, Random], None]
ConnectionOffence = Callable[[RawHttp2, Request, Random], None]

# -- malformed fields (RFC 9113 § 8.1.1, § 8.2) ---------------------------------------------------

_MALFORMED: Fields = (
    ("key", "value "),
    ("key", " value"),
    ("key", "\tvalue\t"),
    ("key", "a\0b"),
    ("key", "a\rb"),
    ("key", "a\nb"),
    ("Key", "value"),
    ("", "value"),
    ("k y", "value"),
    ("k:y", "value"),
    ("k\x7fy", "value"),
    ("k\xe9y", "value"),
    ("key", "\xff\x80"),
    ("connection", "close"),
    ("keep-alive", "1"),
    ("proxy-connection", "close"),
    ("transfer-encoding", "chunked"),
    ("upgrade", "h2c"),
    ("te", "gzip"),
    (":late", "value"),
    (":path", "/twice"),
    (":status", "200"),
    ("content-length", "7"),
    ("content-length", "-1"),
    ("content-length", "a"),
    ("host", "another"),
)
_SPOILT: Fields = (
    (":path", ""),
    (":path", "nowhere"),
    (":path", "/\xff"),
    (":method", "GET ME"),
    (":method", "CONNECT"),
    (":method", "get"),
    (":scheme", "ftp"),
    (":authority", "user@host"),
    (":authority", "a b"),
)


def _ask(peer: RawHttp2, request: Request, fields: Fields | None = None) -> int:
    """Send a request, which may have other fields, and return its stream."""
    stream = peer.next_stream()
    fields = request.fields if fields is None else fields
    peer.send_headers(stream, fields, end=not request.body)
    if request.body:
        peer.send_data(stream, request.body, end=True)
    return stream


def malformed_field(peer: RawHttp2, request: Request, chance: Random) -> None:
    extra = chance.choice(_MALFORMED)
    peer.note(f"adds the field {extra}")
    _ask(peer, request, chance.choice([(*request.fields, extra), (extra, *request.fields)]))


def spoilt_field(peer: RawHttp2, request: Request, chance: Random) -> None:
    name, value = chance.choice(_SPOILT)
    peer.note(f"says {name} is {value!r}")
    _ask(peer, request, request.with_other(name, value))


def missing_field(peer: RawHttp2, request: Request, chance: Random) -> None:
    name, _ = chance.choice(request.fields)
    peer.note(f"leaves out {name}")
    _ask(peer, request, request.without(name))


def long_field(peer: RawHttp2, request: Request, chance: Random) -> None:
    size = chance.choice(_LONG_SIZES)
    peer.note(f"sends a field of {size} characters")
    _ask(peer, request, (*request.fields, (chance.choice(["key", "te", "user-agent"]), "x" * size)))


def many_fields(peer: RawHttp2, request: Request, chance: Random) -> None:
    number = chance.choice([150, 1_100])
    peer.note(f"sends {number} fields")
    _ask(peer, request, request.fields + tuple((f"k{n}", "v" * 20) for n in range(number)))


def malformed_trailers(peer: RawHttp2, request: Request, chance: Random) -> None:
    stream = peer.next_stream()
    peer.send_headers(stream, request.fields)
    trailers = chance.choice([(("key", "value "),), ((":path", "/"),), (("Key", "value"),), ()])
    peer.note(f"sends the trailers {trailers}")
    peer.send_headers(stream, trailers, end=chance.random() < 0.8)


# -- frames that do not fit the stream's state (§ 5.1) --------------------------------------------


def data_after_the_end(peer: RawHttp2, request: Request, chance: Random) -> None:
    stream = _ask(peer, request)
    for _ in range(chance.choice([1, 3])):
        peer.send_data(stream, b"x" * chance.choice([0, 1, 1_000]), end=chance.random() < 0.3)


def headers_after_the_end(peer: RawHttp2, request: Request, chance: Random) -> None:
    stream = _ask(peer, request)
    peer.send_headers(stream, request.fields, end=chance.random() < 0.5)


def window_overflow(peer: RawHttp2, request: Request, chance: Random) -> None:
    stream = _ask(peer, request)
    for _ in range(chance.choice([1, 2])):
        peer.open_window(stream, _MAX_WINDOW)


def window_of_nothing(peer: RawHttp2, request: Request, _chance: Random) -> None:
    peer.open_window(_ask(peer, request), 0)


def reset_at_once(peer: RawHttp2, request: Request, chance: Random) -> None:
    for _ in range(chance.choice([1, 10])):
        peer.reset_stream(_ask(peer, request), chance.choice(_ODD_CODES))


def frames_after_reset(peer: RawHttp2, request: Request, chance: Random) -> None:
    stream = _ask(peer, request)
    peer.reset_stream(stream, chance.choice(_ODD_CODES))
    peer.open_window(stream, 1)
    peer.send(PRIORITY, 0, stream, b"\0\0\0\0\1")


def depends_on_itself(peer: RawHttp2, request: Request, _chance: Random) -> None:
    stream = _ask(peer, request)
    peer.send(PRIORITY, 0, stream, stream.to_bytes(4) + b"\1")


def does_not_take_its_answer(peer: RawHttp2, request: Request, chance: Random) -> None:
    """Leave the stream's window shut; the rest of the connection is read."""
    stream = _ask(peer, request)
    if chance.random() < 0.5:
        peer.reset_stream(stream, chance.choice(_ODD_CODES))  # after all


def half_a_request(peer: RawHttp2, request: Request, chance: Random) -> None:
    stream = peer.next_stream()
    peer.send_headers(stream, request.fields)
    if request.body:
        peer.send_data(stream, request.body[: chance.randint(0, len(request.body))])


def a_few_empty_frames(peer: RawHttp2, request: Request, chance: Random) -> None:
    stream = peer.next_stream()
    peer.send_headers(stream, request.fields)
    for _ in range(20):
        peer.send_data(stream, b"")
    peer.send(chance.choice([11, 0x20, 0xFF]), 0xFF, stream, b"?" * chance.choice([0, 100]))


STREAM_OFFENCES: tuple[RequestOffence, ...] = (
    data_after_the_end,
    headers_after_the_end,
    window_overflow,
    reset_at_once,
    frames_after_reset,
    does_not_take_its_answer,
    half_a_request,
    a_few_empty_frames,
)
#: Malformed messages (RFC 9113 § 8.1.1), for which h2 alone would end the connection.
MALFORMED_REQUESTS: tuple[RequestOffence, ...] = (
    malformed_field,
    malformed_field,
    malformed_field,
    spoilt_field,
    missing_field,
    long_field,
    many_fields,
    malformed_trailers,
)
#: Of a stream, but h2 ends the connection for each of these.
ENDING_REQUESTS: tuple[RequestOffence, ...] = (
    window_of_nothing,
    depends_on_itself,
)

# -- what is wrong for gRPC only ------------------------------------------------------------------


def _framed(body: bytes, *, flag: int = 0, size: int | None = None) -> bytes:
    return bytes([flag]) + (len(body) if size is None else size).to_bytes(4) + body


def bad_framing(peer: RawHttp2, request: Request, chance: Random) -> None:
    body = chance.choice(
        [
            b"",
            request.body[:3],
            request.body[:-1],
            request.body * 2,
            _framed(b"x", flag=7),
            _framed(b"x", flag=1),
            _framed(b"x", size=0xFFFF_FFFF),
            _framed(b"") * 100,
            _framed(b"x" * 100 * _KIB),
        ]
    )
    peer.note(f"sends the body {body[:20]!r} of {len(body)} bytes")
    _ask(peer, Request(request.fields, body))


def bad_message(peer: RawHttp2, request: Request, chance: Random) -> None:
    message = chance.choice(
        [b"\xff", b"\x0a\xff", b"\x08\x01", b"\x0a\x02\xff\xfe", b"\x0b" * 2_000, b"\0\0"]
    )
    _ask(peer, Request(request.fields, _framed(message)))


def bomb(peer: RawHttp2, request: Request, chance: Random) -> None:
    squeezed = gzip.compress(b"\0" * chance.choice([100, 3_000, 8_000]) * _KIB, mtime=0)
    spoilt = chance.choice([squeezed, squeezed[:-9], b"no gzip"])
    fields = (*request.fields, ("grpc-encoding", "gzip"))
    _ask(peer, Request(fields, _framed(spoilt, flag=1)))


def bad_grpc_field(peer: RawHttp2, request: Request, chance: Random) -> None:
    extra = chance.choice(
        [
            ("grpc-encoding", "snappy"),
            ("grpc-encoding", "x" * 60_000),
            ("grpc-timeout", "-1S"),
            ("grpc-timeout", "99999999999H"),
            ("grpc-timeout", "0n"),
            ("key-bin", "a"),
            ("key-bin", "\xff"),
            ("grpc-accept-encoding", "," * 1_000),
            ("grpc-status", "13"),
        ]
    )
    peer.note(f"adds the field {extra[0]}: {extra[1][:20]!r}")
    _ask(peer, Request((*request.fields, extra), request.body))


def spoilt_grpc_field(peer: RawHttp2, request: Request, chance: Random) -> None:
    name, value = chance.choice(
        [
            (":path", "/ai.AIService/Nothing"),
            (":path", "/"),
            (":method", "GET"),
            ("content-type", "text/html"),
            ("content-type", "application/grpc+json"),
            ("content-type", "application/grpc" + "x" * 5_000),
        ]
    )
    peer.note(f"says {name} is {value[:30]!r}")
    _ask(peer, Request(request.with_other(name, value), request.body))


GRPC_OFFENCES: tuple[RequestOffence, ...] = (
    bad_framing,
    bad_message,
    bomb,
    bad_grpc_field,
    spoilt_grpc_field,
)

# -- answers of a model that are wrong ------------------------------------------------------------

_OK: Fields = ((":status", "200"), ("content-type", "application/grpc"))
_TRAILERS: Fields = (("grpc-status", "0"), ("grpc-message", ""))
#: A token, "x".
_TOKEN = _framed(b"\x0a\x01x")


def bad_response_headers(peer: RawHttp2, stream: int, chance: Random) -> None:
    fields = chance.choice(
        [
            (),
            _OK[1:],
            ((":status", "abc"), *_OK[1:]),
            ((":status", "404"), *_OK[1:]),
            ((":status", "99"), *_OK[1:]),
            ((":status", "200"), ("content-type", "text/html")),
            ((":status", "200"),),
            (*_OK, chance.choice(_MALFORMED)),
            (chance.choice(_MALFORMED), *_OK),
            (*_OK, ("grpc-encoding", chance.choice(["snappy", "x" * 60_000]))),
            (*_OK, ("key", "x" * chance.choice(_LONG_SIZES))),
            (*_OK, *((f"k{n}", "v" * 20) for n in range(1_100))),
            (*_OK, ("key-bin", "a")),
        ]
    )
    peer.note(f"answers {str(fields)[:120]}")
    is_all = chance.random() < 0.3
    peer.send_headers(stream, fields, end=is_all)
    if not is_all:  # a frame after both sides' ends is an offence of the connection (§ 5.1)
        peer.send_data(stream, _TOKEN)
        peer.send_headers(stream, _TRAILERS, end=True)


def bad_trailers(peer: RawHttp2, stream: int, chance: Random) -> None:
    trailers, end = chance.choice(
        [
            ((), True),
            ((("grpc-status", "x"),), True),
            ((("grpc-status", "99"), ("grpc-message", "%zz%")), True),
            ((("grpc-status", "13"), ("grpc-message", "x" * 70_000)), True),
            ((("grpc-status", "13"), ("grpc-status-details-bin", "a")), True),
            ((*_TRAILERS, chance.choice(_MALFORMED)), True),
            ((*_TRAILERS, ("key", "x" * chance.choice(_LONG_SIZES))), True),
            ((*_OK, *_TRAILERS), True),
            (_TRAILERS, False),
        ]
    )
    peer.note(f"ends with {str(trailers)[:120]}{'' if end else ', without END_STREAM'}")
    peer.send_headers(stream, _OK)
    peer.send_data(stream, _TOKEN)
    peer.send_headers(stream, trailers, end=end)


def bad_response_body(peer: RawHttp2, stream: int, chance: Random) -> None:
    body = chance.choice(
        [
            _TOKEN[:3],
            _TOKEN[:-1],
            _framed(b"x", flag=9),
            _framed(b"x", flag=1),
            _framed(b"x", size=0xFFFF_FFFF),
            _framed(b"\xff"),
            _framed(b"\x0a\xff"),
            _framed(b"\x0a\x02\xff\xfe"),
            _TOKEN * 1_000,
        ]
    )
    peer.note(f"answers with the body {body[:20]!r} of {len(body)} bytes")
    peer.send_headers(stream, _OK)
    if chance.random() < 0.3:
        peer.send_data(stream, body, end=True)
    else:
        peer.send_data(stream, body)
        peer.send_headers(stream, _TRAILERS, end=True)


def bomb_in_response(peer: RawHttp2, stream: int, chance: Random) -> None:
    squeezed = gzip.compress(b"\0" * chance.choice([100, 8_000]) * _KIB, mtime=0)
    peer.send_headers(stream, (*_OK, ("grpc-encoding", "gzip")))
    peer.send_data(stream, _framed(squeezed, flag=1))
    peer.send_headers(stream, _TRAILERS, end=True)


def reset_with_a_code(peer: RawHttp2, stream: int, chance: Random) -> None:
    code = chance.choice(_ODD_CODES)
    peer.note(f"resets {stream} with {code}")
    if chance.random() < 0.5:
        peer.send_headers(stream, _OK)
        peer.send_data(stream, _TOKEN)
    peer.reset_stream(stream, code)
    peer.send_data(stream, b"late")


def data_first(peer: RawHttp2, stream: int, _chance: Random) -> None:
    peer.send_data(stream, _TOKEN)
    peer.send_headers(stream, _OK)


def wrong_length(peer: RawHttp2, stream: int, chance: Random) -> None:
    length = str(chance.choice([0, 1, 10_000]))
    peer.send_headers(stream, (*_OK, ("content-length", length)))
    peer.send_data(stream, _TOKEN)
    peer.send_headers(stream, _TRAILERS, end=True)


def bad_window(peer: RawHttp2, stream: int, chance: Random) -> None:
    peer.send_headers(stream, _OK)
    peer.open_window(stream, chance.choice([0, _MAX_WINDOW]))
    peer.send_data(stream, _TOKEN)


def too_many_informational(peer: RawHttp2, stream: int, _chance: Random) -> None:
    for _ in range(20):
        peer.send_headers(stream, ((":status", "103"), ("link", "</x>")))
    peer.send_headers(stream, _OK)
    peer.send_headers(stream, _OK)


def nothing(_peer: RawHttp2, _stream: int, _chance: Random) -> None:
    """Never answer."""


def odd_grpc_headers(peer: RawHttp2, stream: int, chance: Random) -> None:
    fields = chance.choice(
        [
            ((":status", "404"), *_OK[1:]),
            ((":status", "200"), ("content-type", "text/html")),
            ((":status", "200"),),
            (*_OK, ("grpc-encoding", chance.choice(["snappy", "x" * 60_000]))),
            (*_OK, ("key", "x" * 20_000)),
            (*_OK, ("key-bin", "a")),
        ]
    )
    peer.note(f"answers {str(fields)[:120]}")
    peer.send_headers(stream, fields)
    peer.send_data(stream, _TOKEN)
    peer.send_headers(stream, _TRAILERS, end=True)


def odd_grpc_trailers(peer: RawHttp2, stream: int, chance: Random) -> None:
    trailers = chance.choice(
        [
            (),
            (("grpc-status", "x"),),
            (("grpc-status", "99"), ("grpc-message", "%zz%")),
            (("grpc-status", "13"), ("grpc-message", "x" * 60_000)),
            (("grpc-status", "13"), ("grpc-status-details-bin", "a")),
            (*_TRAILERS, ("key", "x" * 20_000)),
        ]
    )
    peer.note(f"ends with {str(trailers)[:120]}")
    if chance.random() < 0.7:
        peer.send_headers(stream, _OK)
        peer.send_data(stream, _TOKEN)
        peer.send_headers(stream, trailers, end=True)
    else:
        peer.send_headers(stream, (*_OK, *trailers), end=True)


RESPONSE_OFFENCES: tuple[ResponseOffence, ...] = (
    odd_grpc_headers,
    odd_grpc_headers,
    odd_grpc_trailers,
    odd_grpc_trailers,
    bad_response_body,
    bad_response_body,
    bomb_in_response,
    reset_with_a_code,
    nothing,
    bad_response_headers,
    bad_response_headers,
    bad_trailers,
    bad_trailers,
    data_first,
    wrong_length,
    too_many_informational,
)
#: Of a stream, but h2 ends the connection for each of these.
ENDING_RESPONSES: tuple[ResponseOffence, ...] = (bad_window,)

# -- offences of a connection ---------------------------------------------------------------------


def flood(peer: RawHttp2, request: Request, chance: Random) -> None:
    stream = _ask(peer, request)
    name, data = chance.choice(
        [
            ("PING", frame(PING, 0, 0, b"12345678")),
            ("PING ACK", frame(PING, 1, 0, b"12345678")),
            ("SETTINGS", frame(SETTINGS, 0, 0, b"")),
            ("SETTINGS ACK", frame(SETTINGS, 1, 0, b"")),
            ("PRIORITY", frame(PRIORITY, 0, stream + 2, b"\0\0\0\0\1")),
            ("WINDOW_UPDATE", frame(UPDATE, 0, 0, b"\0\0\0\1")),
            ("WINDOW_UPDATE of a stream", frame(UPDATE, 0, stream, b"\0\0\0\1")),
            ("unknown frames", frame(0xFA, 0, 0, b"")),
            ("CONTINUATION", frame(CONTINUATION, 0, stream, b"")),
            ("RST_STREAM", frame(RST, 0, stream, b"\0\0\0\x08")),
        ]
    )
    number = chance.choice(_FLOOD)
    peer.note(f"floods with {number} {name}")
    peer.put(data * number)


def flood_of_data(peer: RawHttp2, request: Request, chance: Random) -> None:
    stream = peer.next_stream()
    number, size = chance.choice(_FLOOD), chance.choice([0, 0, 1])
    peer.note(f"floods with {number} DATA of {size} bytes")
    peer.send_headers(stream, request.fields)
    for _ in range(number):
        peer.send(DATA, 0, stream, b"x" * size)


def rapid_resets(peer: RawHttp2, request: Request, chance: Random) -> None:
    number = chance.choice([50, 400])
    how = chance.choice(["RST_STREAM", "an overflowing window", "malformed fields", "no reset"])
    peer.note(f"makes {number} requests with {how}")
    for _ in range(number):
        extra = (("key", "a\0b"),) * (how == "malformed fields")
        stream = _ask(peer, request, request.fields + extra)
        if how == "RST_STREAM":
            peer.reset_stream(stream, 8)
        elif how == "an overflowing window":
            peer.open_window(stream, _MAX_WINDOW)


def header_bomb(peer: RawHttp2, request: Request, chance: Random) -> None:
    """Name one long field by its index, many times over (RFC 7541 § 6.1)."""
    number = chance.choice([1_000, 4_000])
    peer.note(f"names a field of 3,000 characters {number} times")
    entry = b"\x40" + block(("key", "x" * 3_000))[1:]
    data = block(*request.fields) + entry + b"\xbe" * number
    peer.send(HEADERS, END_HEADERS | END_STREAM, peer.next_stream(), data)


def endless_headers(peer: RawHttp2, request: Request, chance: Random) -> None:
    stream = peer.next_stream()
    peer.send(HEADERS, 0, stream, block(*request.fields))
    part = frame(CONTINUATION, 0, stream, block(("key", "x" * 8_000)))
    peer.put(part * chance.choice([2, 30, 200]))


def nonsense(peer: RawHttp2, request: Request, chance: Random) -> None:
    stream = _ask(peer, request)
    name, data = chance.choice(
        [
            ("HPACK without an end", frame(HEADERS, 5, stream + 2, b"\xff" * 6)),
            ("HPACK of an unknown index", frame(HEADERS, 5, stream + 2, b"\xfe")),
            ("a table that is too large", frame(HEADERS, 5, stream + 2, b"\x3f\xe1\xff\xff\x7f")),
            ("CONTINUATION of nothing", frame(CONTINUATION, 4, stream, b"")),
            ("HEADERS within HEADERS", frame(HEADERS, 1, stream + 2, b"") * 2),
            ("a frame that is too large", frame(DATA, 0, stream, b"", 1 << 20)),
            ("DATA on stream 0", frame(DATA, 0, 0, b"x")),
            ("HEADERS on stream 0", frame(HEADERS, 5, 0, block(*request.fields))),
            ("HEADERS on an even stream", frame(HEADERS, 5, 2, block(*request.fields))),
            ("DATA on a stream that never was", frame(DATA, 0, 999, b"x")),
            ("RST_STREAM of a stream that never was", frame(RST, 0, 999, b"\0\0\0\0")),
            ("WINDOW_UPDATE of a stream that never was", frame(UPDATE, 0, 999, b"\0\0\0\1")),
            ("RST_STREAM of 3 bytes", frame(RST, 0, stream, b"\0\0\0")),
            ("PRIORITY of 4 bytes", frame(PRIORITY, 0, stream, b"\0\0\0\0")),
            ("PING of 7 bytes", frame(PING, 0, 0, b"1234567")),
            ("SETTINGS of 5 bytes", frame(SETTINGS, 0, 0, b"12345")),
            ("SETTINGS on a stream", frame(SETTINGS, 0, stream, b"")),
            ("a window of SETTINGS that is too large", _settings(4, 2**31)),
            ("a frame size of 1", _settings(SettingCodes.MAX_FRAME_SIZE, 1)),
            ("ENABLE_PUSH of 2", _settings(SettingCodes.ENABLE_PUSH, 2)),
            ("PUSH_PROMISE", frame(PUSH, 4, stream, b"\0\0\0\2" + block(*request.fields))),
            ("a window that overflows", frame(UPDATE, 0, 0, _MAX_WINDOW.to_bytes(4))),
            ("a window of nothing", frame(UPDATE, 0, 0, b"\0\0\0\0")),
            ("padding of more than there is", frame(DATA, 8, stream, b"\xffx")),
            ("GOAWAY", frame(GOAWAY, 0, 0, b"\0" * 8)),
            ("GOAWAY of 3 bytes", frame(GOAWAY, 0, 0, b"\0" * 3)),
            ("noise", chance.randbytes(200)),
        ]
    )
    peer.note(f"sends {name}")
    peer.put(data)


def settings_that_hurt(peer: RawHttp2, request: Request, chance: Random) -> None:
    """Ask for what is allowed and costs the other side something."""
    code, value = chance.choice(
        [
            (SettingCodes.HEADER_TABLE_SIZE, 2**32 - 1),
            (SettingCodes.HEADER_TABLE_SIZE, 0),
            (SettingCodes.INITIAL_WINDOW_SIZE, 0),
            (SettingCodes.INITIAL_WINDOW_SIZE, 1),
            (SettingCodes.MAX_FRAME_SIZE, 2**24 - 1),
            (SettingCodes.MAX_HEADER_LIST_SIZE, 0),
            (SettingCodes.MAX_HEADER_LIST_SIZE, 100),
            (SettingCodes.MAX_CONCURRENT_STREAMS, 0),
        ]
    )
    peer.note(f"sets {code.name} to {value}")
    peer.put(_settings(code, value))
    for _ in range(5):
        _ask(peer, request)


def more_than_all_windows(peer: RawHttp2, request: Request, _chance: Random) -> None:
    stream = peer.next_stream()
    peer.send_headers(stream, request.fields)
    peer.send_data(stream, b"\0" * 200_000)


def reads_nothing(peer: RawHttp2, request: Request, chance: Random) -> None:
    peer.is_polite = False
    for _ in range(chance.choice([1, 20])):
        _ask(peer, request)
    if chance.random() < 0.5:
        peer.pause()
    peer.put(frame(PING, 0, 0, b"12345678") * chance.choice([0, 100]))


def _settings(code: int, value: int) -> bytes:
    return frame(SETTINGS, 0, 0, code.to_bytes(2) + value.to_bytes(4))


CONNECTION_OFFENCES: tuple[ConnectionOffence, ...] = (
    flood,
    flood,
    flood,
    flood_of_data,
    rapid_resets,
    rapid_resets,
    header_bomb,
    endless_headers,
    nonsense,
    nonsense,
    nonsense,
    settings_that_hurt,
    more_than_all_windows,
    reads_nothing,
)

# -- bytes that are no HTTP/2, or no HTTP at all --------------------------------------------------

NOISE: tuple[bytes, ...] = (
    b"",
    PREFACE[:10],
    PREFACE,
    PREFACE + frame(PING, 0, 0, b"12345678"),
    PREFACE + frame(SETTINGS, 0, 0, b"")[:7],
    PREFACE.replace(b"SM", b"XX") + b"\0" * 100,
    b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 300,  # TLS's ClientHello
    b"\0" * 1_000,
    b"\xff" * 70_000,
    b"SSH-2.0-OpenSSH_9.6\r\n",
)
_GET = b"GET /api/ai/stream?prompt=hi&session_id=rude HTTP/1.1\r\nhost: x\r\n"
_UPGRADE = _GET + b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\n"
_POST = b"POST /api/ai/stream HTTP/1.1\r\nhost: x\r\n"
#: None is for the page at `/`: a thread reads it, and no seed decides how long that takes.
HTTP1_BYTES: tuple[bytes, ...] = (
    *NOISE,
    _GET + b"\r\n",
    _GET[:40],
    _GET,
    _GET + b"\r\n" + _GET,
    (_GET + b"\r\n") * 20,
    (_GET + b"\r\n") * 300,
    _GET + b"key : value\r\n\r\n",
    _GET + b"key\r\n\r\n",
    _GET + b" folded\r\n\r\n",
    _GET + b"key: a\0b\r\n\r\n",
    _GET + b"key: \xff\xfe\r\n\r\n",
    _GET + b"host: y\r\n\r\n",
    _GET + b"k\xe9y: value\r\n\r\n",
    _GET + b"key: " + b"x" * 20_000 + b"\r\n\r\n",
    _GET + b"key: " + b"x" * 200_000,
    _GET + b"k: v\r\n" * 5_000 + b"\r\n",
    _GET + b"content-length: 10\r\n\r\nabc",
    _GET + b"content-length: -1\r\n\r\n",
    _GET + b"content-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
    _GET + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    _GET + b"transfer-encoding: gzip\r\n\r\n",
    _GET + b"expect: 100-continue\r\ncontent-length: 5\r\n\r\n",
    _UPGRADE + b"http2-settings: AAMAAABk\r\n\r\n",
    _UPGRADE + b"http2-settings: !!\r\n\r\n",
    _GET + b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
    b"sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\n\r\n",
    b"GET /healthz HTTP/9.9\r\nhost: x\r\n\r\n",
    b"GET http://[::1 HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET /api/ai/stream?prompt=%ff%00&session_id=%zz HTTP/1.1\r\nhost: x\r\n\r\n",
    b"CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n",
    _POST + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
    _POST + b"transfer-encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 2_000,
    _POST + b"content-length: 99999999999\r\n\r\n{",
    _POST + b"content-length: 100000\r\n\r\n" + b"x" * 100_000,
    b"\r\n" * 1_000,
)
