"""Compressed messages: what is sent, what is read, and what is refused without being inflated."""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a task group may swallow what its body raises; a test would have failed.

import gzip
import struct
import tracemalloc
import zlib
from contextlib import suppress
from itertools import pairwise
from typing import Any, cast

import anyio
import pytest
from anyio.lowlevel import checkpoint
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError
from h2.errors import ErrorCodes
from h2.events import RequestReceived, ResponseReceived, StreamEnded, TrailersReceived
from hypothesis import given
from hypothesis import strategies as st

from grpclib_anyio._base.config import Configuration
from grpclib_anyio._stream.buffers import Inbox
from grpclib_anyio._stream.compression import Compressed, accepts_gzip, deflate, inflate
from grpclib_anyio.server import Stream
from harness.peer import (
    BOTH,
    Call,
    Network,
    ScriptedPeer,
    channel_to,
    completes,
    fields_of,
    framed,
    served,
)

Handling = Stream[bytes, bytes]

KIB = 1024
MIB = KIB * KIB
GZIP = Configuration(compression="gzip")
ENCODING = ("grpc-encoding", "gzip")
ACCEPT = ("grpc-accept-encoding", "identity,gzip")
#: Shrinks; and too small to.
LONG, SHORT = b"token " * 100, b"token"

texts = st.binary(max_size=300) | st.binary(max_size=4).map(lambda data: data * 1000)


def flagged(body: bytes, flag: int = 1) -> bytes:
    """Prefix bytes as a compressed message."""
    return struct.pack(">BI", flag, len(body)) + body


def packed(*messages: bytes) -> bytes:
    """Compress messages, each by itself."""
    return b"".join(flagged(gzip.compress(message)) for message in messages)


def unpacked(data: bytes) -> list[tuple[int, bytes]]:
    """Cut what was sent into messages; return each one's flag and what it is uncompressed."""
    found: list[tuple[int, bytes]] = []
    while data:
        flag, size = struct.unpack_from(">BI", data)
        body, data = data[5 : 5 + size], data[5 + size :]
        found.append((flag, gzip.decompress(body) if flag else body))
    return found


def bomb(size: int) -> bytes:
    """Compress zeros, about a thousand to the byte."""
    return gzip.compress(bytes(size))


def refused(data: bytes, limit: int = MIB) -> Status:
    """Inflate what cannot be, and return the status of the refusal."""
    with pytest.raises(GRPCError) as caught:
        inflate(Compressed(data), limit)
    return caught.value.status


# -- without a wire -----------------------------------------------------------------------------


@given(texts)
def test_round_trip(message: bytes) -> None:
    """What is compressed is smaller and inflates to what it was; the rest stays as it is."""
    deflated = deflate(message)
    if deflated is None:
        assert len(gzip.compress(message, 1)) >= len(message)
    else:
        assert len(deflated) < len(message)
        assert gzip.decompress(deflated) == message
        assert inflate(Compressed(deflated), len(message)) == message


@given(texts, st.integers(0, 9))
def test_any_level_is_read(message: bytes, level: int) -> None:
    assert inflate(Compressed(gzip.compress(message, level)), 4000) == message


@given(st.binary(max_size=100) | st.binary(max_size=100).map(lambda data: b"\x1f\x8b\x08" + data))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(GRPCError):
        assert len(inflate(Compressed(data), 50)) <= 50


def test_largest_size_is_read_and_one_byte_more_is_not() -> None:
    assert inflate(Compressed(bomb(1000)), 1000) == bytes(1000)
    assert refused(bomb(1001), 1000) is Status.RESOURCE_EXHAUSTED
    assert inflate(Compressed(bomb(0)), 0) == b""
    assert refused(bomb(1), 0) is Status.RESOURCE_EXHAUSTED


def test_bomb_is_refused_without_the_memory_for_it() -> None:
    """64 MiB in 64 KiB, where 64 KiB are allowed: a few times that is all that is taken."""
    data = bomb(64 * MIB)
    tracemalloc.start()
    try:
        assert refused(data, 64 * KIB) is Status.RESOURCE_EXHAUSTED
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6 * 64 * KIB


