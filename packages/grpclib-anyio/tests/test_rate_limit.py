"""What a peer may do now and then and not all the time: the limits alone, and on the wire."""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a task group may swallow what its body raises; a test would have failed.

from collections.abc import Awaitable, Callable

import anyio
import pytest
from grpclib.const import Status
from h2.errors import ErrorCodes
from h2.events import ResponseReceived
from h2.settings import SettingCodes
from hyperframe.frame import (
    DataFrame,
    ExtensionFrame,
    Frame,
    PingFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from trio.testing import MockClock

from grpclib_anyio._base.config import Configuration
from grpclib_anyio._base.rate_limit import LeakyBucket, Rate
from grpclib_anyio.server import Stream
from harness.peer import (
    BOTH,
    STREAM,
    Call,
    Network,
    ScriptedPeer,
    Service,
    channel_to,
    completes,
    framed,
    serving,
)

Handling = Stream[bytes, bytes]

#: Far below the defaults, so that a test goes over them in a few frames.
RATE = Rate(per_second=1, burst=5)
CONFIG = Configuration(
    max_resets=RATE,
    max_pings=RATE,
    max_settings=RATE,
    max_empty_frames=RATE,
    max_concurrent_streams=2,
    http2_min_recv_ping_interval_without_data=0,
)
#: Everything that was spent has leaked out again.
LONG = 100


async def echo(stream: Handling) -> None:
    async for message in stream:
        await stream.send_message(message)


async def hang(stream: Handling) -> None:
    del stream
    await anyio.sleep_forever()


# -- the bucket -----------------------------------------------------------------------------------


def spent(budget: LeakyBucket, count: int, now: float) -> list[bool]:
    """Return for each of ``count`` events at one moment whether it was allowed."""
    return [budget.allow(now) for _ in range(count)]


def test_a_burst_is_permitted_and_one_more_is_not() -> None:
    budget = LeakyBucket(b"", Rate(per_second=2, burst=3))
    assert spent(budget, 4, 1000.0) == [True, True, True, False]


def test_what_leaks_can_be_spent_again() -> None:
    budget = LeakyBucket(b"", Rate(per_second=2, burst=3))
    assert spent(budget, 3, 1000.0) == [True, True, True]
    assert spent(budget, 2, 1000.5) == [True, False]


def test_nothing_is_saved_beyond_the_burst() -> None:
    budget = LeakyBucket(b"", Rate(per_second=2, burst=3))
    assert spent(budget, 1, 0.0) == [True]
    assert spent(budget, 4, 1e6) == [True, True, True, False]


def test_the_rate_can_be_kept_up_for_ever() -> None:
    budget = LeakyBucket(b"", Rate(per_second=2, burst=1))
    assert all(budget.allow(0.5 * turn) for turn in range(10_000))


# -- on the wire ----------------------------------------------------------------------------------


def acknowledged(frame: Frame) -> Frame:
    frame.flags.add("ACK")
    return frame


async def reset(peer: ScriptedPeer) -> None:
    """Make a call and reset it in one write."""
    flush, peer.flush = peer.flush, anyio.lowlevel.checkpoint  # type: ignore[method-assign] # in one write
    peer.h2.reset_stream(await peer.request(STREAM, end=False))
    peer.flush = flush  # type: ignore[method-assign]
    await peer.flush()


async def provoked(peer: ScriptedPeer) -> None:
    """Make a call and have it reset by us, by an impossible window (CVE-2025-8671)."""
    stream_id = await peer.request(STREAM, end=False)
    await peer.send_frames(WindowUpdateFrame(stream_id, window_increment=2**31 - 1))
    await peer.settle()


async def refused(peer: ScriptedPeer) -> None:
    """Make a call beyond the limit of concurrent streams, which h2 itself would keep."""
    peer.h2.remote_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = 1000
    peer.h2.remote_settings.acknowledge()
    await peer.request(STREAM, end=False)


async def ping(peer: ScriptedPeer) -> None:
    await peer.send_frames(PingFrame(0, b"nuisance"))


async def ping_answer(peer: ScriptedPeer) -> None:
    await peer.send_frames(acknowledged(PingFrame(0, b"nuisance")))


async def settings(peer: ScriptedPeer) -> None:
    await peer.send_frames(SettingsFrame(0))


async def settings_answer(peer: ScriptedPeer) -> None:
    await peer.send_frames(acknowledged(SettingsFrame(0)))


async def empty_data(peer: ScriptedPeer) -> None:
    await peer.send_frames(DataFrame(1))


async def only_padding(peer: ScriptedPeer) -> None:
    await peer.send_frames(DataFrame(1, pad_length=3, flags=["PADDED"]))


async def unknown(peer: ScriptedPeer) -> None:
    await peer.send_frames(ExtensionFrame(0xBA, 0))


Event = Callable[[ScriptedPeer], Awaitable[None]]

CLIENT_FLOODS: dict[Event, bytes] = {
    reset: b"too_many_resets",
    provoked: b"too_many_resets",
    refused: b"too_many_resets",
    ping: b"too_many_pings",
    ping_answer: b"too_many_pings",
    settings: b"too_many_settings",
    settings_answer: b"too_many_settings",
    empty_data: b"too_many_empty_frames",
    only_padding: b"too_many_empty_frames",
    unknown: b"too_many_empty_frames",
}
SERVER_FLOODS: dict[Event, bytes] = {
    event: CLIENT_FLOODS[event] for event in (ping, settings, empty_data, unknown)
}


#: What makes calls of its own has none before, or as many as there may be.
CALLS_BEFORE: dict[Event, int] = {reset: 0, provoked: 0, refused: 2}


async def calm_client(service: Service, event: Event) -> ScriptedPeer:
    """Connect, and make the calls that an event is about."""
    peer = await service.connect()
    for _ in range(CALLS_BEFORE.get(event, 1)):
        await peer.request(STREAM, end=False)
    await peer.settle()
    await anyio.sleep(LONG)
    return peer


@pytest.mark.parametrize("event", CLIENT_FLOODS)
@pytest.mark.trio
async def test_flood_from_a_client(autojump_clock: MockClock, event: Event) -> None:
    del autojump_clock
    async with serving(CONFIG, stream=hang, both=echo) as service:
        bystander = await service.connect()
        stream_id = await bystander.request(BOTH, end=False)
        peer = await calm_client(service, event)
        for _ in range(RATE.burst):
            await event(peer)
        await peer.settle()
        assert peer.goaways() == []
        await event(peer)
        await peer.read_to_end()
        assert peer.goaways() == [(ErrorCodes.ENHANCE_YOUR_CALM, CLIENT_FLOODS[event])]
        bystander.queue_data(stream_id, framed(b"hello"), end=True)
        await bystander.expect(ResponseReceived)
        await bystander.settle()
        assert bystander.data(stream_id) == framed(b"hello")


@pytest.mark.parametrize("event", CLIENT_FLOODS)
@pytest.mark.trio
async def test_the_same_in_the_course_of_time(autojump_clock: MockClock, event: Event) -> None:
    del autojump_clock
    async with serving(CONFIG, stream=hang) as service:
        peer = await calm_client(service, event)
        for _ in range(3 * RATE.burst):
            await event(peer)
            await anyio.sleep(1)
        await peer.settle()
        assert peer.goaways() == []


@pytest.mark.parametrize("event", SERVER_FLOODS)
@pytest.mark.trio
async def test_flood_from_a_server(autojump_clock: MockClock, event: Event) -> None:
    """The call ends; the next one opens a new connection."""
    del autojump_clock
    network = Network()
    async with channel_to(network, CONFIG) as channel, anyio.create_task_group() as tasks:
        call = Call(channel)
        tasks.start_soon(call.run)
        peer, stream_id = await network.accept()
        await peer.respond(stream_id)
        await anyio.sleep(LONG)
        for _ in range(RATE.burst + 1):
            await event(peer)
        await peer.read_to_end()
        assert peer.goaways() == [(ErrorCodes.ENHANCE_YOUR_CALM, SERVER_FLOODS[event])]
        assert call.status is Status.UNAVAILABLE
        second = Call(channel)
        tasks.start_soon(second.run)
        peer, stream_id = await network.accept()
        await peer.respond(stream_id, b"fine", end=True)
    assert second.received == [b"fine"]
    assert len(network.peers) == 2


@pytest.mark.trio
async def test_calls_cancelled_after_their_answer_began_do_not_count() -> None:
    async def begin(stream: Handling) -> None:
        await stream.send_initial_metadata()
        await anyio.sleep_forever()

    async with serving(CONFIG, stream=begin) as service:
        peer = await service.connect()
        for _ in range(3 * RATE.burst):
            stream_id = await peer.request(STREAM, b"request")
            await peer.expect(ResponseReceived)
            await peer.reset(stream_id)
        await peer.settle()
        assert peer.goaways() == []


@pytest.mark.trio
async def test_messages_that_cross_our_reset_do_not_count() -> None:
    """h2 hands on DATA for a stream that is over without its bytes."""
    network = Network()
    async with channel_to(network, CONFIG) as channel:
        async with anyio.create_task_group() as tasks:
            call = Call(channel)
            tasks.start_soon(call.run)
            peer, stream_id = await network.accept()
            await peer.respond(stream_id)
            await anyio.wait_all_tasks_blocked()
            call.scope.cancel()
            await anyio.wait_all_tasks_blocked()
            for _ in range(3 * RATE.burst):
                peer.queue_messages(stream_id, b"late")
            await peer.settle()
        await completes(network, channel)
        assert peer.goaways() == []


@pytest.mark.trio
async def test_everybody_leaves_at_once_and_comes_back() -> None:
    """With the defaults: a thousand calls, all cancelled unanswered, five times over."""
    async with serving(stream=hang, both=echo) as service:
        peer = await service.connect()
        for _ in range(5):
            ids = [await peer.request(STREAM, b"request") for _ in range(1000)]
            await peer.settle()
            for stream_id in ids:
                peer.h2.reset_stream(stream_id, ErrorCodes.CANCEL)
            await peer.settle()
        assert peer.goaways() == []
        stream_id = await peer.request(BOTH, b"still here")
        await peer.settle()
        assert peer.data(stream_id) == framed(b"still here")


@pytest.mark.trio
async def test_window_updates_are_no_flood() -> None:
    """A peer that reads says so as often as it likes."""
    async with serving(CONFIG, both=echo) as service:
        peer = await service.connect()
        stream_id = await peer.request(BOTH, end=False)
        for _ in range(1000):
            await peer.send_frames(WindowUpdateFrame(0, window_increment=1))
        peer.queue_data(stream_id, framed(b"hello"), end=True)
        await peer.settle()
        assert peer.data(stream_id) == framed(b"hello")
