"""Pings, to the second: when one is sent, when a peer counts as gone, and how many are borne."""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a task group may swallow what its body raises; a test would have failed.

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from grpclib.const import Status
from h2.errors import ErrorCodes
from h2.events import PingAckReceived, PingReceived
from hyperframe.frame import GoAwayFrame, PingFrame
from trio.testing import MockClock

from grpclib_anyio._base.config import Configuration
from grpclib_anyio.server import Stream
from harness.peer import (
    STREAM,
    Call,
    Network,
    ScriptedPeer,
    channel_to,
    completes,
    served,
)

pytestmark = pytest.mark.trio

TIME, TIMEOUT = 20.0, 10.0


def keepalive(**more: Any) -> Configuration:
    return Configuration(keepalive_time=TIME, keepalive_timeout=TIMEOUT, **more)


class Pings:
    """When the pings came, counted from the start."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.start = anyio.current_time()

    async def note(self, peer: ScriptedPeer) -> None:
        """Answer pings and note when they come, until cancelled."""
        while True:
            await peer.expect(PingReceived)
            self.times.append(anyio.current_time() - self.start)


@asynccontextmanager
async def waiting_call(config: Configuration) -> AsyncGenerator[tuple[Call, ScriptedPeer, Network]]:
    """Give a call that waits for its first message, which it gets in the end."""
    network = Network()
    async with channel_to(network, config) as channel, anyio.create_task_group() as tasks:
        call = Call(channel)
        tasks.start_soon(call.run)
        peer, _ = await network.accept()
        yield call, peer, network
        tasks.cancel_scope.cancel()


async def test_ping_comes_after_silence_with_a_call_open(autojump_clock: MockClock) -> None:
    """The last bytes came at 5 s: a ping at 25 s exactly, and its answer restarts the count."""
    del autojump_clock
    config = keepalive(http2_min_sent_ping_interval_without_data=1.0)
    async with waiting_call(config) as (_, peer, _), anyio.create_task_group() as tasks:
        pings = Pings()
        await anyio.sleep(5)
        await peer.respond(1, b"one")
        tasks.start_soon(pings.note, peer)
        await anyio.sleep_until(pings.start + 64)
        tasks.cancel_scope.cancel()
    # 25 s answered at once; then 10 s for the answer to have come, 20 s of silence since it came.
    assert pings.times == [25, 45]


async def test_no_ping_while_messages_come(autojump_clock: MockClock) -> None:
    """A message every 19 s."""
    del autojump_clock
    async with waiting_call(keepalive()) as (_, peer, _), anyio.create_task_group() as tasks:
        pings = Pings()
        peer.queue_headers(1)
        tasks.start_soon(pings.note, peer)
        for _ in range(10):
            peer.queue_messages(1, b"token")
            await peer.flush()
            await anyio.sleep(19)
        tasks.cancel_scope.cancel()
    assert pings.times == []


async def test_no_ping_without_calls(autojump_clock: MockClock) -> None:
    """The connection is idle for an hour; 20 s after the next call begins, there is one."""
    del autojump_clock
    network = Network()
    async with channel_to(network, keepalive()) as channel:
        await completes(network, channel)
        async with anyio.create_task_group() as tasks:
            pings = Pings()
            tasks.start_soon(pings.note, network.peer)
            await anyio.sleep(3600)
            assert pings.times == []
            tasks.start_soon(Call(channel).run)
            await anyio.sleep(25)
            tasks.cancel_scope.cancel()
        assert pings.times == [3620]


async def test_ping_without_calls_where_permitted(autojump_clock: MockClock) -> None:
    """`keepalive_permit_without_calls`."""
    del autojump_clock
    network = Network()
    async with channel_to(network, keepalive(keepalive_permit_without_calls=True)) as channel:
        await completes(network, channel)
        async with anyio.create_task_group() as tasks:
            pings = Pings()
            tasks.start_soon(pings.note, network.peer)
            await anyio.sleep(25)
            tasks.cancel_scope.cancel()
        assert pings.times == [20]


async def test_pings_without_data_are_limited(autojump_clock: MockClock) -> None:
    """By default two, five minutes apart, until a HEADERS or DATA frame is sent."""
    del autojump_clock
    async with waiting_call(keepalive()) as (_, peer, _), anyio.create_task_group() as tasks:
        pings = Pings()
        tasks.start_soon(pings.note, peer)
        await anyio.sleep(3600)
        tasks.cancel_scope.cancel()
    assert len(pings.times) == 2
    assert pings.times[0] == 20
    assert 320 <= pings.times[1] < 345


async def test_peer_that_does_not_answer_is_gone(autojump_clock: MockClock) -> None:
    """Ping at 20 s, nothing until 30 s: the call fails at 30 s exactly, and the next connects."""
    del autojump_clock
    network = Network()
    async with channel_to(network, keepalive()) as channel:
        call = Call(channel)
        start = anyio.current_time()
        await call.run()
        assert anyio.current_time() == start + TIME + TIMEOUT
        assert call.status is Status.UNAVAILABLE
        assert call.error is not None
        assert call.error.message == "The peer does not answer pings"
        again = Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(again.run)
            peer, stream_id = await network.accept()
            await peer.respond(stream_id, end=True)
        assert (again.error, len(network.peers)) == (None, 2)


async def test_any_bytes_are_an_answer(autojump_clock: MockClock) -> None:
    """No PING ACK, but a message at 29.9 s."""
    del autojump_clock
    network = Network()
    async with channel_to(network, keepalive()) as channel, anyio.create_task_group() as tasks:
        call = Call(channel)
        tasks.start_soon(call.run)
        peer, stream_id = await network.accept()
        await anyio.sleep(29.9)
        peer.queue_headers(stream_id)
        peer.queue_messages(stream_id, b"token")
        peer.stream.send_nowait(peer.h2.data_to_send())
        await anyio.sleep(5)
        peer.queue_trailers(stream_id)
        await peer.flush()
    assert (call.received, call.error) == ([b"token"], None)


async def test_too_many_pings_doubles_the_interval(autojump_clock: MockClock) -> None:
    """GOAWAY(ENHANCE_YOUR_CALM, too_many_pings): the next connection pings at 40 s, not at 20."""
    del autojump_clock
    network = Network()
    async with channel_to(network, keepalive()) as channel:
        async with anyio.create_task_group() as tasks:
            # The first call goes on where it is, the second one is made again.
            for _ in range(2):
                tasks.start_soon(Call(channel).run)
                await anyio.wait_all_tasks_blocked()
            first, _ = await network.accept()
            calm = GoAwayFrame(
                last_stream_id=1,
                error_code=ErrorCodes.ENHANCE_YOUR_CALM,
                additional_data=b"too_many_pings",
            )
            await first.send_frames(calm)
            peer, _ = await network.accept()
            assert peer is not first
            pings = Pings()
            tasks.start_soon(pings.note, peer)
            await anyio.sleep(50)
            tasks.cancel_scope.cancel()
        assert pings.times == [40]


# -- the server's side --------------------------------------------------------------------------


async def silent(stream: Stream[bytes, bytes]) -> None:
    await stream.recv_message()
    await anyio.sleep_forever()


async def talkative(stream: Stream[bytes, bytes]) -> None:
    await stream.recv_message()
    while True:
        await stream.send_message(b"token")
        await anyio.sleep(1)


async def ping(peer: ScriptedPeer) -> None:
    await peer.send_frames(PingFrame(0, b"12345678"))
    await peer.settle()


async def test_flood_of_pings_ends_the_connection(autojump_clock: MockClock) -> None:
    """The first is free and two more are borne; the fourth is answered by GOAWAY."""
    del autojump_clock
    async with served(stream=silent) as peer:
        await peer.request(STREAM, b"request")
        await peer.settle()
        for _ in range(3):
            await ping(peer)
            assert peer.goaways() == []
        await ping(peer)
        assert peer.goaways() == [(ErrorCodes.ENHANCE_YOUR_CALM, b"too_many_pings")]
        await peer.read_to_end()


async def test_pings_far_enough_apart_are_no_strikes(autojump_clock: MockClock) -> None:
    """Every 15 s, where 10 s are allowed."""
    del autojump_clock
    config = Configuration(http2_min_recv_ping_interval_without_data=10.0)
    async with served(stream=silent, config=config) as peer:
        await peer.request(STREAM, b"request")
        for _ in range(20):
            await ping(peer)
            await anyio.sleep(15)
        assert peer.goaways() == []


async def test_data_forgives_strikes(autojump_clock: MockClock) -> None:
    """Pings every half second, between messages every second."""
    del autojump_clock
    async with served(stream=talkative) as peer:
        await peer.request(STREAM, b"request")
        for _ in range(20):
            await ping(peer)
            await anyio.sleep(0.5)
        assert peer.goaways() == []
        await peer.expect(PingAckReceived)


async def test_server_pings_a_silent_client_and_drops_it(autojump_clock: MockClock) -> None:
    """The server's own keepalive; the handler is over when the client is."""
    del autojump_clock
    over: list[float] = []

    async def handler(stream: Stream[bytes, bytes]) -> None:
        await stream.recv_message()
        try:
            await anyio.sleep_forever()
        finally:
            over.append(anyio.current_time())

    start = anyio.current_time()
    async with served(stream=handler, config=keepalive()) as peer:
        await peer.request(STREAM, b"request")
        await anyio.sleep(60)
    assert over == [start + TIME + TIMEOUT]
