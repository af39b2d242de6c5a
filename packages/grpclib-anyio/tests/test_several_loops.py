"""One channel and one server in several event loops: the state of a loop ends with the loop.

For example, a notebook or a test that calls ``asyncio.run`` several times, with a channel that was
made once.
"""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a task group may swallow what its body raises; a test would have failed.

from collections.abc import Awaitable, Callable
from itertools import product

import anyio
import pytest
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint
from grpclib.const import Cardinality, Status

from grpclib_anyio.client import Channel
from grpclib_anyio.config import Configuration
from grpclib_anyio.health import Health, HealthCheckRequest, HealthCheckResponse, ServingStatus
from grpclib_anyio.server import GRPCError, Server, Stream
from grpclib_anyio.testing import ChannelOver, memory_pair
from harness.peer import BOTH, STREAM, Methods, Raw

Handling = Stream[bytes, bytes]
LOOPS = ("trio", "asyncio", "asyncio", "trio")
PAIRS = pytest.mark.parametrize(("first", "second"), list(product(["trio", "asyncio"], repeat=2)))
STREAMING = Cardinality.STREAM_STREAM
WATCH = "/grpc.health.v1.Health/Watch"


async def echo(stream: Handling) -> None:
    async for message in stream:
        await stream.send_message(message)


class World:
    """A server, and a channel to it; both outlive the loops."""

    def __init__(self, config: Configuration | None = None) -> None:
        self.running = 0
        self.server = Server([Methods(both=echo, stream=self._hang)], codec=Raw())
        self.channel: Channel = ChannelOver(self._connect, codec=Raw(), config=config)
        #: How a connection is made instead, if not to the server.
        self.connect: Callable[[], Awaitable[ByteStream]] | None = None

    async def _hang(self, _stream: Handling) -> None:
        self.running += 1
        try:
            await anyio.sleep_forever()
        finally:
            self.running -= 1

    async def _connect(self) -> ByteStream:
        if self.connect is not None:
            return await self.connect()
        near, far = memory_pair()
        self._tasks.start_soon(self.server.serve_connection, far)
        await checkpoint()
        return near

    async def run(self, use: Callable[[Channel], Awaitable[None]]) -> None:
        """Use the channel in this loop, and leave nothing of it."""
        async with anyio.create_task_group() as self._tasks:
            async with self.channel:
                await use(self.channel)
            self._tasks.cancel_scope.cancel()
        assert self.running == 0


async def answers(channel: Channel) -> None:
    """See that a call succeeds, and soon."""
    with anyio.fail_after(5):
        async with channel.request(BOTH, STREAMING, bytes, bytes, timeout=5) as call:
            await call.send_message(b"hello", end=True)
            assert await call.recv_message() == b"hello"


async def leave_in_a_call(channel: Channel) -> None:
    """Leave with a call under way, and its handler."""
    with anyio.CancelScope() as scope:
        async with channel.request(
            STREAM, Cardinality.UNARY_STREAM, bytes, bytes, timeout=50
        ) as call:
            await call.send_message(b"hello")
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
            await checkpoint()


@pytest.mark.parametrize("use", [answers, leave_in_a_call])
def test_loops_in_any_order(use: Callable[[Channel], Awaitable[None]]) -> None:
    world = World()
    for loop in LOOPS:
        anyio.run(world.run, use, backend=loop)
        anyio.run(world.run, answers, backend=loop)


@PAIRS
def test_attempt_that_was_under_way_is_forgotten(first: str, second: str) -> None:
    """The loop ends while the channel connects."""
    world = World()

    async def never() -> ByteStream:
        await anyio.sleep_forever()
        raise AssertionError

    async def give_up(channel: Channel) -> None:
        with anyio.move_on_after(0.01):
            await answers(channel)

    world.connect = never
    anyio.run(world.run, give_up, backend=first)
    world.connect = None
    anyio.run(world.run, answers, backend=second)