def test_what_ends_too_early_is_malformed() -> None:
    """Cut at every byte, which is within the header, the body and the trailer."""
    whole = gzip.compress(LONG)
    for size in range(len(whole)):
        assert refused(whole[:size]) is Status.INTERNAL


@pytest.mark.parametrize(
    "data",
    [
        LONG,
        zlib.compress(LONG),
        gzip.compress(LONG)[:-8] + bytes(8),
        gzip.compress(LONG) + b"\0",
        gzip.compress(LONG) + gzip.compress(LONG),
        gzip.compress(b"") * 10_000,
    ],
    ids=["text", "zlib", "checksum", "trailing-byte", "two-members", "many-empty-members"],
)
def test_what_is_not_one_gzip_member_is_malformed(data: bytes) -> None:
    assert refused(data) is Status.INTERNAL


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [
        ("gzip", True),
        ("identity,deflate,gzip", True),
        ("identity, gzip", True),
        ("gzip ,identity", True),
        ("identity", False),
        ("", False),
        ("gzipped,xgzip", False),
    ],
)
def test_accepted_encodings(accepted: str, *, expected: bool) -> None:
    assert accepts_gzip(accepted) is expected


def test_unknown_compression_cannot_be_configured() -> None:
    with pytest.raises(ValueError, match="compression"):
        Configuration(compression=cast("Any", "deflate"))


@given(st.lists(st.tuples(texts, st.booleans())), st.lists(st.integers(0, 10_000)))
def test_messages_are_cut_alike_whatever_the_chunks(
    sent: list[tuple[bytes, bool]], cuts: list[int]
) -> None:
    """They come out as they arrived, and give back the bytes that they were on the wire."""
    data = b"".join(packed(message) if flag else framed(message) for message, flag in sent)
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    inbox, credited = Inbox(4000), 0
    inbox.max_flag = 1
    for start, end in pairwise(edges):
        inbox.feed(data[start:end])
    for message, flag in sent:
        received, credit = inbox.take()
        credited += credit
        assert isinstance(received, Compressed) is flag
        assert received == (gzip.compress(message) if flag else message)
    assert credited == len(data)


# -- the client ---------------------------------------------------------------------------------


async def responded(data: bytes, *headers: tuple[str, str]) -> Call:
    """Answer a call with bytes and status OK; afterwards the connection has to serve another."""
    network = Network()
    async with channel_to(network, Configuration(max_message_size=64 * KIB)) as channel:
        call = Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            peer, stream_id = await network.accept()
            peer.queue_headers(stream_id, *headers)
            peer.queue_data(stream_id, data)
            await peer.settle()
            if call.error is None:
                peer.queue_trailers(stream_id)
                await peer.flush()
            else:
                assert peer.resets(stream_id) == [ErrorCodes.CANCEL]
        await completes(network, channel)
    return call


async def requested(config: Configuration | None) -> tuple[dict[str, str], bytes]:
    """Make a call; return the headers and the data of its request."""
    network = Network()
    async with channel_to(network, config) as channel:
        call = Call(channel, LONG, SHORT, b"", path=BOTH, cardinality=Cardinality.STREAM_STREAM)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            await anyio.wait_all_tasks_blocked()
            event = await network.peer.expect(RequestReceived)
            await network.peer.expect(StreamEnded)
            await network.peer.respond(event.stream_id, end=True)
        assert call.error is None
    return fields_of(event), network.peer.data(event.stream_id)


@pytest.mark.anyio
async def test_request_is_compressed_where_that_makes_it_smaller() -> None:
    fields, data = await requested(GZIP)
    assert {ENCODING, ACCEPT} <= fields.items()
    assert unpacked(data) == [(1, LONG), (0, SHORT), (0, b"")]


