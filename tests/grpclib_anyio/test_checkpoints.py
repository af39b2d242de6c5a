"""A call that is ended at each of its checkpoints in turn, at either side, leaves nothing torn.

The scheduler is let go so many steps, then the call is ended; the next run ends it one step later,
until it is over before. After each, one more call on the same connection completes.
"""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a task group may swallow what its body raises; a test would have failed.

import gc
import random
from collections.abc import Callable

import anyio
import pytest
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint
from grpclib.const import Cardinality
from h2.errors import ErrorCodes
from hyperframe.frame import RstStreamFrame
from trio.testing import MockClock

from grpclib_anyio.client import Channel
from grpclib_anyio.server import Stream
from grpclib_anyio.testing import ChannelFor, FrameRecorder
from tests.grpclib_anyio.peer import (
    BOTH,
    NOTHING,
    STREAM,
    Call,
    Methods,
    Raw,
    ScriptedPeer,
    framed,
    served,
)

STREAM_STREAM = Cardinality.STREAM_STREAM
LARGE = b"x" * 50_000
TIMEOUT = 2


async def echo(stream: Stream[bytes, bytes]) -> None:
    """Answer each message with itself."""
    async for message in stream:
        await stream.send_message(message)


async def enlarge(stream: Stream[bytes, bytes]) -> None:
    """Answer each message with more than the window holds."""
    async for message in stream:
        await stream.send_message(message * 20)


def echoes(channel: Channel, *messages: bytes) -> Call:
    return Call(channel, *messages, path=BOTH, cardinality=STREAM_STREAM)


async def steps(number: int) -> None:
    for _ in range(number):
        await checkpoint()


# -- at the client ------------------------------------------------------------------------------


async def _cancelled_after(number: int) -> bool:
    """Cancel a call after so many steps of the scheduler; whether it was still going on."""
    recorders: list[FrameRecorder] = []

    def record(stream: ByteStream) -> ByteStream:
        recorders.append(FrameRecorder(stream))
        return recorders[-1]

    async with ChannelFor([Methods(both=echo)], Raw(), wrap=record) as channel:
        call = echoes(channel, *[LARGE] * 4)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            await steps(number)
            call.scope.cancel()
        again = echoes(channel, b"again")
        await again.run()
        assert (again.received, again.error) == ([b"again"], None)
        await anyio.wait_all_tasks_blocked()
        assert channel.statistics() == NOTHING
        assert not any(recorder.is_torn for recorder in recorders)
        resets = [f for r in recorders for f in r.sent if isinstance(f, RstStreamFrame)]
        assert len(recorders) == 1
        assert len(resets) <= 1
    return call.is_cancelled


@pytest.mark.anyio
async def test_client_call_is_cancelled() -> None:
    """From the first step of the scheduler to the call's last."""
    number = 0
    while await _cancelled_after(number):
        number += 1
    assert number > 10


# -- at the server ------------------------------------------------------------------------------


async def _ended_after(number: int, end: Callable[[ScriptedPeer, int], None]) -> bool:
    """End a handler from outside after so many steps; whether it was still going on."""
    timeout = (("grpc-timeout", f"{TIMEOUT}S"),)
    async with served(both=echo, stream=enlarge) as peer, anyio.create_task_group() as tasks:
        stream_id = await peer.request(STREAM, *[b"x" * 4_000] * 4, extra=timeout)
        tasks.start_soon(peer.read_to_end)
        await steps(number)
        was_over = peer.ends(stream_id)
        end(peer, stream_id)
        await anyio.wait_all_tasks_blocked()
        again = await peer.request(BOTH, b"again")
        await anyio.wait_all_tasks_blocked()
        assert peer.data(again) == framed(b"again")
        assert peer.ends(again)
        assert not peer.is_torn
        assert peer.resets(stream_id) in ([], [ErrorCodes.CANCEL])
        tasks.cancel_scope.cancel()
    return not was_over


@pytest.mark.trio
async def test_handler_is_reset() -> None:
    """By RST_STREAM."""

    def reset(peer: ScriptedPeer, stream_id: int) -> None:
        if not peer.ends(stream_id):
            peer.h2.reset_stream(stream_id, ErrorCodes.CANCEL)
            peer.flush_nowait()

    number = 0
    while await _ended_after(number, reset):
        number += 1
    assert number > 10


@pytest.mark.trio
async def test_deadline_of_a_handler_passes(mock_clock: MockClock) -> None:
    """By the deadline that the client sent."""
    number = 0
    while await _ended_after(number, lambda _peer, _stream_id: mock_clock.jump(TIMEOUT)):
        number += 1
    assert number > 10


# -- many ---------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_thousand_calls_cancelled_at_random_leave_nothing() -> None:
    """Neither tasks nor objects: the last 900 calls leave what the first 100 left."""
    rng = random.Random(1)  # noqa: S311 - moments to cancel at
    async with ChannelFor([Methods(both=echo)], Raw()) as channel:
        before = (0, 0)
        for number in range(1_000):
            if number == 100:
                before = await _population()
            await _cancelled_at_random(channel, rng)
        objects, tasks = await _population()
        assert channel.statistics() == NOTHING
        assert tasks == before[1]
        assert objects < before[0] + 300, "a leak of one object in three calls, or more"


async def _cancelled_at_random(channel: Channel, rng: random.Random) -> None:
    call = echoes(channel, b"one", b"x" * rng.choice((0, 10_000, 100_000)))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call.run)
        await steps(rng.randrange(30))
        call.scope.cancel()


async def _population() -> tuple[int, int]:
    """Count the objects that the garbage collector knows, and the tasks."""
    await anyio.wait_all_tasks_blocked()
    gc.collect()
    return len(gc.get_objects()), len(anyio.get_running_tasks())