@PAIRS
def test_call_that_waits_for_a_pause_to_end_leaves_no_pause(first: str, second: str) -> None:
    world = World(Configuration(wait_for_ready=True, initial_backoff=1000, max_backoff=1000))

    async def refuse() -> ByteStream:
        await checkpoint()
        raise ConnectionRefusedError

    async def wait(channel: Channel) -> None:
        with anyio.move_on_after(0.01):
            await answers(channel)

    world.connect = refuse
    anyio.run(world.run, wait, backend=first)
    world.connect = None
    anyio.run(world.run, answers, backend=second)


@PAIRS
def test_channel_that_was_closed_connects_in_the_next_loop(first: str, second: str) -> None:
    world = World()

    async def close(channel: Channel) -> None:
        await answers(channel)
        channel.close()
        await answers(channel)
        channel.close()

    anyio.run(world.run, close, backend=first)
    anyio.run(world.run, close, backend=second)


@PAIRS
def test_channel_that_was_left_says_so_until_it_is_entered_again(first: str, second: str) -> None:
    world = World()
    anyio.run(world.run, answers, backend=first)

    async def outside() -> None:
        with pytest.raises(RuntimeError, match="async with channel"):
            await answers(world.channel)

    anyio.run(outside, backend=second)
    anyio.run(world.run, answers, backend=second)


@PAIRS
def test_watchers_of_health_end_with_their_loop(first: str, second: str) -> None:
    """What wakes them is an event of the loop that they were in."""
    health = Health()
    server = Server([health])
    seen: list[ServingStatus] = []

    async def watch() -> None:
        async def connect() -> ByteStream:
            near, far = memory_pair()
            tasks.start_soon(server.serve_connection, far)
            await checkpoint()
            return near

        async with anyio.create_task_group() as tasks:
            async with (
                ChannelOver(connect) as channel,
                channel.request(
                    WATCH, Cardinality.UNARY_STREAM, HealthCheckRequest, HealthCheckResponse
                ) as call,
            ):
                await call.send_message(HealthCheckRequest())
                for status in (ServingStatus.NOT_SERVING, ServingStatus.SERVING):
                    message = await call.recv_message()
                    assert message is not None
                    seen.append(message.status)
                    await anyio.wait_all_tasks_blocked()
                    health.set("", status)
                await call.cancel()
            tasks.cancel_scope.cancel()

    anyio.run(watch, backend=first)
    health.set("", ServingStatus.NOT_SERVING)  # nobody watches
    health.set("", ServingStatus.SERVING)
    anyio.run(watch, backend=second)
    assert seen == [ServingStatus.SERVING, ServingStatus.NOT_SERVING] * 2


@PAIRS
def test_failed_loop_leaves_nothing(first: str, second: str) -> None:
    """The program fails with a call under way, and its caller tries again."""
    world = World()

    async def fail(channel: Channel) -> None:
        call = channel.request(STREAM, Cardinality.UNARY_STREAM, bytes, bytes)
        async with call:
            await call.send_message(b"hello")
            await anyio.wait_all_tasks_blocked()
            raise LookupError

    with pytest.RaisesGroup(LookupError):
        anyio.run(world.run, fail, backend=first)
    anyio.run(world.run, answers, backend=second)


@pytest.mark.parametrize("loop", ["trio", "asyncio"])
def test_error_of_one_loop_is_not_that_of_the_next(loop: str) -> None:
    """Why the last attempt failed is told to those who wait for the next one, in that loop."""
    world = World(Configuration(initial_backoff=1000, max_backoff=1000))
    problems = iter(["first", "second"])

    async def refuse() -> ByteStream:
        await checkpoint()
        raise ConnectionRefusedError(next(problems))

    messages: list[str | None] = []

    async def ask(channel: Channel) -> None:
        for _ in range(2):
            with pytest.raises(GRPCError) as raised:
                await answers(channel)
            assert raised.value.status is Status.UNAVAILABLE
            messages.append(raised.value.message)

    world.connect = refuse
    for _ in range(2):
        anyio.run(world.run, ask, backend=loop)
    assert ["first" in str(m) for m in messages] == [True, True, False, False]
    assert ["second" in str(m) for m in messages] == [False, False, True, True]
