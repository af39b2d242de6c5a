"""Metadata that arrived in any form that HTTP/2 carries, and how it is sent on; and the status."""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a task group may swallow what its body raises; a test would have failed.

from base64 import b64encode
from typing import Any

import anyio
import pytest
from grpclib.const import Cardinality, Status
from h2.events import ResponseReceived, TrailersReceived
from hypothesis import given
from hypothesis import strategies as st

from grpclib_anyio._base.errors import GRPCError, again
from grpclib_anyio._base.headers import Metadata, decode_metadata, encode_metadata
from grpclib_anyio._call.response import read_status
from grpclib_anyio.server import Stream
from harness.peer import BOTH, STREAM, Network, channel_to, served

Pairs = list[tuple[str, Any]]


def binary(*values: bytes) -> Pairs:
    return [("x-bin", value) for value in values]


#: What a peer sends, as it is on the wire and read as latin-1, and what that means.
ARRIVALS: dict[str, tuple[Pairs, Pairs]] = {
    "joined by a proxy": ([("x-bin", "AP8,AQ==,Ag")], binary(b"\0\xff", b"\1", b"\2")),
    "joined with white space": ([("x-bin", "AQ, \tAg ,Aw==")], binary(b"\1", b"\2", b"\3")),
    "joined, repeated": ([("x-bin", "AQ,Ag"), ("x-bin", "Aw")], binary(b"\1", b"\2", b"\3")),
    "an empty one between others": ([("x-bin", "AQ,,Ag")], binary(b"\1", b"", b"\2")),
    "empty ones": ([("x-bin", ""), ("x", "")], [*binary(b""), ("x", "")]),
    "text with commas is one value": ([("x", "a,b, c")], [("x", "a,b, c")]),
    "text of other languages": ([("x", "é — 語".encode().decode("latin-1"))], [("x", "é — 語")]),
    "bytes that are no UTF-8": ([("x", "\xe9\xff")], [("x", "\xe9\xff")]),
    "a tab within": ([("x", "a\tb")], [("x", "a\tb")]),
    "odd characters of a key": ([("x!#$%&'*+.^_`|~", "1")], [("x!#$%&'*+.^_`|~", "1")]),
}


@pytest.mark.parametrize("name", ARRIVALS)
def test_what_arrives_is_read_and_can_be_sent_on(name: str) -> None:
    headers, meant = ARRIVALS[name]
    metadata = decode_metadata(headers)
    assert list(metadata.items()) == meant
    assert list(on_the_next_hop(metadata).items()) == meant


def on_the_next_hop(metadata: Metadata) -> Metadata:
    """Send metadata on, and read it as it is then on the wire."""
    sent = [(key, value.encode().decode("latin-1")) for key, value in encode_metadata(metadata)]
    return decode_metadata(sent)


#: RFC 9110 § 5.5: what a field may hold, as bytes that are read as latin-1.
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"))


@given(
    st.lists(
        st.tuples(st.sampled_from(["x", "y", "x-y"]), VALUES.map(lambda text: text.strip(" ")))
    )
)
def test_any_text_can_be_sent_on(headers: list[tuple[str, str]]) -> None:
    metadata = decode_metadata(headers)
    assert list(on_the_next_hop(metadata).items()) == list(metadata.items())


@given(st.lists(st.binary()), st.booleans())
def test_any_bytes_can_be_joined_and_sent_on(values: list[bytes], padded: bool) -> None:  # noqa: FBT001 - hypothesis's
    encoded = [b64encode(value).decode() for value in values]
    joined = ",".join(encoded if padded else [each.rstrip("=") for each in encoded])
    metadata = decode_metadata([("x-bin", joined)] if values else [])
    assert metadata.getall("x-bin", []) == values
    assert on_the_next_hop(metadata).getall("x-bin", []) == values


@pytest.mark.parametrize(
    "value", ["A", "AAAAA", "A!==", "AQ Ag", "AQ;Ag", "AQ,A", "\xe9", "A-_A", "AQ=Ag", "\u0661"]
)
def test_what_is_not_base64_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        decode_metadata([("x-bin", value)])


@pytest.mark.parametrize(
    "name",
    [":path", "te", "content-type", "user-agent", "content-length", "host", "grpc-timeout"],
)
def test_what_belongs_to_one_hop_is_not_sent_on(name: str) -> None:
    assert not decode_metadata([(name, "1")])


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("", "v", ValueError),
        ("X", "v", ValueError),
        ("a b", "v", ValueError),
        ("a:b", "v", ValueError),
        ("é", "v", ValueError),
        (":path", "v", ValueError),
        ("grpc-status", "0", ValueError),
        ("grpc-odd-bin", b"", ValueError),
        ("te", "v", ValueError),
        ("connection", "close", ValueError),
        ("transfer-encoding", "chunked", ValueError),
        ("content-length", "5", ValueError),
        ("x", "a\nb", ValueError),
        ("x", "a\r\nb", ValueError),
        ("x", "a\0b", ValueError),
        ("x", "\x7f", ValueError),
        ("x", "\ud800", ValueError),
        ("x", b"bytes", TypeError),
        ("x", None, TypeError),
        ("x", 1, TypeError),
        ("x-bin", "text", TypeError),
        ("x-bin", None, TypeError),
    ],
)
def test_what_cannot_be_sent_is_refused(key: str, value: Any, error: type[Exception]) -> None:
    """The value is in no message: it may be a key."""
    with pytest.raises(error) as raised:
        encode_metadata([(key, value)])
    assert not value or repr(value) not in str(raised.value)


