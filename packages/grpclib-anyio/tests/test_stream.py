"""Length-prefixed messages: framing, limits, and what a malformed stream of them leads to."""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a task group may swallow what its body raises; a test would have failed.

import struct
from itertools import pairwise
from random import Random

import anyio
import pytest
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError
from h2.errors import ErrorCodes
from h2.events import TrailersReceived
from hypothesis import given
from hypothesis import strategies as st

from grpclib_anyio._base.config import Configuration
from grpclib_anyio._stream.buffers import Inbox, Outbox
from grpclib_anyio.server import Stream
from harness.peer import (
    BOTH,
    Call,
    Network,
    channel_to,
    completes,
    fields_of,
    framed,
    served,
)

Chunks = list[bytes]
messages = st.lists(st.binary(max_size=300), max_size=20)


def chunked(data: bytes, cuts: list[int]) -> Chunks:
    """Cut bytes at some places."""
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(edges)]


# -- framing, without a wire --------------------------------------------------------------------


@given(messages, st.lists(st.integers(0, 10_000)))
def test_messages_are_cut_alike_whatever_the_chunks(sent: Chunks, cuts: list[int]) -> None:
    inbox = Inbox(300)
    for chunk in chunked(framed(*sent), cuts):
        inbox.feed(chunk)
    assert list(inbox.messages) == sent
    assert not inbox.is_incomplete


@given(messages, st.lists(st.integers(0, 10_000)), st.randoms())
def test_every_byte_of_a_message_is_credited_once(
    sent: Chunks, cuts: list[int], random: Random
) -> None:
    """Whether it is credited as a part of an incomplete message or with the whole one."""
    inbox, credited = Inbox(300), 0
    for chunk in chunked(framed(*sent), cuts):
        inbox.feed(chunk)
        while inbox.messages and random.random() < 0.5:
            credited += inbox.take()[1]
        if not inbox.messages:
            credited += inbox.credit_incomplete()
    while inbox.messages:
        credited += inbox.take()[1]
    assert credited == len(framed(*sent))


@given(messages, st.lists(st.integers(1, 100)))
def test_outbox_gives_what_was_added(sent: Chunks, sizes: list[int]) -> None:
    outbox = Outbox()
    for message in sent:
        outbox.add(message)
    assert len(outbox) == len(framed(*sent))
    taken = [outbox.take(size) for size in sizes]
    assert b"".join([*taken, outbox.take(len(outbox))]) == framed(*sent)
    assert len(outbox) == 0


def test_refused_message_leaves_those_before_it() -> None:
    inbox = Inbox(3)
    with pytest.raises(GRPCError):
        inbox.feed(framed(b"one", b"two", b"three"))
    assert list(inbox.messages) == [b"one", b"two"]


# -- on the wire --------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_message_of_the_largest_size_is_received() -> None:
    """Exactly max_message_size; one that is empty after it."""
    network = Network()
    async with channel_to(network, Configuration(max_message_size=1_000)) as channel:
        call = Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            peer, stream_id = await network.accept()
            await peer.respond(stream_id, b"x" * 1_000, b"", end=True)
        assert call.received == [b"x" * 1_000, b""]


@pytest.mark.anyio
async def test_larger_message_ends_its_call_and_no_other() -> None:
    """Known by its prefix: RESOURCE_EXHAUSTED and a reset, after the message before it."""
    network = Network()
    async with channel_to(network, Configuration(max_message_size=1_000)) as channel:
        call, other = Call(channel), Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            peer, stream_id = await network.accept()
            tasks.start_soon(other.run)
            _, other_id = await network.accept()
            peer.queue_headers(stream_id)
            peer.queue_data(stream_id, framed(b"one") + struct.pack(">?I", False, 1_001))  # noqa: FBT003 - the flag
            await peer.settle()
            assert call.status is Status.RESOURCE_EXHAUSTED
            assert call.received == [b"one"]
            assert peer.resets(stream_id) == [ErrorCodes.CANCEL]
            await peer.respond(other_id, b"fine", end=True)
        assert other.received == [b"fine"]


