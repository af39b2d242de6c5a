"""What HTTP/2 asks for: each state of a stream and each frame, and frames that are malformed.

Bytes and data only, no IO, so that any endpoint can be tried. Names are from the view of the
endpoint that is tested; ``PEER`` is the test, which writes the bytes. For example::

    for case in server_cases(requests):
        for step in case.steps:             # bring a stream into the state
            write(step.data)
            let the endpoint do what ``step.then`` says, and wait until it has written all
        write(case.data)                    # the frame that is tried
        seen = outcome(frames that came, case.stream_id)
        assert seen in case.allowed         # RFC 9113 leaves a choice in some
        show by PING, and by a second stream, that the connection lives, or that it has ended

The tested stream is ``STREAM``. ``NEIGHBOUR`` is for a call that goes on while the frame is tried.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import NamedTuple

from h2.errors import ErrorCodes
from hyperframe.frame import Frame, GoAwayFrame, RstStreamFrame

from harness.frames import block, frame

__all__ = [
    "NEIGHBOUR",
    "NOTHING",
    "STREAM",
    "Case",
    "Outcome",
    "Requests",
    "Responses",
    "Side",
    "State",
    "Step",
    "Then",
    "client_cases",
    "outcome",
    "server_cases",
    "table",
]

NEIGHBOUR, STREAM = 1, 3
#: Streams that nobody has opened: the client's next, its last, and one of the server's.
_NEXT, _LATER, _PUSHED = 5, 101, 2
_MAX_WINDOW = 2**31 - 1
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
_CANCEL = struct.pack(">L", ErrorCodes.CANCEL)
_ONE = struct.pack(">L", 1)
_OVERFLOW = struct.pack(">L", _MAX_WINDOW)
#: The last stream of a GOAWAY that refuses none.
_ALL_GO_ON = struct.pack(">L", _MAX_WINDOW)
#: Bytes of a frame that no endpoint has said it takes (RFC 9113 § 4.2: 16,384 at first).
_TOO_LARGE = 2**24 - 1


class Type(IntEnum):
    """RFC 9113 § 6, and one that nobody has registered."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9
    ALTSVC = 10
    UNKNOWN = 0xBB


class Side(Enum):
    """Which endpoint is tested."""

    SERVER = "server"
    CLIENT = "client"


class State(Enum):
    """The state of the stream at the tested endpoint (RFC 9113 § 5.1)."""

    IDLE = "idle"
    OPEN = "open"
    HALF_CLOSED_REMOTE = "half-closed (remote)"
    HALF_CLOSED_LOCAL = "half-closed (local)"
    CLOSED_BY_END = "closed by END_STREAM"
    CLOSED_BY_PEER = "closed by their RST_STREAM"
    CLOSED_BY_US = "closed by our RST_STREAM"


class Then(Enum):
    """What the tested endpoint does after a step, before the next one."""

    NOTHING = "nothing"
    #: It ends its side of the stream, with END_STREAM.
    ENDS = "ends"
    #: It resets the stream.
    RESETS = "resets"


class Step(NamedTuple):
    """Bytes that the peer writes, and what the endpoint then does."""

    data: bytes
    then: Then = Then.NOTHING


class Outcome(NamedTuple):
    """What the peer sees: nothing, RST_STREAM, or GOAWAY and the end of the connection."""

    scope: str
    code: ErrorCodes | None = None

    def __str__(self) -> str:
        """Give the cell of a table."""
        return "-" if self.code is None else f"{self.scope}: {self.code.name}"


NOTHING = Outcome("nothing")


def _stream(code: ErrorCodes) -> Outcome:
    return Outcome("stream", code)


def _connection(code: ErrorCodes) -> Outcome:
    return Outcome("connection", code)


def outcome(frames: Iterable[Frame], stream_id: int = STREAM) -> Outcome:
    """Return what ``frames`` say that came after the one that was tried.

    Fails if the stream was reset more than once, or anything followed its reset.
    """
    seen = list(frames)
    of_stream = [one for one in seen if one.stream_id == stream_id]
    resets = [one for one in of_stream if isinstance(one, RstStreamFrame)]
    assert len(resets) <= 1, of_stream
    assert not resets or of_stream[-1] is resets[0], of_stream
    for one in seen:
        if isinstance(one, GoAwayFrame) and one.error_code != ErrorCodes.NO_ERROR:
            return _connection(ErrorCodes(one.error_code))
    return _stream(ErrorCodes(resets[0].error_code)) if resets else NOTHING