@pytest.mark.anyio
async def test_request_is_not_compressed_unless_asked_for() -> None:
    fields, data = await requested(None)
    assert ACCEPT in fields.items()
    assert "grpc-encoding" not in fields
    assert data == framed(LONG, SHORT, b"")


@pytest.mark.anyio
async def test_request_that_is_made_again_is_compressed_again() -> None:
    """The peer refuses the first stream, which it has not looked at."""
    network = Network()
    async with channel_to(network, GZIP) as channel:
        call = Call(channel, LONG, SHORT, path=BOTH, cardinality=Cardinality.STREAM_STREAM)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            peer, stream_id = await network.accept()
            await peer.reset(stream_id, ErrorCodes.REFUSED_STREAM)
            event = await peer.expect(RequestReceived)
            await peer.expect(StreamEnded)
            await peer.respond(event.stream_id, end=True)
        assert call.error is None
    assert {ENCODING, ACCEPT} <= fields_of(event).items()
    assert unpacked(peer.data(event.stream_id)) == [(1, LONG), (0, SHORT)]


@pytest.mark.anyio
async def test_response_with_and_without_the_flag() -> None:
    """A compressed message, an empty one, and a plain one, of one response."""
    call = await responded(packed(LONG, b"") + framed(b"plain"), ENCODING)
    assert call.received == [LONG, b"", b"plain"]
    assert call.error is None


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("data", "headers", "expected"),
    [
        (packed(LONG), (), Status.INTERNAL),
        (packed(LONG), (("grpc-encoding", "identity"),), Status.INTERNAL),
        (flagged(gzip.compress(LONG), 2), (ENCODING,), Status.INTERNAL),
        (flagged(LONG), (ENCODING,), Status.INTERNAL),
        (flagged(gzip.compress(LONG)[:-1]), (ENCODING,), Status.INTERNAL),
        (flagged(bomb(MIB)), (ENCODING,), Status.RESOURCE_EXHAUSTED),
        (struct.pack(">BI", 1, 64 * KIB + 1), (ENCODING,), Status.RESOURCE_EXHAUSTED),
    ],
    ids=["no-encoding", "identity", "flag-2", "not-gzip", "truncated", "bomb", "large-by-itself"],
)
async def test_response_that_is_refused(
    data: bytes, headers: tuple[tuple[str, str], ...], expected: Status
) -> None:
    """After the message before it; the one after it is not received."""
    call = await responded(framed(b"before") + data + framed(b"after"), *headers)
    assert call.received == [b"before"]
    assert call.status is expected


@pytest.mark.anyio
async def test_response_in_an_encoding_that_was_not_offered() -> None:
    call = await responded(framed(b"plain"), ("grpc-encoding", "br"))
    assert call.received == []
    assert call.status is Status.INTERNAL


@pytest.mark.anyio
async def test_refused_message_ends_what_can_be_received() -> None:
    """The call asks again, and is told again; it does not get the message after it."""
    network = Network()
    async with channel_to(network) as channel:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_answer, network, flagged(b"no gzip") + framed(b"after"))
            async with Call(channel).open() as stream:
                await stream.send_message(b"request")
                for _ in range(2):
                    with pytest.raises(GRPCError, match="not gzip"):
                        await stream.recv_message()
                await stream.cancel()
        await completes(network, channel)


@pytest.mark.anyio
async def test_what_is_not_read_stays_compressed() -> None:
    """60 messages of 1 MiB each fit into the window, and take no more memory than that."""
    network = Network()
    async with channel_to(network) as channel, anyio.create_task_group() as tasks:
        call = Call(channel, reads=False)
        tasks.start_soon(call.run)
        peer, stream_id = await network.accept()
        data = packed(*[bytes(MIB)] * 60)
        window = peer.h2.local_flow_control_window(stream_id)
        tracemalloc.start()
        try:
            peer.queue_headers(stream_id, ENCODING)
            peer.queue_data(stream_id, data)
            await peer.settle()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < MIB
        assert peer.h2.local_flow_control_window(stream_id) == window - len(data)
        call.scope.cancel()


