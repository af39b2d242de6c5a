"""Work that a peer makes for us and that moves no call forward: how much, and how long at a time.

The floods that each have a rate of their own are in test_rate_limit.py.
"""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a task group may swallow what its body raises; a test would have failed.

import time
from collections.abc import Callable
from contextlib import suppress

import anyio
import pytest
from anyio.lowlevel import checkpoint
from grpclib.const import Cardinality, Status
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    HeadersFrame,
    PriorityFrame,
    RstStreamFrame,
    WindowUpdateFrame,
)
from trio.testing import MockClock

from grpclib_anyio._base.config import Configuration
from grpclib_anyio._base.rate_limit import EarnedBucket, Rate
from grpclib_anyio._connection.sender import Sender
from grpclib_anyio._stream.buffers import Inbox
from grpclib_anyio._stream.stream import MessageStream
from grpclib_anyio.server import GRPCError, Stream
from harness.frames import DATA, END_HEADERS, HEADERS, PING, SETTINGS, UPDATE, frame
from harness.peer import (
    BOTH,
    STREAM,
    Call,
    Network,
    ScriptedPeer,
    channel_to,
    framed,
    serving,
)

Handling = Stream[bytes, bytes]

RATE = Rate(per_second=1, burst=5)
CONFIG = Configuration(
    max_resets=RATE,
    max_empty_frames=RATE,
    max_window_updates=RATE,
    http2_min_recv_ping_interval_without_data=0,
)
#: WINDOW_UPDATE frames that each frame of ours pays for.
PAID = 10
#: Frames that may cross each reset of ours.
LATE = 4
#: Everything that was spent has leaked out again.
LONG = 100
LARGE = b"x" * 70_000


async def echo(stream: Handling) -> None:
    async for message in stream:
        await stream.send_message(message)


async def hang(stream: Handling) -> None:
    del stream
    await anyio.sleep_forever()


async def answers(peer: ScriptedPeer) -> None:
    """See that the connection works."""
    stream_id = await peer.request(BOTH, b"hello")
    await peer.settle()
    assert peer.data(stream_id) == framed(b"hello")


# -- what work of ours pays for -------------------------------------------------------------------


def test_events_that_are_paid_for_do_not_fill_the_bucket() -> None:
    bucket = EarnedBucket(b"", Rate(per_second=1, burst=2), price=3)
    assert [bucket.allow_for(1, 0.0) for _ in range(6)] == [True] * 5 + [False]


def test_what_was_paid_and_not_used_is_kept() -> None:
    bucket = EarnedBucket(b"", Rate(per_second=1, burst=1), price=2)
    assert [bucket.allow_for(0, 0.0) for _ in range(2)] == [True, False]
    assert [bucket.allow_for(2, 0.0) for _ in range(5)] == [True] * 4 + [False]


# -- floods ---------------------------------------------------------------------------------------

#: A flood, frame by frame, and what the peer is told. Stream 1 is open, and stream 3 has been
#: reset. Four frames of ours have been sent before, or none.
FLOODS: dict[str, tuple[Callable[[], Frame], bytes]] = {
    "window of a stream": (
        lambda: WindowUpdateFrame(1, window_increment=1),
        b"too_many_window_updates",
    ),
    "window of the connection": (
        lambda: WindowUpdateFrame(0, window_increment=1),
        b"too_many_window_updates",
    ),
    "window of a stream that is over": (
        lambda: WindowUpdateFrame(3, window_increment=1),
        b"too_many_window_updates",
    ),
    "reset of a stream that is over": (lambda: RstStreamFrame(3), b"too_many_resets"),
    "priority": (lambda: PriorityFrame(1, depends_on=0), b"too_many_empty_frames"),
    "priority of no stream": (lambda: PriorityFrame(99, depends_on=0), b"too_many_empty_frames"),
    "byte by byte": (lambda: DataFrame(1, b"x"), b"too_many_empty_frames"),
    "63 bytes": (lambda: DataFrame(1, b"x" * 63), b"too_many_empty_frames"),
}


async def flood(peer: ScriptedPeer, make: Callable[[], Frame], count: int) -> None:
    for _ in range(count):
        await peer.send_frames(make())
    await peer.settle()