@dataclass(frozen=True)
class Case:
    """One frame in one state."""

    side: Side
    state: State
    #: The row of the table.
    name: str
    steps: Sequence[Step]
    data: bytes
    allowed: frozenset[Outcome]
    #: Where RFC 9113 says so.
    section: str
    #: The stream that a reset of has to be looked for.
    stream_id: int = STREAM

    @property
    def id(self) -> str:
        """Name the case, for a test."""
        return f"{self.side.value}-{self.state.value}-{self.name}"


def _headers(stream_id: int, encoded: bytes, *, end: bool) -> bytes:
    return frame(Type.HEADERS, _END_HEADERS | (_END_STREAM if end else 0), stream_id, encoded)


_TRAILERS = block(("x-trailer", "y"))


# -- states ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Requests:
    """Header blocks of requests to a server, by what it does with them.

    A block that the server has nothing for is None, and its states are left out.
    """

    #: Is not answered for as long as the test lasts, whether or not it has ended.
    waits: bytes
    #: Is answered to the end once it has ended.
    answers: bytes
    #: Is answered to the end before it has ended, and not reset then.
    answers_early: bytes | None = None


def _server_states(requests: Requests) -> Mapping[State, Sequence[Step]]:
    waits = _headers(STREAM, requests.waits, end=False)
    overflow = frame(Type.WINDOW_UPDATE, 0, STREAM, _OVERFLOW)
    states: dict[State, Sequence[Step]] = {
        State.IDLE: (),
        State.OPEN: (Step(waits),),
        State.HALF_CLOSED_REMOTE: (Step(_headers(STREAM, requests.waits, end=True)),),
        State.CLOSED_BY_END: (Step(_headers(STREAM, requests.answers, end=True), Then.ENDS),),
        State.CLOSED_BY_PEER: (Step(waits), Step(frame(Type.RST_STREAM, 0, STREAM, _CANCEL))),
        State.CLOSED_BY_US: (Step(waits), Step(overflow, Then.RESETS)),
    }
    if requests.answers_early is not None:
        early = _headers(STREAM, requests.answers_early, end=False)
        states[State.HALF_CLOSED_LOCAL] = (Step(early, Then.ENDS),)
    return states


@dataclass(frozen=True)
class Responses:
    """Header blocks that a server sends to a client. The request's HEADERS came before any step."""

    headers: bytes
    trailers: bytes


def _client_states(responses: Responses) -> Mapping[State, Sequence[Step]]:
    headers = _headers(STREAM, responses.headers, end=False)
    trailers = _headers(STREAM, responses.trailers, end=True)
    reset = frame(Type.RST_STREAM, 0, STREAM, _CANCEL)
    return {
        State.IDLE: (),
        State.OPEN: (Step(headers),),
        State.HALF_CLOSED_REMOTE: (Step(headers), Step(trailers)),
        State.HALF_CLOSED_LOCAL: (Step(headers, Then.ENDS),),
        State.CLOSED_BY_END: (Step(headers, Then.ENDS), Step(trailers)),
        State.CLOSED_BY_PEER: (Step(headers), Step(reset)),
        State.CLOSED_BY_US: (Step(headers, Then.RESETS),),
    }


# -- each frame in each state ----------------------------------------------------------------------

_PROTOCOL = frozenset({_connection(ErrorCodes.PROTOCOL_ERROR)})
_SIZE = frozenset({_connection(ErrorCodes.FRAME_SIZE_ERROR)})
_IGNORED = frozenset({NOTHING})
_STREAM_CLOSED = frozenset({_stream(ErrorCodes.STREAM_CLOSED)})
_CONNECTION_CLOSED = frozenset({_connection(ErrorCodes.STREAM_CLOSED)})
_MALFORMED = frozenset({_stream(ErrorCodes.PROTOCOL_ERROR)})
_FLOW = frozenset({_stream(ErrorCodes.FLOW_CONTROL_ERROR)})
_Allowed = frozenset[Outcome]

#: § 5.1: may be a connection error in the closed state. § 6.1: is a stream error for DATA.
_AFTER_THE_END = _STREAM_CLOSED | _CONNECTION_CLOSED
#: § 5.1: may cross the end of the stream on the wire, and may be a connection error later.
_CROSSING = _IGNORED | _CONNECTION_CLOSED