@pytest.mark.anyio
async def test_large_messages_let_other_tasks_run() -> None:
    """Each inflates to 4 MiB, during which nothing else runs; so others get their turn between."""
    network = Network()
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await checkpoint()

    async with channel_to(network) as channel, anyio.create_task_group() as tasks:
        tasks.start_soon(_answer, network, packed(*[bytes(4 * MIB)] * 4))
        async with Call(channel).open() as stream:
            await stream.send_message(b"request")
            await stream.recv_initial_metadata()
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(count_turns)
            for _ in range(4):
                assert len(await stream.recv_message() or b"") == 4 * MIB
            assert turns >= 2  # three; trio may take one of them the other way round
            await stream.cancel()
        tasks.cancel_scope.cancel()


async def _answer(network: Network, data: bytes) -> None:
    peer, stream_id = await network.accept()
    peer.queue_headers(stream_id, ENCODING)
    peer.queue_data(stream_id, data)
    await peer.flush()


# -- the server ---------------------------------------------------------------------------------


async def echo(stream: Handling) -> None:
    """Answer each message with itself."""
    async for message in stream:
        await stream.send_message(message)


async def ask(peer: ScriptedPeer, data: bytes, *headers: tuple[str, str]) -> int:
    """Send a request of these bytes."""
    stream_id = await peer.request(BOTH, end=False, extra=headers)
    peer.queue_data(stream_id, data, end=True)
    await peer.flush()
    return stream_id


async def status_of(peer: ScriptedPeer) -> int:
    """Return the status in the trailers that come next."""
    return int(fields_of(await peer.expect(TrailersReceived))["grpc-status"])


@pytest.mark.anyio
async def test_response_is_compressed_where_that_makes_it_smaller() -> None:
    async with served(config=GZIP, both=echo) as peer:
        stream_id = await ask(peer, framed(LONG, SHORT), ACCEPT)
        fields = fields_of(await peer.expect(ResponseReceived))
        assert {ENCODING, ACCEPT} <= fields.items()
        assert await status_of(peer) == 0
        assert unpacked(peer.data(stream_id)) == [(1, LONG), (0, SHORT)]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("config", "headers"),
    [
        (None, (ACCEPT,)),
        (None, (ACCEPT, ENCODING)),
        (GZIP, ()),
        (GZIP, (("grpc-accept-encoding", "identity,deflate"),)),
    ],
    ids=["not-configured", "as-the-request", "nothing-accepted", "other-accepted"],
)
async def test_response_is_not_compressed_unless_both_want_it(
    config: Configuration | None, headers: tuple[tuple[str, str], ...]
) -> None:
    async with served(config=config, both=echo) as peer:
        stream_id = await ask(peer, framed(LONG), *headers)
        fields = fields_of(await peer.expect(ResponseReceived))
        assert ACCEPT in fields.items()
        assert "grpc-encoding" not in fields
        assert await status_of(peer) == 0
        assert peer.data(stream_id) == framed(LONG)


@pytest.mark.anyio
async def test_request_with_and_without_the_flag() -> None:
    async with served(both=echo) as peer:
        stream_id = await ask(peer, packed(LONG) + framed(SHORT) + packed(b""), ENCODING)
        await peer.expect(StreamEnded)
        assert peer.data(stream_id) == framed(LONG, SHORT, b"")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("data", "headers", "expected"),
    [
        (packed(LONG), (), Status.INTERNAL),
        (packed(LONG), (("grpc-encoding", "identity"),), Status.INTERNAL),
        (flagged(gzip.compress(LONG), 255), (ENCODING,), Status.INTERNAL),
        (flagged(LONG), (ENCODING,), Status.INTERNAL),
        (flagged(gzip.compress(LONG)[:-1]), (ENCODING,), Status.INTERNAL),
        (flagged(bomb(MIB)), (ENCODING,), Status.RESOURCE_EXHAUSTED),
    ],
    ids=["no-encoding", "identity", "flag-255", "not-gzip", "truncated", "bomb"],
)
async def test_request_that_is_refused(
    data: bytes, headers: tuple[tuple[str, str], ...], expected: Status
) -> None:
    """The handler has answered the message before it; the next call is served."""
    async with served(config=Configuration(max_message_size=64 * KIB), both=echo) as peer:
        stream_id = await ask(peer, framed(b"before") + data + framed(b"after"), *headers)
        assert await status_of(peer) == expected.value
        assert peer.data(stream_id) == framed(b"before")
        stream_id = await ask(peer, framed(b"next"))
        assert await status_of(peer) == 0
        assert peer.data(stream_id) == framed(b"next")


