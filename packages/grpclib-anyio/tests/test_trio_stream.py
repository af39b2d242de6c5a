"""Real sockets at trio's lowest level: what anyio's stream does on them, and nothing is lost."""

import os
import select
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import cast

import anyio
import pytest
from anyio.abc import ByteStream, SocketAttribute, SocketListener
from anyio.lowlevel import checkpoint

from grpclib_anyio._fast.trio_stream import UnwrappedSocket, unwrap_socket

MIB = 1024 * 1024


Operation = Callable[[ByteStream], Awaitable[object]]


async def receive(stream: ByteStream) -> None:
    await stream.receive()


async def send(stream: ByteStream) -> None:
    await stream.send(bytes(32 * MIB))


@asynccontextmanager
async def pair() -> AsyncGenerator[tuple[ByteStream, ByteStream]]:
    """Give both ends of a TCP connection, the first one direct."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listeners:
        (listener,) = cast("tuple[SocketListener]", tuple(listeners.listeners))
        port = listener.extra(SocketAttribute.local_port)
        far = await anyio.connect_tcp("127.0.0.1", port)
        near = unwrap_socket(await listener.accept())
    async with near, far:
        yield near, far


@pytest.mark.anyio
async def test_direct_on_trio_only() -> None:
    """On asyncio, and for what is no socket, a stream is used as it is."""
    is_trio = anyio.get_cancelled_exc_class().__module__.startswith("trio")
    async with pair() as (near, far):
        assert isinstance(near, UnwrappedSocket) == is_trio
        assert near.extra(SocketAttribute.remote_port) == far.extra(SocketAttribute.local_port)


@pytest.mark.trio
async def test_large_and_small_in_both_directions() -> None:
    """More than the sockets hold, against a reader that starts late."""
    data = os.urandom(8 * MIB)
    async with pair() as (near, far):
        for one, other in ((near, far), (far, near)):
            received = bytearray()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(one.send, data)
                await anyio.wait_all_tasks_blocked()
                while len(received) < len(data):
                    received += await other.receive(100_000)
            assert received == data
        await near.send(b"small")
        assert await far.receive() == b"small"


@pytest.mark.trio
async def test_cancelled_receive_loses_nothing() -> None:
    async with pair() as (near, far):
        for number in range(50):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(near.receive)
                await anyio.wait_all_tasks_blocked()
                tasks.cancel_scope.cancel()
            await far.send(bytes([number]))
            with anyio.CancelScope() as scope:
                scope.cancel()
                await near.receive()
            assert await near.receive() == bytes([number])


@pytest.mark.trio
async def test_end() -> None:
    """Of either direction; what was sent before it arrives."""
    async with pair() as (near, far):
        await far.send(b"last")
        await far.send_eof()
        assert await near.receive() == b"last"
        with pytest.raises(anyio.EndOfStream):
            await near.receive()
        await near.send(b"answer")
        await near.send_eof()
        assert await far.receive() == b"answer"
        with pytest.raises(anyio.EndOfStream):
            await far.receive()


@pytest.mark.trio
@pytest.mark.parametrize("operation", [receive, send])
async def test_lost_connection(operation: Operation) -> None:
    """RST while a task reads, or writes more than the sockets hold."""
    async with pair() as (near, far):
        raw: socket.socket = far.extra(SocketAttribute.raw_socket)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_fails, operation, near, anyio.BrokenResourceError)
            await anyio.wait_all_tasks_blocked()
            await far.aclose()


@pytest.mark.trio
@pytest.mark.parametrize("operation", [receive, send])
async def test_closed_here(operation: Operation) -> None:
    """During an operation and before it."""
    async with pair() as (near, _):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_fails, operation, near, anyio.ClosedResourceError)
            await anyio.wait_all_tasks_blocked()
            await near.aclose()
        await _fails(operation, near, anyio.ClosedResourceError)


@pytest.mark.trio
async def test_what_is_sent_by_a_plain_call() -> None:
    """As much as the socket takes; nothing within another send, nor after the end."""
    async with pair() as (near, far):
        assert isinstance(near, UnwrappedSocket)
        assert near.send_nowait(b"small") == len(b"small")
        assert await far.receive() == b"small"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(near.send, bytes(32 * MIB))
            await anyio.wait_all_tasks_blocked()
            raw: socket.socket = far.extra(SocketAttribute.raw_socket)
            while select.select([raw], [], [], 0)[0]:  # room again, and its task has not run
                raw.recv(MIB)
            assert near.send_nowait(b"within") == 0
            tasks.cancel_scope.cancel()
        assert near.send_nowait(b"after a part") == 0
    assert near.send_nowait(b"closed") == 0


async def _fails(operation: Operation, stream: ByteStream, error: type[Exception]) -> None:
    with pytest.raises(error):
        await operation(stream)


@pytest.mark.trio
async def test_sender_lets_others_run() -> None:
    """A peer that takes everything at once does not keep other tasks from running."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await checkpoint()

    async with pair() as (near, far), anyio.create_task_group() as tasks:
        tasks.start_soon(count)
        for _ in range(160):
            await near.send(bytes(4_096))
            received = 0
            while received < 4_096:
                received += len(far.extra(SocketAttribute.raw_socket).recv(4_096))
        assert turns >= 5
        tasks.cancel_scope.cancel()