@pytest.mark.parametrize("name", FLOODS)
@pytest.mark.trio
async def test_flood_from_a_client(autojump_clock: MockClock, name: str) -> None:
    del autojump_clock
    make, detail = FLOODS[name]
    async with serving(CONFIG, stream=hang, both=echo) as service:
        bystander, peer = await service.connect(), await service.connect()
        await peer.request(STREAM, end=False)
        await peer.reset(await peer.request(STREAM, end=False))
        await peer.send_frames(DataFrame(1, b"\0\0\1\0\0xx"), DataFrame(1, b"x"))
        await peer.settle()
        await anyio.sleep(LONG)
        await flood(peer, make, RATE.burst)
        assert peer.goaways() == []
        await anyio.sleep(1)
        await flood(peer, make, 1)
        assert peer.goaways() == []
        await peer.send_frames(make())
        await peer.read_to_end()
        assert peer.goaways() == [(ErrorCodes.ENHANCE_YOUR_CALM, detail)]
        await answers(bystander)


@pytest.mark.parametrize("name", FLOODS)
@pytest.mark.trio
async def test_flood_from_a_server(autojump_clock: MockClock, name: str) -> None:
    """Stream 1 and its request are three frames that pay for window updates.

    The reset of stream 3 pays for frames that have crossed it.
    """
    del autojump_clock
    make, detail = FLOODS[name]
    network = Network()
    async with channel_to(network, CONFIG) as channel, anyio.create_task_group() as tasks:
        call, other = Call(channel), Call(channel)
        tasks.start_soon(call.run)
        peer, stream_id = await network.accept()
        tasks.start_soon(other.run)
        await network.accept()
        other.scope.cancel()
        await peer.respond(stream_id)
        await peer.send_frames(DataFrame(1, b"\0\0\1\0\0xx"), DataFrame(1, b"x"))
        await peer.settle()
        await anyio.sleep(LONG)
        paid = PAID * 4 if "window" in name else LATE if "reset" in name else 0
        await flood(peer, make, paid + RATE.burst)
        assert peer.goaways() == []
        await peer.send_frames(make())
        await peer.read_to_end()
        assert peer.goaways() == [(ErrorCodes.ENHANCE_YOUR_CALM, detail)]
        assert call.status is Status.UNAVAILABLE


@pytest.mark.trio
async def test_ten_window_updates_for_each_frame_are_no_flood(autojump_clock: MockClock) -> None:
    """And they may come late, as those of a slow reader do."""
    del autojump_clock
    async with serving(CONFIG, both=echo) as service:
        peer = await service.connect()
        stream_id = await peer.request(BOTH, *[b"hello"] * 20, end=False)
        await peer.settle()
        sent = len([f for f in peer.frames_of(stream_id) if isinstance(f, DataFrame)])
        update = WindowUpdateFrame(stream_id, window_increment=1)
        await flood(peer, lambda: update, PAID * sent)
        assert peer.goaways() == []


@pytest.mark.trio
async def test_pieces_that_are_no_flood(autojump_clock: MockClock) -> None:
    """A prefix of its own, messages of one byte, and a rest of one byte behind each large piece."""
    del autojump_clock
    async with serving(CONFIG, both=echo) as service:
        peer = await service.connect()
        stream_id = await peer.request(BOTH, end=False)
        for _ in range(10 * RATE.burst):
            await peer.send_frames(DataFrame(stream_id, b"\0\0\0\0\1"), DataFrame(stream_id, b"x"))
            await peer.send_frames(DataFrame(stream_id, framed(b"y")))
        await peer.send_frames(DataFrame(stream_id, (60_000).to_bytes(5)))
        for _ in range(10 * RATE.burst):
            await peer.send_frames(DataFrame(stream_id, b"z" * 64), DataFrame(stream_id, b"z"))
        await peer.settle()
        assert peer.goaways() == []
        assert peer.data(stream_id) == framed(b"x", b"y") * (10 * RATE.burst)


def test_only_small_pieces_in_a_row_are_crumbs() -> None:
    inbox = Inbox(1000)
    pieces = [(500).to_bytes(5), b"x", b"x", b"x" * 64, b"x" * 63, b"x" * 63, b"x" * 308]
    assert [inbox.feed(piece) for piece in pieces] == [
        False,
        False,
        True,
        False,
        False,
        True,
        False,
    ]


@pytest.mark.trio
async def test_resets_and_updates_that_cross_the_end_of_a_stream_are_no_flood(
    autojump_clock: MockClock,
) -> None:
    """Each call ends, and the client, which cannot know that yet, resets it all the same."""
    del autojump_clock
    async with serving(both=echo) as service:
        peer = await service.connect()
        for _ in range(1000):
            stream_id = await peer.request(BOTH, b"hello")
            await peer.settle()
            update = WindowUpdateFrame(stream_id, window_increment=5)
            await peer.send_frames(update, RstStreamFrame(stream_id))
        await answers(peer)