@pytest.mark.anyio
async def test_request_in_an_unknown_encoding() -> None:
    """UNIMPLEMENTED, with the list of those that are known; the handler does not run."""
    called = False

    async def handler(_stream: Handling) -> None:  # noqa: ASYNC124 - a handler is a coroutine
        nonlocal called
        called = True

    async with served(both=handler) as peer:
        await ask(peer, packed(LONG), ("grpc-encoding", "snappy"))
        fields = fields_of(await peer.expect(ResponseReceived))
        await peer.expect(StreamEnded)
    assert {ACCEPT, ("grpc-status", str(Status.UNIMPLEMENTED.value))} <= fields.items()
    assert not called


@pytest.mark.anyio
async def test_response_without_messages_has_no_encoding() -> None:
    async def fail(_stream: Handling) -> None:  # noqa: ASYNC124 - a handler is a coroutine
        raise GRPCError(Status.ABORTED)

    async with served(config=GZIP, both=fail) as peer:
        await ask(peer, framed(LONG), ACCEPT)
        fields = fields_of(await peer.expect(ResponseReceived))
    assert fields["grpc-status"] == str(Status.ABORTED.value)
    assert "grpc-encoding" not in fields


# -- a side that accepts none ---------------------------------------------------------------------

PLAIN_ONLY = Configuration(accepts_compression=False)
IDENTITY = "identity"


@pytest.mark.anyio
async def test_a_server_that_accepts_no_compression_says_what_it_accepts() -> None:
    """UNIMPLEMENTED, and the encodings that would do (gRPC's compression document)."""
    async with served(config=PLAIN_ONLY, both=echo) as peer:
        await peer.request(BOTH, end=False, extra=(ENCODING,))
        fields = fields_of(await peer.expect(ResponseReceived))
        assert fields["grpc-status"] == "12"
        assert fields["grpc-accept-encoding"] == IDENTITY
        stream_id = await peer.request(BOTH, b"plain", extra=(("grpc-encoding", IDENTITY),))
        fields = fields_of(await peer.expect(ResponseReceived))
        assert fields["grpc-accept-encoding"] == IDENTITY
        await peer.expect(StreamEnded)
        assert peer.data(stream_id) == framed(b"plain")


@pytest.mark.trio
async def test_a_message_that_says_it_is_compressed_is_not_inflated_there() -> None:
    """Also where a second header hides the first."""
    hidden = (ENCODING, ("grpc-encoding", IDENTITY))
    async with served(config=PLAIN_ONLY, both=echo) as peer:
        for extra in ((), hidden):
            stream_id = await peer.request(BOTH, end=False, extra=extra)
            peer.queue_data(stream_id, packed(LONG), end=True)
            await peer.flush()
            fields = fields_of(await peer.expect(ResponseReceived))
            assert fields["grpc-status"] == "13"


@pytest.mark.anyio
async def test_a_client_that_accepts_no_compression_says_so() -> None:
    network = Network()
    async with channel_to(network, PLAIN_ONLY) as channel:
        call = Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            await anyio.wait_all_tasks_blocked()
            request = await network.peer.expect(RequestReceived)
            assert fields_of(request)["grpc-accept-encoding"] == IDENTITY
            network.peer.queue_headers(request.stream_id, ENCODING)
            network.peer.queue_data(request.stream_id, packed(LONG))
            await network.peer.flush()
        assert call.status is Status.INTERNAL
        await completes(network, channel)
