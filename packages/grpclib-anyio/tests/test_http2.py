"""What plain h2 does, for each part of it that `grpclib_anyio._connection.http2` overrides.

A test that fails after an update of h2 says that the override is no longer needed.
"""

import re
from collections.abc import Callable, Generator
from contextlib import suppress
from functools import partial

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event
from h2.exceptions import ProtocolError, StreamClosedError, TooManyStreamsError
from h2.settings import SettingCodes, Settings
from h2.stream import H2Stream
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from grpclib_anyio._base.config import Configuration, for_client
from grpclib_anyio._connection.http2 import Http2, check_h2_version, without_values
from grpclib_anyio.client import Channel
from grpclib_anyio.server import Server
from grpclib_anyio.testing import FrameParser
from harness.frames import block, frame
from harness.h2_cases import Requests, outcome, server_cases

REQUEST = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "test")]
RESPONSE = [(":status", "200")]
#: DATA on stream 0.
BAD = bytes(9)


def pair() -> tuple[H2Connection, H2Connection]:
    """Return a plain client and a plain server that know each other's settings."""
    client = H2Connection(H2Configuration(client_side=True))
    server = H2Connection(H2Configuration(client_side=False))
    client.initiate_connection()
    server.initiate_connection()
    exchange(client, server)
    return client, server


def exchange(one: H2Connection, other: H2Connection) -> None:
    """Let each take in what the other has queued, until there is nothing."""
    there, back = one.data_to_send(), other.data_to_send()
    while there or back:
        other.receive_data(there)
        one.receive_data(back)
        there, back = one.data_to_send(), other.data_to_send()


def frames_queued_by(connection: H2Connection) -> list[Frame]:
    return list(FrameParser().feed(connection.data_to_send()))


def with_response(*, end: bool = False) -> tuple[H2Connection, H2Connection]:
    """Return a client and a server with stream 1 open, and the response's headers sent."""
    client, server = pair()
    client.send_headers(1, REQUEST)
    exchange(client, server)
    server.send_headers(1, RESPONSE, end_stream=end)
    exchange(client, server)
    return client, server


def test_h2_reads_all_frames_before_it_tells_of_the_first() -> None:
    """A good frame and a bad one in one read: the good one's event is lost."""
    client, _ = with_response()
    with pytest.raises(ProtocolError):
        client.receive_data(DataFrame(1, b"good").serialize() + BAD)


def test_ours_tells_of_the_good_frame_first() -> None:
    """The same bytes."""
    ours = Http2(Configuration(), client_side=True)
    server = H2Connection(H2Configuration(client_side=False))
    server.initiate_connection()
    ours.send_headers(1, REQUEST)
    server.receive_data(ours.data_to_send())
    server.send_headers(1, RESPONSE)
    server.send_data(1, b"good")
    seen: list[type[Event]] = []
    with pytest.raises(ProtocolError):
        seen.extend(map(type, ours.receive(server.data_to_send() + BAD)))
    assert DataReceived in seen


def test_h2_waits_for_all_of_a_frame_that_is_too_large() -> None:
    """The header alone, of 16 MiB."""
    client, _ = pair()
    assert client.receive_data(b"\xff\xff\xff\0\0\0\0\0\1" + b"x" * 100_000) == []


def test_h2_sends_nothing_after_the_peer_has_said_goaway() -> None:
    """Although stream 1 is below its `last_stream_id`."""
    client, _ = with_response()
    client.receive_data(GoAwayFrame(0, last_stream_id=1).serialize())
    with pytest.raises(ProtocolError):
        client.send_data(1, b"more")


def test_h2_drops_what_is_queued_when_the_peer_says_goaway() -> None:
    """Frames of stream 1 among it."""
    client, _ = with_response()
    client.send_data(1, b"more")
    client.receive_data(GoAwayFrame(0, last_stream_id=1).serialize())
    assert client.data_to_send() == b""


def test_h2_answers_frames_that_crossed_its_reset_by_another() -> None:
    """The server sends one more frame before it sees the reset."""
    client, server = with_response()
    client.reset_stream(1, ErrorCodes.CANCEL)
    client.data_to_send()
    server.send_data(1, b"more")
    client.receive_data(server.data_to_send())
    assert RstStreamFrame in map(type, frames_queued_by(client))


def test_h2_credits_data_of_a_stream_that_is_over_by_itself() -> None:
    """And tells nobody: there is no event."""
    client, server = with_response()
    client.reset_stream(1, ErrorCodes.CANCEL)
    client.data_to_send()
    events: list[Event] = []
    for _ in range(3):
        server.send_data(1, b"x" * 16_000)
        events += client.receive_data(server.data_to_send())
    assert not any(isinstance(event, DataReceived) for event in events)
    assert WindowUpdateFrame in map(type, frames_queued_by(client))


def test_h2_keeps_settings_that_it_does_not_know() -> None:
    """Each of the codes there are."""
    client, _ = pair()
    client.receive_data(SettingsFrame(0, settings={0x99: 1}).serialize())
    assert client.remote_settings[0x99] == 1


def test_h2_ends_the_connection_over_one_stream_too_many() -> None:
    """The client could not know of the limit yet."""
    client, server = H2Connection(), H2Connection(H2Configuration(client_side=False))
    server.local_settings = Settings(
        client=False, initial_values={SettingCodes.MAX_CONCURRENT_STREAMS: 1}
    )
    server.initiate_connection()
    client.initiate_connection()
    client.send_headers(1, REQUEST)
    client.send_headers(3, REQUEST)
    with pytest.raises(TooManyStreamsError):
        server.receive_data(client.data_to_send())