@pytest.mark.trio
async def test_ends_that_cross_the_reset_of_an_early_answer_are_no_flood(
    autojump_clock: MockClock,
) -> None:
    """The handler needs no more of the request, which the client ends by an empty frame."""
    del autojump_clock

    async def refuse(_stream: Handling) -> None:
        await checkpoint()
        raise GRPCError(Status.RESOURCE_EXHAUSTED)

    async with serving(CONFIG, both=echo, stream=refuse) as service:
        peer = await service.connect()
        for _ in range(10 * RATE.burst):
            stream_id = await peer.request(STREAM, end=False)
            await peer.settle()
            assert peer.resets(stream_id) == [ErrorCodes.NO_ERROR]
            end = DataFrame(stream_id, b"", flags=["END_STREAM"])
            await peer.send_frames(end, RstStreamFrame(stream_id))
        await answers(peer)


# -- header blocks --------------------------------------------------------------------------------


@pytest.mark.trio
async def test_a_block_that_does_not_end_takes_bounded_memory() -> None:
    """h2 keeps 64 frames of it, which may be a megabyte."""
    async with serving(Configuration(max_header_list_size=1024), both=echo) as service:
        bystander, peer = await service.connect(), await service.connect()
        await peer.settle()
        sent = 0
        await peer.send_frames(HeadersFrame(1, b"x" * 1000))
        with suppress(anyio.BrokenResourceError):
            while sent < 64:
                await peer.send_frames(ContinuationFrame(1, b"x" * 1000))
                await peer.settle()
                if peer.goaways():
                    break
                sent += 1
        assert sent < 5
        assert [code for code, _ in peer.goaways()] == [ErrorCodes.ENHANCE_YOUR_CALM]
        await answers(bystander)


# -- the event loop's turns -----------------------------------------------------------------------

#: As many bytes as are read at once, and more.
FLOOD_SIZE = 64_000
#: These frames are five milliseconds of work at most.
FRAMES_PER_TURN = 200

UNTIMELY: dict[str, bytes] = {
    "malformed headers": b"\x83\x86\x84",
    "long headers": b"\x90" * 1500,
}


async def count_turns(turns: list[float]) -> None:
    while True:
        turns.append(time.perf_counter())
        await checkpoint()


async def turns_taken(peer: ScriptedPeer, data: bytes) -> int:
    """Count the turns of another task while the server handles bytes."""
    turns: list[float] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(count_turns, turns)
        await peer.stream.send(data)
        before = len(turns)
        peer.h2.ping(b"the last")
        await peer.flush()
        answers = b""
        while b"the last" not in answers:
            answers += peer.stream.receive_nowait()
            await checkpoint()
        tasks.cancel_scope.cancel()
    return len(turns) - before


def repeated(make: Callable[[int], bytes]) -> tuple[bytes, int]:
    """Return frames of about the size of a flood, and their number."""
    count = FLOOD_SIZE // len(make(0))
    return b"".join([make(number) for number in range(count)]), count


CHEAP: dict[str, Callable[[int], bytes]] = {
    "settings": lambda _: frame(SETTINGS, 0, 0, b""),
    "empty data": lambda _: frame(DATA, 0, 1, b""),
    "updates": lambda _: frame(UPDATE, 0, 0, b"\0\0\0\1"),
    "unknown": lambda _: frame(0xBA, 0, 0, b""),
}

GENEROUS = Rate(per_second=1e9, burst=10**9)
UNLIMITED = Configuration(
    max_resets=GENEROUS,
    max_settings=GENEROUS,
    max_pings=GENEROUS,
    max_empty_frames=GENEROUS,
    max_window_updates=GENEROUS,
    http2_min_recv_ping_interval_without_data=0,
)


async def quiet_client(peer: ScriptedPeer) -> None:
    await peer.request(STREAM, end=False)
    await peer.settle()


@pytest.mark.parametrize("name", CHEAP)
@pytest.mark.trio
async def test_other_tasks_run_while_a_flood_is_handled(name: str) -> None:
    data, count = repeated(CHEAP[name])
    async with serving(UNLIMITED, stream=hang) as service:
        peer = await service.connect()
        await quiet_client(peer)
        assert await turns_taken(peer, data) >= count // FRAMES_PER_TURN


