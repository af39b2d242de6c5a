"""A handler's odd error, and a cancellation that is not the call's, end that call and no other."""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a task group may swallow what its body raises; a test would have failed.

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio
from anyio.abc import ByteStream
from grpclib.const import Cardinality, Status
from grpclib.events import SendMessage, SendTrailingMetadata, listen

from grpclib_anyio.server import GRPCError, Server, Stream
from grpclib_anyio.testing import ChannelOver, memory_pair
from harness.peer import BOTH, Call, Methods, Raw

Handling = Stream[bytes, bytes]
Handle = Callable[[Handling], Awaitable[None]]
ON_ASYNCIO = pytest.mark.parametrize("anyio_backend", ["asyncio"])
UNKNOWN = (Status.UNKNOWN, "Internal Server Error")
CANCELLED = (Status.CANCELLED, "The handler was cancelled")


async def echo(stream: Handling) -> None:
    async for message in stream:
        await stream.send_message(message)


async def beside_a_neighbour(
    handle: Handle,
    *,
    then: Callable[[], object] = lambda: None,
    prepare: Callable[[Server], None] = lambda _server: None,
) -> Call:
    """Make a call of ``handle`` while another is under way, and see that the other succeeds."""
    server = Server([Methods(both=echo, stream=handle)], codec=Raw())
    prepare(server)
    connections: list[ByteStream] = []

    async def connect() -> ByteStream:
        near, far = memory_pair()
        connections.append(near)
        tasks.start_soon(server.serve_connection, far)
        return near

    async with anyio.create_task_group() as tasks:
        async with ChannelOver(connect, codec=Raw()) as channel:
            neighbour = channel.request(BOTH, Cardinality.STREAM_STREAM, bytes, bytes)
            call = Call(channel)
            async with neighbour, anyio.create_task_group() as calls:
                await neighbour.send_message(b"one")
                assert await neighbour.recv_message() == b"one"
                calls.start_soon(call.run)
                await anyio.wait_all_tasks_blocked()
                then()
                await anyio.wait_all_tasks_blocked()
                await neighbour.send_message(b"two", end=True)
                assert await neighbour.recv_message() == b"two"
                assert await neighbour.recv_message() is None
        tasks.cancel_scope.cancel()
    assert len(connections) == 1
    return call


def status_of(call: Call) -> tuple[Status, str | None]:
    return (call.error.status, call.error.message) if call.error else (Status.OK, None)


# -- cancelled by somebody else --------------------------------------------------------------------


@pytest.mark.anyio
@ON_ASYNCIO
@pytest.mark.parametrize("in_a_group", [False, True], ids=["alone", "in a task group"])
async def test_task_that_somebody_cancels_is_its_calls_alone(
    caplog: pytest.LogCaptureFixture, *, in_a_group: bool
) -> None:
    """On asyncio everybody can, for example by ``asyncio.all_tasks()``."""
    tasks: list[asyncio.Task[Any]] = []
    cleaned_up: list[bool] = []

    async def wait(_stream: Handling) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        try:
            if in_a_group:
                async with anyio.create_task_group() as group:
                    group.start_soon(anyio.sleep_forever)
                    await anyio.sleep_forever()
            await anyio.sleep_forever()
        finally:
            cleaned_up.append(True)

    call = await beside_a_neighbour(wait, then=lambda: [task.cancel() for task in tasks])
    assert status_of(call) == CANCELLED
    assert cleaned_up == [True]
    assert caplog.records == []


@pytest.mark.anyio
@ON_ASYNCIO
async def test_handler_that_cancels_itself_is_its_calls_alone() -> None:
    async def give_up(_stream: Handling) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    assert status_of(await beside_a_neighbour(give_up)) == CANCELLED


@pytest.mark.trio
async def test_cancelled_of_a_scope_that_is_over_is_its_calls_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Kept where it was raised, and raised again elsewhere."""

    async def keep(_stream: Handling) -> None:
        kept: list[trio.Cancelled] = []
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as cancelled:
                kept.append(cancelled)
                raise
        raise kept.pop()

    with caplog.at_level(logging.CRITICAL, "grpclib_anyio"):
        assert status_of(await beside_a_neighbour(keep)) == UNKNOWN


@pytest.mark.anyio
async def test_scope_of_the_handlers_own_ends_nothing_else() -> None:
    async def hurry(stream: Handling) -> None:
        with anyio.move_on_after(0):
            await anyio.sleep_forever()
        await stream.send_message(b"done")

    call = await beside_a_neighbour(hurry)
    assert call.received == [b"done"]
    assert status_of(call) == (Status.OK, None)


@pytest.mark.anyio
async def test_server_that_stops_says_so() -> None:
    """The one case in which it is true."""

    async def wait(_stream: Handling) -> None:
        await anyio.sleep_forever()

    server = Server([Methods(stream=wait)], codec=Raw())
    near, far = memory_pair()

    async def connect() -> ByteStream:
        await anyio.lowlevel.checkpoint()
        return near

    async with anyio.create_task_group() as tasks, ChannelOver(connect, codec=Raw()) as channel:
        tasks.start_soon(server.serve_connection, far)
        call = Call(channel)
        async with anyio.create_task_group() as calls:
            calls.start_soon(call.run)
            await anyio.wait_all_tasks_blocked()
            server.drain(0)
    assert status_of(call) == (Status.UNAVAILABLE, "The server is shutting down")


# -- errors of another kind ------------------------------------------------------------------------


class OddError(BaseException):
    """No Exception."""


@pytest.mark.anyio
@pytest.mark.parametrize("event", [SendMessage, SendTrailingMetadata])
async def test_odd_error_of_a_listener_is_its_calls_alone(
    event: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_stream: Handling) -> None:
        await _stream.send_message(b"bad")

    seen: list[Any] = []

    async def listener(event: Any) -> None:
        seen.append(getattr(event, "message", None))
        await anyio.lowlevel.checkpoint()
        if seen[-1] == b"bad" or (seen[-1] is None and len(seen) == 1):
            raise OddError

    with caplog.at_level(logging.CRITICAL, "grpclib_anyio"):
        call = await beside_a_neighbour(
            fail, prepare=lambda server: listen(server, event, listener)
        )
    assert call.status is (Status.UNKNOWN if event is SendMessage else Status.INTERNAL)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "error",
    [
        GRPCError(Status.ABORTED, "\ud800 half of a pair"),
        GRPCError(Status.ABORTED, 5),  # type: ignore[arg-type] # under test
        GRPCError(5, "no Status"),  # type: ignore[arg-type] # under test
        GRPCError(Status.ABORTED, "details", object()),
    ],
    ids=["surrogate", "no string", "no Status", "odd details"],
)
async def test_odd_status_is_its_calls_alone(
    error: GRPCError, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_stream: Handling) -> None:
        await anyio.lowlevel.checkpoint()
        raise error

    with caplog.at_level(logging.CRITICAL, "grpclib_anyio"):
        call = await beside_a_neighbour(fail)
    assert call.error is not None


@pytest.mark.trio
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_error_for_the_whole_program_ends_it(error: type[BaseException]) -> None:
    """A call is not the place to decide that the program goes on."""

    async def stop(_stream: Handling) -> None:
        await anyio.lowlevel.checkpoint()
        raise error

    with pytest.RaisesGroup(error, allow_unwrapped=True, flatten_subgroups=True):
        await beside_a_neighbour(stop)