#: What is not written here is allowed as in ``None``.
_RULES: Mapping[Type, tuple[str, Mapping[State | None, _Allowed]]] = {
    Type.DATA: (
        "§ 6.1",
        {
            State.IDLE: _PROTOCOL,
            State.OPEN: _IGNORED,
            State.HALF_CLOSED_LOCAL: _IGNORED,
            State.HALF_CLOSED_REMOTE: _STREAM_CLOSED,
            State.CLOSED_BY_US: _IGNORED,
            None: _AFTER_THE_END,
        },
    ),
    Type.HEADERS: (
        "§ 5.1",
        {
            State.OPEN: _IGNORED,
            State.HALF_CLOSED_LOCAL: _IGNORED,
            State.HALF_CLOSED_REMOTE: _STREAM_CLOSED,
            State.CLOSED_BY_US: _IGNORED,
            None: _AFTER_THE_END,
        },
    ),
    Type.PRIORITY: ("§ 6.3", {None: _IGNORED}),
    Type.RST_STREAM: (
        "§ 6.4",
        {
            State.IDLE: _PROTOCOL,
            State.CLOSED_BY_END: _IGNORED,
            State.CLOSED_BY_PEER: _CROSSING,
            None: _IGNORED,
        },
    ),
    Type.SETTINGS: ("§ 6.5", {None: _PROTOCOL}),
    Type.PUSH_PROMISE: ("§ 8.4", {None: _PROTOCOL}),
    Type.PING: ("§ 6.7", {None: _PROTOCOL}),
    Type.GOAWAY: ("§ 6.8", {None: _PROTOCOL}),
    Type.WINDOW_UPDATE: (
        "§ 6.9",
        {State.IDLE: _PROTOCOL, State.CLOSED_BY_PEER: _CROSSING, None: _IGNORED},
    ),
    Type.CONTINUATION: ("§ 6.10", {None: _PROTOCOL}),
    Type.UNKNOWN: ("§ 5.5", {None: _IGNORED}),
}


def _plain_frame(kind: Type, stream_id: int, encoded: bytes) -> bytes:
    payload = {
        Type.DATA: b"\0\0\0\0\0",  # the prefix of an empty gRPC message
        Type.HEADERS: encoded,
        Type.PRIORITY: bytes(4) + b"\x10",
        Type.RST_STREAM: _CANCEL,
        Type.SETTINGS: b"",
        Type.PUSH_PROMISE: struct.pack(">L", _PUSHED) + encoded,
        Type.PING: bytes(8),
        Type.GOAWAY: bytes(8),
        Type.WINDOW_UPDATE: _ONE,
        Type.CONTINUATION: _TRAILERS,
        Type.UNKNOWN: b"anything",
    }[kind]
    flags = {
        Type.HEADERS: _END_HEADERS | _END_STREAM,
        Type.PUSH_PROMISE: _END_HEADERS,
        Type.CONTINUATION: _END_HEADERS,
    }.get(kind, 0)
    return frame(kind, flags, stream_id, payload)


def _state_cases(
    side: Side, states: Mapping[State, Sequence[Step]], idle: int, first: bytes
) -> Iterator[Case]:
    """Try each frame in each state; ``first`` are the HEADERS that an idle stream is given."""
    for kind, (section, rules) in _RULES.items():
        for state, steps in states.items():
            stream_id = idle if state is State.IDLE else STREAM
            allowed = rules.get(state) or rules[None]
            if kind is Type.HEADERS and state is State.IDLE:
                # § 5.1.1: a client opens streams; a server cannot without a promise.
                allowed = _IGNORED if side is Side.SERVER else _PROTOCOL
            encoded = first if state is State.IDLE else _TRAILERS
            data = _plain_frame(kind, stream_id, encoded)
            yield Case(side, state, kind.name, steps, data, allowed, section, stream_id)


# -- malformed frames, on an open stream or on none ------------------------------------------------


def _settings(code: int, value: int) -> bytes:
    return frame(Type.SETTINGS, 0, 0, struct.pack(">HL", code, value))


#: Name, bytes, what is allowed, section. The stream is open.
_Row = tuple[str, bytes, _Allowed, str]


