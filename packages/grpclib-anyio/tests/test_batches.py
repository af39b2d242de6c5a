"""Messages received several at a time (`Stream.recv_messages`)."""

import gzip
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from grpclib.const import Cardinality, Status
from grpclib.events import RecvMessage, listen
from grpclib.exceptions import GRPCError
from h2.errors import ErrorCodes
from hyperframe.frame import WindowUpdateFrame

from grpclib_anyio.client import Stream
from grpclib_anyio.testing import ChannelOver
from harness.peer import NOTHING, STREAM, Network, Raw, ScriptedPeer, framed

MOST = 64

pytestmark = pytest.mark.anyio


class Picky(Raw):
    """Cannot decode one message."""

    def decode(self, data: bytes, message_type: Any) -> Any:
        if data == b"bad":
            raise ValueError(data)
        return super().decode(data, message_type)


@asynccontextmanager
async def calling(
    *extra: tuple[str, str],
) -> AsyncGenerator[tuple[Stream[bytes, bytes], ScriptedPeer, int]]:
    """Give a call whose response has begun, the peer and the stream's number."""
    network = Network()
    async with ChannelOver(network.connect, codec=Picky()) as channel:
        async with channel.request(STREAM, Cardinality.UNARY_STREAM, bytes, bytes) as call:
            await call.send_message(b"request")
            peer, stream_id = await network.accept()
            peer.queue_headers(stream_id, *extra)
            yield call, peer, stream_id
        await peer.settle()
        assert channel.statistics() == NOTHING


async def test_all_that_are_there() -> None:
    """In order, as many as there are and 64 at most, then none; nothing is waited for."""
    sent = [str(number).encode() for number in range(MOST + 3)]
    async with calling() as (call, peer, stream_id):
        peer.queue_messages(stream_id, *sent)
        await peer.settle()
        assert await call.recv_messages() == sent[:MOST]
        assert await call.recv_messages() == sent[MOST:]
        peer.queue_messages(stream_id, b"", b"last")
        peer.queue_trailers(stream_id)
        await peer.settle()
        assert await call.recv_messages() == [b"", b"last"]
        assert await call.recv_messages() == []
        assert await call.recv_messages() == []


async def test_waits_for_the_first() -> None:
    """And a cancelled wait loses nothing."""
    async with calling() as (call, peer, stream_id):
        received: list[bytes] = []

        async def receive() -> None:
            received.extend(await call.recv_messages())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive)
            await peer.settle()
            tasks.cancel_scope.cancel()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive)
            await peer.settle()
            peer.queue_data(stream_id, framed(b"one")[:4])
            await peer.settle()
            assert received == []
            peer.queue_data(stream_id, framed(b"one", b"two")[4:])
            await peer.flush()
        assert received == [b"one", b"two"]
        peer.queue_trailers(stream_id)
        await peer.flush()


async def test_one_by_one_and_several_can_be_mixed() -> None:
    async with calling() as (call, peer, stream_id):
        peer.queue_messages(stream_id, b"one", b"two", b"three")
        peer.queue_trailers(stream_id)
        await peer.settle()
        assert await call.recv_message() == b"one"
        assert await call.recv_messages() == [b"two", b"three"]
        assert await call.recv_message() is None


async def test_window_is_opened_again_by_what_was_taken() -> None:
    """To the byte: three windows full of messages, and the peer may send a whole one at the end."""
    async with calling() as (call, peer, stream_id):
        for _ in range(3):
            peer.queue_messages(stream_id, *[b"x" * 995] * 64)
            await peer.settle()
            assert len(await call.recv_messages()) == MOST
            await peer.settle()
        updates = [f for f in peer.frames_of(stream_id) if isinstance(f, WindowUpdateFrame)]
        assert [update.window_increment for update in updates] == [64_000] * 3
        peer.queue_trailers(stream_id)
        await peer.flush()


async def test_malformed_message_fails_the_next_batch() -> None:
    """What came before it is not lost, and nothing that came after it is received."""
    async with calling() as (call, peer, stream_id):
        peer.queue_messages(stream_id, b"one", b"two", b"bad", b"three")
        await peer.settle()
        assert await call.recv_messages() == [b"one", b"two"]
        for _ in range(2):
            assert await failure_of(call) is Status.INTERNAL
        await call.cancel()


async def test_malformed_message_that_comes_first() -> None:
    async with calling() as (call, peer, stream_id):
        peer.queue_messages(stream_id, b"bad", b"one")
        await peer.settle()
        assert await failure_of(call) is Status.INTERNAL
        await call.cancel()


async def test_failure_follows_the_messages() -> None:
    """A call that has failed still gives what came before."""
    async with calling() as (call, peer, stream_id):
        peer.queue_messages(stream_id, b"one")
        await peer.flush()
        await peer.reset(stream_id, ErrorCodes.REFUSED_STREAM)
        await peer.settle()
        assert await call.recv_messages() == [b"one"]
        assert await failure_of(call) is Status.UNAVAILABLE
        await call.cancel()


async def test_compressed_messages() -> None:
    """Inflated one at a time: one that is not gzip fails alone."""
    async with calling(("grpc-encoding", "gzip")) as (call, peer, stream_id):
        body = gzip.compress(b"one")
        peer.queue_data(stream_id, struct.pack(">BI", 1, len(body)) + body)
        peer.queue_data(stream_id, struct.pack(">BI", 1, 3) + b"bad")
        await peer.settle()
        assert await call.recv_messages() == [b"one"]
        assert await failure_of(call) is Status.INTERNAL
        await call.cancel()


async def failure_of(call: Stream[bytes, bytes]) -> Status:
    """Receive, and return why that failed."""
    with pytest.raises(GRPCError) as caught:
        await call.recv_messages()
    return caught.value.status


async def test_listeners_see_each_message() -> None:
    network = Network()
    seen: list[object] = []

    async def note(event: RecvMessage) -> None:
        seen.append(event.message)

    async with ChannelOver(network.connect, codec=Raw()) as channel:
        listen(channel, RecvMessage, note)
        async with channel.request(STREAM, Cardinality.UNARY_STREAM, bytes, bytes) as call:
            await call.send_message(b"request")
            peer, stream_id = await network.accept()
            await peer.respond(stream_id, b"one", b"two", end=True)
            await peer.settle()
            assert await call.recv_messages() == [b"one", b"two"] == seen