@pytest.mark.parametrize("name", UNTIMELY)
@pytest.mark.trio
async def test_headers_count_for_more_than_other_frames(name: str) -> None:
    """Each takes a tenth of a millisecond, and a long one two or three."""
    headers = UNTIMELY[name]
    data, count = repeated(lambda i: frame(HEADERS, END_HEADERS, 3 + 2 * i, headers))
    async with serving(UNLIMITED, stream=hang) as service:
        peer = await service.connect()
        await quiet_client(peer)
        cost = 5 + len(headers) // 12
        # What is left over at the end of a read begins no turn of its own.
        assert await turns_taken(peer, data) >= 0.9 * count * cost / FRAMES_PER_TURN


@pytest.mark.trio
async def test_a_few_frames_are_handled_in_one_turn() -> None:
    """What an honest peer sends is not slowed down."""
    async with serving(UNLIMITED, stream=hang) as service:
        peer = await service.connect()
        await quiet_client(peer)
        before = await turns_taken(peer, b"")
        few = frame(SETTINGS, 0, 0, b"") * 50
        assert await turns_taken(peer, few) <= before + 2


@pytest.mark.trio
async def test_a_call_that_is_reset_before_its_turn_is_not_run() -> None:
    begun: list[str] = []

    async def begin(stream: Handling) -> None:
        begun.append("handler")
        await stream.recv_message()

    async with serving(stream=begin, both=echo) as service:
        peer = await service.connect()
        await peer.settle()
        for _ in range(20):
            stream_id = peer.h2.get_next_available_stream_id()
            peer.h2.send_headers(
                stream_id,
                [
                    (":method", "POST"),
                    (":scheme", "http"),
                    (":path", STREAM),
                    (":authority", "test"),
                    ("te", "trailers"),
                    ("content-type", "application/grpc"),
                ],
            )
            peer.h2.reset_stream(stream_id)
        await peer.settle()
        assert begun == []
        await answers(peer)


# -- windows that are opened bit by bit -----------------------------------------------------------


@pytest.mark.trio
async def test_a_window_update_costs_the_same_however_many_streams_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[int] = []
    send = Sender._send_frame  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - nothing else tells

    def counted(self: Sender, stream: MessageStream) -> None:
        tried.append(stream.id)
        send(self, stream)

    monkeypatch.setattr(Sender, "_send_frame", counted)

    async def answer(stream: Handling) -> None:
        await stream.recv_message()
        await stream.send_message(LARGE)

    settings = {SettingCodes.INITIAL_WINDOW_SIZE: 2**20}
    async with serving(stream=answer) as service:
        peer = await service.connect(settings=settings, reads=False)
        ids = [await peer.request(STREAM, b"one") for _ in range(200)]
        await peer.settle()
        for _ in range(3):
            tried.clear()
            peer.h2.increment_flow_control_window(1)
            await peer.settle()
            assert 1 <= len(tried) <= 2
        assert sum(len(peer.data(stream_id)) for stream_id in ids) == 65_535 + 3
        peer.h2.increment_flow_control_window(2**30)
        await peer.settle()
        assert [peer.data(stream_id) for stream_id in ids] == [framed(LARGE)] * len(ids)
        assert all(peer.ends(stream_id) for stream_id in ids)


@pytest.mark.trio
async def test_a_stream_ends_while_the_connections_window_is_shut() -> None:
    """The end of a request takes no window (RFC 9113 § 5.2.1)."""
    network = Network(settings={SettingCodes.INITIAL_WINDOW_SIZE: 2**20}, reads=False)
    async with channel_to(network) as channel, anyio.create_task_group() as tasks:
        call = channel.request(BOTH, Cardinality.STREAM_STREAM, bytes, bytes)
        async with call:
            await call.send_message(b"small")
            peer, small = await network.accept()
            other = Call(channel, LARGE)
            tasks.start_soon(other.run)
            _, large = await network.accept()
            await peer.settle()
            await call.end()
            await peer.settle()
            assert peer.ends(small)
            assert not peer.ends(large)
            await call.cancel()
        other.scope.cancel()


@pytest.mark.trio
async def test_a_stream_waits_for_both_windows() -> None:
    """Its own, and the connection's, opened in either order."""

    async def answer(stream: Handling) -> None:
        await stream.recv_message()
        await stream.send_message(LARGE)

    settings = {SettingCodes.INITIAL_WINDOW_SIZE: 60_000}
    async with serving(stream=answer) as service:
        peer = await service.connect(settings=settings, reads=False)
        first, second, third = [await peer.request(STREAM, b"one") for _ in range(3)]
        await peer.settle()
        await peer.reset(third)
        for number in (second, None, first):
            peer.h2.increment_flow_control_window(2**20, number)
            await peer.settle()
        assert peer.data(first) == peer.data(second) == framed(LARGE)
        assert peer.ends(first)
        assert peer.ends(second)


