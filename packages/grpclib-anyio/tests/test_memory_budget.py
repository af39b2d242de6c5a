"""Bytes that a server holds for its calls, over all connections: who is refused, and who is not."""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a task group may swallow what its body raises; a test would have failed.

import tracemalloc
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import replace

import anyio
import pytest
from grpclib.const import Status
from h2.errors import ErrorCodes
from h2.events import ResponseReceived, TrailersReceived
from h2.settings import SettingCodes
from trio.testing import MockClock

from grpclib_anyio._base.config import Configuration
from grpclib_anyio._base.memory_budget import Holding, MemoryBudget, Share
from grpclib_anyio._fast.hpack_cache import HeaderDecoder
from grpclib_anyio.server import Stream
from harness.peer import (
    BOTH,
    STREAM,
    Call,
    Network,
    ScriptedPeer,
    channel_to,
    fields_of,
    framed,
    serving,
)

Handling = Stream[bytes, bytes]

KIB, MIB = 1024, 1024 * 1024
#: What each connection has in any case.
GUARANTEED = 256 * KIB
#: A server's limit; each connection may hold half of it.
LIMIT = 2 * MIB
CONFIG = Configuration(max_held_size=LIMIT, http2_connection_window_size=16 * MIB)
COMPRESSED = (("grpc-encoding", "gzip"),)


def gzipped(message: bytes) -> bytes:
    packed = zlib.compress(message, 9, wbits=31)
    return b"\1" + len(packed).to_bytes(4) + packed


async def echo(stream: Handling) -> None:
    async for message in stream:
        await stream.send_message(message)


async def hold(stream: Handling) -> None:
    """Receive a message, and keep it until the call is over."""
    message = await stream.recv_message()
    await anyio.sleep_forever()
    del message


async def hang(stream: Handling) -> None:
    del stream
    await anyio.sleep_forever()


def status_of(peer: ScriptedPeer, stream_id: int) -> str | None:
    """Return the status of a call, of those that came."""
    for event in peer._events:  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - all of them, in any order
        if isinstance(event, ResponseReceived | TrailersReceived) and event.stream_id == stream_id:
            status = fields_of(event).get("grpc-status")
            if status is not None:
                return status
    return None


async def answers(peer: ScriptedPeer) -> None:
    stream_id = await peer.request(BOTH, b"hello")
    await peer.settle()
    assert peer.data(stream_id) == framed(b"hello")


async def ask(peer: ScriptedPeer, data: bytes, path: str = STREAM, *, end: bool = True) -> int:
    """Make a call with these bytes of messages, some of them compressed."""
    stream_id = await peer.request(path, end=False, extra=COMPRESSED)
    peer.queue_data(stream_id, data, end=end)
    await peer.settle()
    return stream_id


# -- the budget alone -----------------------------------------------------------------------------