@pytest.mark.anyio
async def test_compressed_message_without_an_encoding() -> None:
    """The compressed flag, although nothing was agreed on."""
    network = Network()
    async with channel_to(network) as channel:
        call = Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            peer, stream_id = await network.accept()
            peer.queue_headers(stream_id)
            peer.queue_data(stream_id, struct.pack(">?I", True, 3) + b"one")  # noqa: FBT003 - the flag
            await peer.flush()
        assert call.status is Status.INTERNAL
        await peer.settle()
        assert peer.resets(stream_id) == [ErrorCodes.CANCEL]
        await completes(network, channel)


@pytest.mark.anyio
async def test_response_that_ends_within_a_message() -> None:
    """grpc-status 0 after half a message."""
    network = Network()
    async with channel_to(network) as channel:
        call = Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            peer, stream_id = await network.accept()
            peer.queue_headers(stream_id)
            peer.queue_data(stream_id, framed(b"one") + framed(b"two")[:-1])
            peer.queue_trailers(stream_id)
            await peer.flush()
        assert call.received == [b"one"]
        assert call.status is Status.INTERNAL
        await completes(network, channel)


@pytest.mark.anyio
async def test_reason_in_the_trailers_counts_more_than_half_a_message() -> None:
    """grpc-status 14 after half a message: the server says why."""
    network = Network()
    async with channel_to(network) as channel:
        call = Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            peer, stream_id = await network.accept()
            peer.queue_headers(stream_id)
            peer.queue_data(stream_id, framed(b"two")[:-1])
            peer.queue_trailers(stream_id, 14)
            await peer.flush()
        assert call.status is Status.UNAVAILABLE


async def echo(stream: Stream[bytes, bytes]) -> None:
    async for message in stream:
        await stream.send_message(message)


@pytest.mark.anyio
async def test_request_that_ends_within_a_message() -> None:
    """The handler's next receive fails; the client is told INTERNAL."""
    async with served(both=echo) as peer:
        stream_id = await peer.request(BOTH, end=False)
        peer.queue_data(stream_id, framed(b"one") + framed(b"two")[:-1], end=True)
        trailers = fields_of(await peer.expect(TrailersReceived))
        assert trailers["grpc-status"] == "13"
        assert peer.data(stream_id) == framed(b"one")


@pytest.mark.anyio
async def test_every_byte_in_a_frame_of_its_own() -> None:
    """Three messages, one of them empty, with padding around every byte."""
    network = Network()
    sent = [b"one", b"", b"three"]
    async with channel_to(network) as channel:
        call = Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            peer, stream_id = await network.accept()
            peer.queue_headers(stream_id)
            for number, byte in enumerate(framed(*sent)):
                peer.h2.send_data(stream_id, bytes([byte]), pad_length=number)
            peer.queue_trailers(stream_id)
            await peer.flush()
        assert call.received == sent


@pytest.mark.anyio
async def test_many_small_messages_in_one_frame() -> None:
    """A thousand messages in one DATA frame, then a thousand in one read of many frames."""
    network = Network()
    sent = [str(number).encode() for number in range(1_000)]
    async with channel_to(network) as channel:
        call = Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            peer, stream_id = await network.accept()
            peer.queue_headers(stream_id)
            peer.queue_data(stream_id, framed(*sent))
            peer.queue_messages(stream_id, *sent)
            peer.queue_trailers(stream_id)
            await peer.flush()
        assert call.received == sent + sent


@pytest.mark.anyio
async def test_response_without_messages() -> None:
    """A unary call that succeeds with nothing to show: an error of gRPC's, not a hang."""
    network = Network()
    async with channel_to(network) as channel:
        call = Call(channel, cardinality=Cardinality.UNARY_UNARY)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            peer, stream_id = await network.accept()
            await peer.respond(stream_id, end=True)
        assert (call.received, call.status) == ([], Status.UNIMPLEMENTED)