# -- peers that do not read -----------------------------------------------------------------------

BUFFER = 1000
SMALL_BUFFER = Configuration(
    max_write_buffer_size=BUFFER, http2_min_recv_ping_interval_without_data=0, close_timeout=2.0
)


@pytest.mark.anyio
@pytest.mark.parametrize("kind", [PING, SETTINGS])
async def test_a_burst_that_has_to_be_answered_is_no_peer_that_does_not_read(kind: int) -> None:
    """All in one read, and the writer has not had its turn when the answers are counted."""
    payload = b"nuisance" if kind == PING else b""
    async with serving(SMALL_BUFFER, both=echo) as service:
        peer = await service.connect()
        await peer.settle()
        await peer.stream.send(frame(kind, 0, 0, payload) * 90)
        await answers(peer)


@pytest.mark.trio
async def test_many_answers_at_once_are_no_peer_that_does_not_read() -> None:
    """Their headers are queued at once, whatever the windows are."""
    go = anyio.Event()

    async def answer(stream: Handling) -> None:
        await go.wait()
        stream.set_trailing_metadata({"x": "a" * 500})
        await echo(stream)

    async with serving(SMALL_BUFFER, both=answer) as service:
        peer = await service.connect()
        ids = [await peer.request(BOTH, b"one") for _ in range(20)]
        await peer.settle()
        go.set()
        for _ in range(10):
            await checkpoint()
            peer.h2.ping(b"meanwhil")
            await peer.flush()
        await peer.settle()
        assert [peer.data(stream_id) for stream_id in ids] == [framed(b"one")] * 20


@pytest.mark.trio
async def test_a_peer_that_does_not_read_is_given_up(autojump_clock: MockClock) -> None:
    del autojump_clock
    async with serving(SMALL_BUFFER, both=echo) as service:
        bystander = await service.connect()
        peer = await service.connect(buffer_size=500)
        await peer.settle()
        started = anyio.current_time()
        with suppress(anyio.BrokenResourceError):
            while True:
                peer.h2.ping(b"nuisance")
                await peer.flush()
                await anyio.wait_all_tasks_blocked()
        assert anyio.current_time() == started + 2.0
        await answers(bystander)


@pytest.mark.trio
async def test_a_peer_that_reads_late_goes_on(autojump_clock: MockClock) -> None:
    """What it sends until then waits in its own socket, and is not lost."""
    del autojump_clock
    async with serving(SMALL_BUFFER, both=echo) as service:
        peer = await service.connect(buffer_size=500)
        await peer.settle()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.stream.send, frame(PING, 0, 0, b"nuisance") * 300)
            await anyio.sleep(1.9)
            await peer.settle()
        await answers(peer)
        assert peer.goaways() == []


def leave(_peer: ScriptedPeer, scope: anyio.CancelScope) -> None:
    scope.cancel()


def close(peer: ScriptedPeer, _scope: anyio.CancelScope) -> None:
    peer.stream.close()


def tear(peer: ScriptedPeer, _scope: anyio.CancelScope) -> None:
    peer.stream.reset()


def nothing(_peer: ScriptedPeer, _scope: anyio.CancelScope) -> None:
    pass


@pytest.mark.trio
@pytest.mark.parametrize(("event", "seconds"), [(leave, 2), (close, 0), (tear, 0), (nothing, 2)])
async def test_everything_ends_the_wait_for_a_peer_that_does_not_read(
    autojump_clock: MockClock,
    event: Callable[[ScriptedPeer, anyio.CancelScope], None],
    seconds: float,
) -> None:
    """A channel's reader waits for its writer, and the writer for the peer."""
    del autojump_clock
    network = Network(buffer_size=500, reads=False)
    pings = frame(PING, 0, 0, b"nuisance") * 20
    with anyio.CancelScope() as scope:
        async with channel_to(network, SMALL_BUFFER) as channel:
            call = Call(channel)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call.run)
                peer, _ = await network.accept()
                with suppress(anyio.WouldBlock):  # the channel reads no further
                    while True:
                        peer.stream.send_nowait(pings)
                        await anyio.wait_all_tasks_blocked()
                started = anyio.current_time()
                event(peer, scope)
    assert anyio.current_time() - started == seconds
    assert network.streams[0].statistics().is_closed