def _sizes() -> Iterator[_Row]:
    too_large = struct.pack(">L", _TOO_LARGE)[1:]
    stream_size = frozenset({_stream(ErrorCodes.FRAME_SIZE_ERROR)})
    for size in (0, 4, 6):
        payload = bytes(size)
        yield f"PRIORITY of {size} bytes", frame(2, 0, STREAM, payload), stream_size, "§ 6.3"
    yield "PRIORITY of 4 bytes on an idle stream", frame(2, 0, _LATER, bytes(4)), _SIZE, "§ 6.3"
    for size in (3, 5):
        yield f"RST_STREAM of {size} bytes", frame(3, 0, STREAM, bytes(size)), _SIZE, "§ 6.4"
        yield f"WINDOW_UPDATE of {size} bytes", frame(8, 0, STREAM, bytes(size)), _SIZE, "§ 6.9"
    yield "SETTINGS of 5 bytes", frame(4, 0, 0, bytes(5)), _SIZE, "§ 6.5"
    yield "SETTINGS of 7 bytes", frame(4, 0, 0, b"\xff" * 7), _SIZE, "§ 6.5"
    yield "SETTINGS, ACK with a payload", frame(4, _ACK, 0, bytes(6)), _SIZE, "§ 6.5"
    for size in (0, 7, 9):
        yield f"PING of {size} bytes", frame(6, 0, 0, bytes(size)), _SIZE, "§ 6.7"
    yield "GOAWAY of 7 bytes", frame(7, 0, 0, bytes(7)), _SIZE, "§ 6.8"
    yield "DATA, padded, of 0 bytes", frame(0, _PADDED, STREAM), stream_size | _SIZE, "§ 4.2"
    yield "HEADERS, padded, of 0 bytes", frame(1, _PADDED | 5, STREAM), _SIZE, "§ 4.2"
    yield (
        "HEADERS with a priority of 4 bytes",
        frame(1, _PRIORITY | 5, STREAM, bytes(4)),
        _SIZE,
        "§ 4.2",
    )
    for kind in (Type.DATA, Type.HEADERS, Type.SETTINGS, Type.PING, Type.UNKNOWN):
        head = too_large + frame(kind, 0, STREAM if kind in {0, 1} else 0)[3:]
        allowed = (stream_size | _SIZE) if kind is Type.DATA else _SIZE
        yield f"{kind.name} of 16 MiB", head + bytes(64), allowed, "§ 4.2"


def _stream_ids() -> Iterator[_Row]:
    for kind in (
        Type.DATA,
        Type.HEADERS,
        Type.PRIORITY,
        Type.RST_STREAM,
        Type.PUSH_PROMISE,
        Type.CONTINUATION,
    ):
        data = _plain_frame(kind, 0, _TRAILERS)
        yield f"{kind.name} on stream 0", data, _PROTOCOL, _RULES[kind][0]
    yield "an unknown frame on stream 0", frame(Type.UNKNOWN, 0xFF, 0, b"x"), _IGNORED, "§ 5.5"
    reserved = 2**31
    yield "PING with the reserved bit", frame(6, 0, reserved, bytes(8)), _IGNORED, "§ 4.1"
    data = frame(Type.WINDOW_UPDATE, 0, STREAM | reserved, _ONE)
    yield "WINDOW_UPDATE with the reserved bit", data, _IGNORED, "§ 4.1"