@pytest.mark.anyio
async def test_a_handler_sends_back_what_it_was_sent() -> None:
    """Also what gRPC's document does not allow; on the wire in UTF-8."""

    async def handler(stream: Stream[bytes, bytes]) -> None:
        stream.set_initial_metadata(stream.metadata or {})
        stream.set_trailing_metadata(stream.metadata or {})
        await stream.send_initial_metadata()

    arrived = (("x-text", "é"), ("x-odd!", "a\tb"), ("x-bin", "AQ,Ag"), ("x-empty", ""))
    sent = [("x-text", "é"), ("x-odd!", "a\tb"), ("x-bin", "AQ"), ("x-bin", "Ag"), ("x-empty", "")]
    async with served(stream=handler) as peer:
        await peer.request(STREAM, b"request", extra=arrived)
        assert own(await peer.expect(ResponseReceived)) == sent
        assert own(await peer.expect(TrailersReceived)) == sent


def own(event: Any) -> list[tuple[str, str]]:
    """Give the metadata of the test; what is on the wire is UTF-8."""
    fields = [(str(name), str(value)) for name, value in event.headers]
    return [(n, value.encode("latin-1").decode()) for n, value in fields if n.startswith("x-")]


@pytest.mark.anyio
async def test_a_caller_gets_all_values_and_calls_on_with_them() -> None:
    network = Network()
    seen: list[Metadata | None] = []

    async def call(metadata: Any) -> None:
        async with channel.request(
            BOTH, Cardinality.STREAM_STREAM, bytes, bytes, metadata=metadata
        ) as stream:
            await stream.send_request(end=True)
            await stream.recv_initial_metadata()
            await stream.recv_trailing_metadata()
            seen.append(stream.initial_metadata)
            seen.append(stream.trailing_metadata)

    async def answer() -> None:
        peer, stream_id = await network.accept()
        peer.queue_headers(stream_id, ("x-bin", "AQ,Ag"), ("x-text", "é"))
        peer.queue_trailers(stream_id, 0, ("x-last-bin", "Aw,BA=="))
        await peer.flush()

    async with channel_to(network) as channel:
        for is_first in (True, False):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(answer)
                await call({} if is_first else seen[0])
    expected = [
        [("x-bin", b"\1"), ("x-bin", b"\2"), ("x-text", "é")],
        [("x-last-bin", b"\3"), ("x-last-bin", b"\4")],
    ]
    assert [list((each or {}).items()) for each in seen] == expected * 2


# -- the status ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "quoted"),
    [
        (["77"], "77"),
        (["-1"], "-1"),
        (["00"], "00"),
        (["+0"], "+0"),
        (["0 0"], "0 0"),
        (["0x0"], "0x0"),
        (["OK"], "OK"),
        ([""], ""),
        (["\xb2"], "\xb2"),
        (["\u0660"], "\u0660"),
        (["0", "5"], "5"),
        (["5", "0"], "0"),
        (["9" * 500], f"{'9' * 100}…"),
    ],
)
def test_invalid_status_says_so(values: list[str], quoted: str) -> None:
    """It is UNKNOWN, and no success: what the peer meant, nobody knows."""
    trailers = [("grpc-status", value) for value in values]
    said = f"The peer sent no valid grpc-status, but {quoted!r}"
    assert refusal(trailers) == (Status.UNKNOWN, said)
    assert refusal([*trailers, ("grpc-message", "gone%21")]) == (Status.UNKNOWN, f"{said}: gone!")


def refusal(trailers: list[tuple[str, str]]) -> tuple[Status, str | None]:
    with pytest.raises(GRPCError) as raised:
        read_status(trailers, None)
    return raised.value.status, raised.value.message


@pytest.mark.parametrize("status", Status)
def test_status_that_is_there_twice_is_what_both_are(status: Status) -> None:
    """A proxy may repeat it."""
    trailers = [("grpc-status", str(status.value))] * 2
    assert read_status(trailers, None) == (status, None, None)


@pytest.mark.anyio
@pytest.mark.parametrize("late", [False, True], ids=["trailers-only", "after a message"])
@pytest.mark.parametrize("value", ["77", "OK", "0.0"])
async def test_caller_is_told_of_an_invalid_status(value: str, late: bool) -> None:  # noqa: FBT001 - pytest's
    network = Network()

    async def answer() -> None:
        peer, stream_id = await network.accept()
        fields = [("grpc-status", value), ("grpc-message", "why")]
        if late:
            peer.queue_headers(stream_id)
            peer.queue_messages(stream_id, b"one")
            peer.h2.send_headers(stream_id, fields, end_stream=True)
        else:
            start = [(":status", "200"), ("content-type", "application/grpc")]
            peer.h2.send_headers(stream_id, [*start, *fields], end_stream=True)
        await peer.flush()

    async with channel_to(network) as channel, anyio.create_task_group() as tasks:
        tasks.start_soon(answer)
        error, received = await outcome_of_call(channel)
    assert error.status is Status.UNKNOWN
    assert error.message == f"The peer sent no valid grpc-status, but {value!r}: why"
    assert received == ([b"one"] if late else [])


async def outcome_of_call(channel: Any) -> tuple[GRPCError, list[bytes]]:
    received: list[bytes] = []
    try:
        async with channel.request(BOTH, Cardinality.STREAM_STREAM, bytes, bytes) as stream:
            await stream.send_request(end=True)
            received += [message async for message in stream]
    except GRPCError as error:
        return again(error), received
    raise AssertionError(received)
