"""What is made for a call goes with the last reference to it, however the call has ended."""

import anyio
import pytest
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError

from grpclib_anyio._base.config import Configuration
from grpclib_anyio.client import Channel
from grpclib_anyio.server import Stream
from grpclib_anyio.testing import ChannelFor
from harness.clock import on_mock_clock
from harness.every_checkpoint import settled
from harness.leaks.garbage import Garbage
from harness.peer import BOTH, Call, Handle, Methods, Network, Raw, channel_to

TIMEOUT = 5.0


async def _fail(stream: Stream[bytes, bytes]) -> None:
    await stream.recv_message()
    raise GRPCError(Status.ABORTED, "enough")


async def _reset(stream: Stream[bytes, bytes]) -> None:
    await stream.recv_message()
    await stream.cancel()


async def _send_more_than_allowed(stream: Stream[bytes, bytes]) -> None:
    await stream.send_message(b"x" * 2_000)


async def _wait(_stream: Stream[bytes, bytes]) -> None:
    await anyio.sleep(2 * TIMEOUT)


async def _echo(stream: Stream[bytes, bytes]) -> None:
    async for message in stream:
        await stream.send_message(message)


ENDS: dict[Handle, Status | None] = {
    _echo: None,
    _fail: Status.ABORTED,
    _reset: Status.CANCELLED,
    _send_more_than_allowed: Status.RESOURCE_EXHAUSTED,
    _wait: Status.DEADLINE_EXCEEDED,
}


@pytest.mark.trio(run=on_mock_clock)
@pytest.mark.parametrize("handler", ENDS)
async def test_nothing_of_a_call_is_in_a_cycle(handler: Handle) -> None:
    """An error that is kept, such as a stream's, is not the one that is raised."""
    small = Configuration(max_message_size=1_000)
    async with ChannelFor([Methods(both=handler)], Raw(), config=small) as channel:
        garbage = Garbage()
        assert await _status(channel) is ENDS[handler]
        await settled()
        assert garbage.leaks() == []


@pytest.mark.trio
@pytest.mark.usefixtures("no_garbage")
async def test_stream_with_something_to_send_outlives_no_lost_connection() -> None:
    """A connection is a cycle, and holds no stream when it has ended."""
    network = Network(buffer_size=1_000)
    config = Configuration(max_retry_buffer_size=1)  # so that no call is made again
    async with channel_to(network, config) as channel, anyio.create_task_group() as tasks:
        # The writer waits in the midst of the one, and the other's headers wait for the writer.
        for message in (b"x" * 40_000, b"small"):
            tasks.start_soon(Call(channel, message).run)
            await settled()
        network.peer.stream.reset()


async def _status(channel: Channel) -> Status | None:
    try:
        async with channel.request(
            BOTH, Cardinality.STREAM_STREAM, bytes, bytes, timeout=TIMEOUT
        ) as call:
            await call.send_message(b"request", end=True)
            while await call.recv_message() is not None:
                pass
    except GRPCError as error:
        return error.status
    return None