def _values() -> Iterator[_Row]:
    flow = frozenset({_connection(ErrorCodes.FLOW_CONTROL_ERROR)})
    yield "WINDOW_UPDATE by 0", frame(8, 0, STREAM, bytes(4)), _MALFORMED, "§ 6.9"
    yield "WINDOW_UPDATE by 0 on an idle stream", frame(8, 0, _LATER, bytes(4)), _PROTOCOL, "§ 6.9"
    yield "WINDOW_UPDATE by 0 of the connection", frame(8, 0, 0, bytes(4)), _PROTOCOL, "§ 6.9"
    yield "WINDOW_UPDATE that overflows", frame(8, 0, STREAM, _OVERFLOW), _FLOW, "§ 6.9.1"
    yield "WINDOW_UPDATE that overflows the connection", frame(8, 0, 0, _OVERFLOW), flow, "§ 6.9.1"
    yield (
        "WINDOW_UPDATE by 1 with the reserved bit",
        frame(8, 0, STREAM, b"\x80\0\0\1"),
        _IGNORED,
        "§ 6.9",
    )
    depends_on_itself = struct.pack(">LB", STREAM, 1)
    yield "PRIORITY on itself", frame(2, 0, STREAM, depends_on_itself), _IGNORED, "§ 5.3.2"
    yield (
        "HEADERS with a priority on itself",
        frame(1, _PRIORITY | 5, STREAM, depends_on_itself + _TRAILERS),
        _IGNORED,
        "§ 5.3.2",
    )
    yield "RST_STREAM with an unknown code", frame(3, 0, STREAM, b"\xff" * 4), _IGNORED, "§ 7"
    yield "GOAWAY with an unknown code", frame(7, 0, 0, _ALL_GO_ON + b"\xff" * 4), _IGNORED, "§ 7"
    yield "DATA, all of it padding", frame(0, _PADDED, STREAM, b"\2\0\0"), _IGNORED, "§ 6.1"
    yield "DATA, more padding than bytes", frame(0, _PADDED, STREAM, b"\5abc"), _PROTOCOL, "§ 6.1"
    yield (
        "HEADERS, more padding than bytes",
        frame(1, _PADDED | 5, STREAM, b"\5abc"),
        _PROTOCOL,
        "§ 6.2",
    )
    yield "SETTINGS with unknown codes", _settings(0xF000, 1), _IGNORED, "§ 6.5.2"
    yield "SETTINGS with the unknown flag", frame(4, 0xFE, 0), _IGNORED, "§ 4.1"
    yield "SETTINGS_ENABLE_PUSH of 2", _settings(2, 2), _PROTOCOL, "§ 6.5.2"
    yield "SETTINGS_INITIAL_WINDOW_SIZE of 2^31", _settings(4, 2**31), flow, "§ 6.5.2"
    yield "SETTINGS_MAX_FRAME_SIZE of 16383", _settings(5, 16_383), _PROTOCOL, "§ 6.5.2"
    yield "SETTINGS_MAX_FRAME_SIZE of 2^24", _settings(5, 2**24), _PROTOCOL, "§ 6.5.2"
    yield (
        "SETTINGS that overflow a window",
        (frame(8, 0, STREAM, struct.pack(">L", _MAX_WINDOW - 65_535)) + _settings(4, 65_536)),
        flow,
        "§ 6.9.2",
    )
    yield "ALTSVC that is malformed", frame(Type.ALTSVC, 0, STREAM, b"\xff"), _IGNORED, "§ 5.5"


def _blocks() -> Iterator[_Row]:
    compression = frozenset({_connection(ErrorCodes.COMPRESSION_ERROR)})
    begun = frame(Type.HEADERS, _END_STREAM, STREAM, _TRAILERS)
    yield (
        "HEADERS and CONTINUATION",
        (begun + frame(Type.CONTINUATION, _END_HEADERS, STREAM, _TRAILERS)),
        _IGNORED,
        "§ 6.10",
    )
    yield (
        "HEADERS and a CONTINUATION of another stream",
        (begun + frame(Type.CONTINUATION, _END_HEADERS, NEIGHBOUR, _TRAILERS)),
        _PROTOCOL,
        "§ 6.10",
    )
    for kind in (Type.DATA, Type.HEADERS, Type.PING, Type.WINDOW_UPDATE, Type.UNKNOWN):
        stream_id = 0 if kind is Type.PING else STREAM
        data = begun + _plain_frame(kind, stream_id, _TRAILERS)
        yield f"{kind.name} within a header block", data, _PROTOCOL, "§ 6.10"
    yield (
        "a header block that cannot be decoded",
        _headers(STREAM, b"\xff", end=True),
        (compression),
        "§ 4.3",
    )
    yield (
        "a header block with an index of 0",
        _headers(STREAM, b"\x80", end=True),
        (compression),
        "§ 4.3",
    )
    yield (
        "HEADERS again without END_STREAM",
        _headers(STREAM, _TRAILERS, end=False),
        (_MALFORMED),
        "§ 8.1",
    )


def _malformed_cases(side: Side, steps: Sequence[Step]) -> Iterator[Case]:
    for rows in (_sizes, _stream_ids, _values, _blocks):
        for name, data, allowed, section in rows():
            yield Case(side, State.OPEN, name, steps, data, allowed, section)


# -- malformed headers -----------------------------------------------------------------------------

#: Fields that no message may have (RFC 9113 §§ 8.2, 8.2.1, 8.2.2, 8.3).
_FIELDS = [
    ("X-Upper", "a"),
    ("connection", "close"),
    ("proxy-connection", "close"),
    ("keep-alive", "timeout=5"),
    ("transfer-encoding", "chunked"),
    ("upgrade", "h2c"),
    ("te", "gzip"),
    ("na me", "a"),
    ("na:me", "a"),
    ("name\x7f", "a"),
    ("", "a"),
    ("key", "a\0b"),
    ("key", "a\rb"),
    ("key", "a\nb"),
    (":late", "a"),
    (":unknown", "a"),
    ("content-length", "five"),
    ("content-length", "-1"),
]