def test_a_connection_may_hold_half() -> None:
    budget = MemoryBudget(LIMIT)
    first, second = Share(budget), Share(budget)
    assert first.room == LIMIT // 2
    first.add(LIMIT // 2 - 1)
    assert first.room == 1
    assert second.room == LIMIT // 2


def test_each_connection_has_a_little_in_any_case() -> None:
    budget = MemoryBudget(LIMIT)
    for _ in range(2):
        Share(budget).add(LIMIT // 2)
    late = Share(budget)
    assert late.room == GUARANTEED
    late.add(GUARANTEED)
    assert late.room == 0


def test_what_is_given_back_is_there_for_others() -> None:
    share = Share(MemoryBudget(LIMIT))
    first, second = Holding(share), Holding(share)
    first.add(LIMIT // 2)
    assert second.room == 0
    first.give_back_all()
    first.give_back_all()
    assert second.room == LIMIT // 2


# -- what is counted ------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_messages_that_inflate_together_to_more_than_is_allowed() -> None:
    """Five fit into a connection's half. The others are refused, and inflated no further."""
    message = gzipped(b"\0" * (200 * KIB))
    async with serving(CONFIG, stream=hold, both=echo) as service:
        bystander, peer = await service.connect(), await service.connect()
        ids = [await ask(peer, message) for _ in range(20)]
        assert [status_of(peer, stream_id) for stream_id in ids] == [None] * 5 + ["8"] * 15
        assert service.held <= LIMIT // 2
        await answers(bystander)
        await answers(peer)
        await peer.reset(ids[0])
        await peer.settle()
        assert status_of(peer, await ask(peer, message)) is None
        assert peer.goaways() == []


@pytest.mark.trio
async def test_messages_on_many_connections() -> None:
    """Two connections fill it all, and others have what is guaranteed to them."""
    message = gzipped(b"\0" * (300 * KIB))
    small = gzipped(b"\0" * (100 * KIB))
    async with serving(CONFIG, stream=hold, both=echo) as service:
        peers = [await service.connect() for _ in range(4)]
        seen = [[status_of(p, await ask(p, message)) for _ in range(4)] for p in peers]
        assert seen[:2] == [[None, None, None, "8"]] * 2
        assert seen[2:] == [["8"] * 4] * 2
        assert status_of(peers[2], await ask(peers[2], small)) is None
        assert service.held <= LIMIT + 2 * GUARANTEED
        for peer in peers:
            await answers(peer)


@pytest.mark.trio
async def test_a_message_that_comes_in_parts() -> None:
    """It counts as it comes, and what there is no room for is not taken."""
    part = b"\0" * (100 * KIB)
    config = replace(CONFIG, http2_stream_window_size=MIB)
    async with serving(config, stream=hold, both=echo) as service:
        peer = await service.connect()
        ids = [await peer.request(STREAM, end=False) for _ in range(4)]
        await peer.settle()
        for stream_id in ids:
            peer.queue_data(stream_id, MIB.to_bytes(5))
        for stream_id in [*ids * 2, *ids[:2]]:
            peer.queue_data(stream_id, part)
            await peer.settle()
        assert service.held > 9 * len(part)
        assert [status_of(peer, stream_id) for stream_id in ids] == [None] * 4
        peer.queue_data(ids[3], part)
        await peer.settle()
        assert service.held <= LIMIT // 2
        assert [status_of(peer, stream_id) for stream_id in ids] == [None, None, None, "8"]
        await answers(peer)


@pytest.mark.trio
async def test_small_messages_count_as_objects() -> None:
    """In Python, a message of two bytes takes ten times as much as on the wire."""
    data = framed(b"xx") * 9000
    async with serving(CONFIG, stream=hang) as service:
        peer = await service.connect()
        await ask(peer, data, end=False)
        assert service.held > 9 * len(data)
        ids = [await ask(peer, data, end=False) for _ in range(3)]
        assert service.held <= LIMIT // 2 + 64 * 16_384 // 7
        assert peer.resets(ids[0]) == []


@pytest.mark.trio
async def test_headers_count() -> None:
    """One byte on the wire stands for a header of 4,000, on many streams and connections."""
    bomb = (("x", "a" * 3_900),) * 14
    config = Configuration(max_held_size=2 * MIB)
    async with serving(config, stream=hang, both=echo) as service:
        bystander = await service.connect()
        peers = [await service.connect() for _ in range(4)]
        refused: list[list[int]] = []
        for peer in peers:
            ids = [await peer.request(STREAM, end=False, extra=bomb) for _ in range(30)]
            await peer.settle()
            refused.append([code for stream_id in ids for code in peer.resets(stream_id)])
        assert service.held <= 2 * MIB + 3 * GUARANTEED
        assert [len(codes) for codes in refused] == [13, 13, 26, 26]
        assert {code for codes in refused for code in codes} == {ErrorCodes.ENHANCE_YOUR_CALM}
        assert [peer.goaways() for peer in peers] == [[]] * 4
        await answers(bystander)


@pytest.mark.trio
async def test_a_message_is_held_until_the_next_one_is_received() -> None:
    async with serving(CONFIG, both=echo) as service:
        peer = await service.connect(reads=True)
        stream_id = await ask(peer, gzipped(b"\0" * (100 * KIB)), BOTH, end=False)
        assert service.held > 100 * KIB
        for _ in range(20):
            peer.queue_data(stream_id, gzipped(b"\0" * (100 * KIB)))
            await peer.settle()
            assert 100 * KIB < service.held < 102 * KIB
        assert peer.resets(stream_id) == []


# -- it is given back -----------------------------------------------------------------------------


async def reset(peer: ScriptedPeer, stream_id: int) -> None:
    await peer.reset(stream_id)


async def lost(peer: ScriptedPeer, _stream_id: int) -> None:
    peer.stream.close()


async def torn(peer: ScriptedPeer, _stream_id: int) -> None:
    peer.stream.reset()


async def broken(peer: ScriptedPeer, _stream_id: int) -> None:
    await peer.stream.send(b"\0\0\1\0\0\0\0\0\0x")


async def late(_peer: ScriptedPeer, _stream_id: int) -> None:
    await anyio.sleep(5)


async def malformed(peer: ScriptedPeer, stream_id: int) -> None:
    """Another message, with something behind the end of gzip's data."""
    packed = zlib.compress(b"x" * 1000, wbits=31) + b"garbage"
    peer.queue_data(stream_id, b"\1" + len(packed).to_bytes(4) + packed)


async def refused(peer: ScriptedPeer, stream_id: int) -> None:
    """A flag that there is not."""
    peer.queue_data(stream_id, b"\7\0\0\0\1x")


async def ended(peer: ScriptedPeer, stream_id: int) -> None:
    peer.queue_data(stream_id, b"", end=True)
    peer.h2.end_stream(stream_id)


ENDINGS: list[Callable[[ScriptedPeer, int], Awaitable[None]]] = [
    reset,
    lost,
    torn,
    broken,
    late,
    malformed,
    refused,
    ended,
]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("unread", [False, True])
@pytest.mark.trio
async def test_every_end_of_a_call_gives_back(
    autojump_clock: MockClock,
    ending: Callable[[ScriptedPeer, int], Awaitable[None]],
    unread: bool,  # noqa: FBT001 - a parameter
) -> None:
    del autojump_clock

    async def handler(stream: Handling) -> None:
        if unread:
            await anyio.sleep(4)
        async for message in stream:
            del message

    async with serving(CONFIG, both=handler) as service:
        peer = await service.connect()
        extra = (*COMPRESSED, ("grpc-timeout", "3S")) if ending is late else COMPRESSED
        stream_id = await peer.request(BOTH, end=False, extra=extra)
        peer.queue_data(stream_id, gzipped(b"\0" * (100 * KIB)))
        await peer.settle()
        assert service.held > (200 if unread else 100 * KIB)
        await ending(peer, stream_id)
        await peer.flush() if not peer.stream.statistics().is_closed else None
        await anyio.sleep(10)
        assert service.held == 0


@pytest.mark.trio
async def test_a_server_that_is_stopped_gives_back() -> None:
    async with anyio.create_task_group() as tasks:
        async with serving(CONFIG, stream=hold) as service:
            peer = await service.connect()
            await ask(peer, gzipped(b"\0" * (100 * KIB)))
            assert service.held
            service._tasks.cancel_scope.cancel()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - as a server is stopped
        assert service.held == 0
        tasks.cancel_scope.cancel()


# -- others ---------------------------------------------------------------------------------------


@pytest.mark.trio
async def test_a_bomb_for_a_client_is_inflated_up_to_its_limit() -> None:
    """A thousand times as large, of which the client's memory sees no more than it allows."""
    network = Network(settings={SettingCodes.INITIAL_WINDOW_SIZE: MIB})
    async with channel_to(network, Configuration(max_message_size=MIB)) as channel:
        call = Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            peer, stream_id = await network.accept()
            peer.queue_headers(stream_id, ("grpc-encoding", "gzip"))
            bomb = gzipped(b"\0" * (50 * MIB))
            assert len(bomb) < 64 * KIB
            tracemalloc.start()
            peer.queue_data(stream_id, bomb)
            await peer.settle()
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert call.status is Status.RESOURCE_EXHAUSTED
        assert peak < 5 * MIB


def test_blocks_of_many_headers_are_not_remembered() -> None:
    """Each is a byte on the wire, and here an object."""
    decoder = HeaderDecoder()
    decoder.max_header_list_size = 64 * KIB
    for number in range(60):
        block = bytes([0x82 + number % 14, *[0x90] * 1000])
        assert len(list(decoder.decode(block, raw=True))) == 1001
        assert not decoder.knows(block)
    assert list(decoder.decode(b"\x82\x86\x84", raw=True))
    assert decoder.knows(b"\x82\x86\x84")