def test_h2_walks_over_all_streams_for_each_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    client, _ = pair()
    for number in range(3):
        client.send_headers(2 * number + 1, REQUEST)
    looks = looks_at_streams(monkeypatch)
    client.send_headers(7, REQUEST)
    assert len(looks) == 3


def test_ours_looks_at_each_stream_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Http2(for_client(None), client_side=True)
    looks = looks_at_streams(monkeypatch)
    for number in range(2000):
        client.send_headers(2 * number + 1, REQUEST)
    assert len(looks) < 2 * 2000


def test_ours_forgets_streams_that_are_over() -> None:
    client = Http2(for_client(None), client_side=True)
    for number in range(1000):
        client.send_headers(2 * number + 1, REQUEST)
        client.reset_stream(2 * number + 1)
    assert len(client.streams) <= 64


def looks_at_streams(monkeypatch: pytest.MonkeyPatch) -> list[H2Stream]:
    """Note each time that a stream is asked whether it is open."""
    looks: list[H2Stream] = []
    original = H2Stream.open

    def observed(stream: H2Stream) -> bool:
        looks.append(stream)
        return bool(original.fget(stream))  # type: ignore[attr-defined]

    monkeypatch.setattr(H2Stream, "open", property(observed))
    return looks


def test_h2_tells_nobody_that_there_is_something_to_write() -> None:
    """Ours calls back for each frame."""
    outputs: list[bool] = []
    ours = Http2(Configuration(), client_side=True)
    ours.on_output = lambda: outputs.append(True)
    ours.ping(b"12345678")
    assert outputs
    assert not hasattr(H2Connection(), "on_output")


def test_h2_ignores_frames_of_unknown_type() -> None:
    """Which nothing overrides: an extension is no error (RFC 9113 § 5.5)."""
    client, _ = with_response()
    client.receive_data(frame(0xBE, 0, 1, b"grease"))
    assert frames_queued_by(client) == []


#: Frames that an open stream may see, or see as its own error, in ``h2_cases``.
ALONE = [
    "RST_STREAM",
    "PRIORITY of 4 bytes",
    "SETTINGS, ACK with a payload",
    "WINDOW_UPDATE by 0",
    "WINDOW_UPDATE by 1 with the reserved bit",
    "PRIORITY on itself",
    "HEADERS with a priority on itself",
    "ALTSVC that is malformed",
    "a header block that cannot be decoded",
    "HEADERS again without END_STREAM",
    "HEADERS with 'te': 'gzip'",
]


@pytest.mark.parametrize("name", ALONE)
def test_h2_alone_answers_otherwise_than_rfc_9113_asks(name: str) -> None:
    """On a stream in the first state that the cases have this frame for."""
    request = block(*REQUEST)
    cases = server_cases(Requests(waits=request, answers=request))
    case = next(case for case in cases if case.name == name)
    _, server = with_response()
    for step in case.steps:
        server.receive_data(step.data)
    with suppress(ProtocolError):
        server.receive_data(case.data)
    assert outcome(frames_queued_by(server), case.stream_id) not in case.allowed


def test_h2_ends_the_connection_for_headers_on_a_closed_stream() -> None:
    """RFC 9113 § 5.1 lets it; the streams beside this one need not end for it."""
    client, server = with_response(end=True)
    client.end_stream(1)
    exchange(client, server)
    with pytest.raises(StreamClosedError):
        server.receive_data(frame(1, 5, 1, block(("late", "yes"))))


# -- what is logged of an error -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "text"),
    [
        (("a", "hunter2 "), "Received header value surrounded by whitespace"),
        (("te", "hunter2"), "Invalid value for TE header:"),
        (("a", "hunter2\0"), "Illegal character"),
    ],
)
def test_error_of_h2_is_cut_where_it_quotes_the_peer(header: tuple[str, str], text: str) -> None:
    """The value may be a credential; that h2 still quotes it is part of what is tested."""
    client, server = pair()
    client.config.validate_outbound_headers = client.config.normalize_outbound_headers = False
    client.send_headers(1, [*REQUEST, header])
    with pytest.raises(ProtocolError, match="hunter2") as raised:
        server.receive_data(client.data_to_send())
    assert without_values(raised.value) == text


def test_error_about_a_stream_that_was_never_opened_says_so() -> None:
    """h2's text is the number alone."""
    _, server = with_response()
    with pytest.raises(ProtocolError) as raised:
        server.receive_data(DataFrame(5, b"x").serialize())
    assert without_values(raised.value) == "NoSuchStreamError: 5"


# -- the version --------------------------------------------------------------------------------


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Generator[Callable[[str], None]]:
    """Have another version of h2 installed."""

    def install(version: str) -> None:
        check_h2_version.cache_clear()
        monkeypatch.setattr("h2.__version__", version)

    yield install
    check_h2_version.cache_clear()


@pytest.mark.parametrize("version", ["4.3.0", "4.4.1", "4.4.99"])
def test_versions_of_h2_that_are_known(installed: Callable[[str], None], version: str) -> None:
    installed(version)
    Channel()
    Server([])


@pytest.mark.parametrize("version", ["4.2.0", "4.5.0", "4.30.0", "5.0.0"])
@pytest.mark.parametrize("make", [Channel, partial(Server, [])], ids=["channel", "server"])
def test_versions_of_h2_that_nobody_has_looked_at(
    installed: Callable[[str], None], make: Callable[[], object], version: str
) -> None:
    """Said at once, where the program makes it: not in a task, at the first connection."""
    installed(version)
    known = r"knows of 4\.3\.\* and 4\.4\.\* only: install one of these"
    with pytest.raises(RuntimeError, match=rf"^h2 {re.escape(version)} is installed, .* {known}"):
        make()