def _header_cases(side: Side, first: bytes, stream_id: int) -> Iterator[Case]:
    """Try ``first``, the block of a good message, with one bad field more."""
    state = State.IDLE if side is Side.SERVER else State.OPEN
    for field in _FIELDS:
        name = f"HEADERS with {field[0]!a}: {field[1]!a}"
        data = _headers(stream_id, first + block(field), end=False)
        yield Case(side, state, name, (), data, _MALFORMED, "§ 8.1.1", stream_id)


# -- all of them -----------------------------------------------------------------------------------


def server_cases(requests: Requests) -> list[Case]:
    """Return the cases of a server; the peer has sent the preface and SETTINGS, both are acked."""
    states = _server_states(requests)
    waits = requests.waits
    skipped = _headers(_LATER, waits, end=False)
    own = [
        ("HEADERS on an even stream", _headers(_PUSHED, waits, end=True), _PROTOCOL, _PUSHED),
        ("HEADERS on a stream that was passed over", skipped + _headers(_NEXT, waits, end=True),
         _PROTOCOL, _NEXT),
        ("DATA on a stream that was passed over", skipped + frame(0, 0, _NEXT, b"x"),
         _AFTER_THE_END | _PROTOCOL, _NEXT),
        ("HEADERS with a priority on itself, the first",
         frame(1, _PRIORITY | 4, _NEXT, struct.pack(">LB", _NEXT, 1) + waits), _IGNORED, _NEXT),
    ]  # fmt: skip
    return [
        *_state_cases(Side.SERVER, states, STREAM, waits),
        *_malformed_cases(Side.SERVER, states[State.OPEN]),
        *_header_cases(Side.SERVER, waits, STREAM),
        *(
            Case(
                Side.SERVER, State.OPEN, name, states[State.OPEN], data, allowed, "§ 5.1.1", number
            )
            for name, data, allowed, number in own
        ),
    ]


def client_cases(responses: Responses) -> list[Case]:
    """Return the cases of a client; its requests are on ``NEIGHBOUR`` and ``STREAM``."""
    states = _client_states(responses)
    steps = states[State.OPEN]
    own = [
        ("SETTINGS_ENABLE_PUSH of 1", steps, _settings(2, 1), _PROTOCOL, "§ 6.5.2"),
        ("DATA before HEADERS", (), frame(0, 0, STREAM, bytes(5)), _MALFORMED, "§ 8.1"),
        ("HEADERS without :status", (), _headers(STREAM, _TRAILERS, end=False), _MALFORMED,
         "§ 8.3.2"),
        ("HEADERS with 103 that end the stream", (),
         _headers(STREAM, block((":status", "103")), end=True), _MALFORMED, "§ 8.1.1"),
        ("trailers with :status", steps, _headers(STREAM, responses.headers, end=True),
         _MALFORMED, "§ 8.1"),
    ]  # fmt: skip
    return [
        *_state_cases(Side.CLIENT, states, _LATER, responses.headers),
        *_malformed_cases(Side.CLIENT, steps),
        *_header_cases(Side.CLIENT, responses.headers, STREAM),
        *(
            Case(Side.CLIENT, State.OPEN, name, before, data, allowed, section)
            for name, before, data, allowed, section in own
        ),
    ]


# -- the table -------------------------------------------------------------------------------------


def table(seen: Mapping[Case, Outcome]) -> str:
    """Write what was seen in Markdown: states beside each other, then the malformed frames.

    ``*`` marks what RFC 9113 leaves open.
    """
    states = [state for state in State if any(case.state is state for case in seen)]
    kinds = [kind.name for kind in _RULES]
    grid = {(case.name, case.state): _cell(case, seen[case]) for case in seen}
    lines = [_row(["frame", *(state.value for state in states)]), _row(["---"] * (1 + len(states)))]
    lines += [_row([kind, *(grid.get((kind, state), "") for state in states)]) for kind in kinds]
    lines += ["", _row(["malformed", "seen", "RFC 9113"]), _row(["---"] * 3)]
    lines += [
        _row([f"`{case.name}`", _cell(case, seen[case]), case.section])
        for case in seen
        if case.name not in kinds
    ]
    return "\n".join(lines) + "\n"


def _cell(case: Case, seen: Outcome) -> str:
    return f"{seen}{' *' if len(case.allowed) > 1 else ''}"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
