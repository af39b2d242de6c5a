"""Handlers that block the event loop between two messages, and what they still hear.

They should run in a thread. Nobody else must pay for it with more than one message's time, so time
counts as well as messages before a checkpoint.
"""

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from unittest import mock

import anyio
import anyio.to_thread
import pytest
from anyio.lowlevel import checkpoint
from h2.events import DataReceived

from grpclib_anyio._stream import stream as stream_module
from grpclib_anyio.server import Server, Stream
from harness.peer import (
    BOTH,
    STREAM,
    Call,
    Methods,
    Network,
    Raw,
    ScriptedPeer,
    channel_to,
    framed,
    served,
)

# Seconds for one piece.
PIECE = 0.05
MANY = 1000


class Blocking:
    """A handler that blocks for each message that it sends, and counts them."""

    def __init__(self, block: Callable[[float], None] = time.sleep) -> None:
        self.pieces = 0
        self.is_closed = anyio.Event()
        self._block = block

    async def __call__(self, stream: Stream[bytes, bytes]) -> None:
        try:
            for _ in range(MANY):
                self.pieces += 1
                await stream.send_message(b"piece")
                self._block(PIECE)
        finally:
            self.is_closed.set()


def compute(seconds: float) -> None:
    """Hold the loop without giving up Python's lock."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


async def reset_after_one(port: int) -> None:
    """Make a call, and reset it when its first message has come."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        peer = ScriptedPeer(stream, client_side=True)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - bytes in, bytes out
        await peer.start()
        stream_id = await peer.request(STREAM, b"request")
        await peer.expect(DataReceived)
        await peer.reset(stream_id)


@pytest.mark.anyio
@pytest.mark.parametrize("block", [time.sleep, compute])
async def test_a_reset_is_heard_at_the_next_piece(block: Callable[[float], None]) -> None:
    handler = Blocking(block)
    server = Server([Methods(stream=handler)], codec=Raw())
    async with anyio.create_task_group() as tasks:
        ((_, port, *_),) = await tasks.start(server.serve, "127.0.0.1", 0)
        await anyio.to_thread.run_sync(anyio.run, reset_after_one, port)
        await handler.is_closed.wait()
        tasks.cancel_scope.cancel()
    # The first message is written when the second is sent; the reset comes while the third is made.
    assert handler.pieces <= 3


@pytest.mark.anyio
async def test_a_neighbour_is_served_between_two_pieces() -> None:
    async def repeat(stream: Stream[bytes, bytes]) -> None:
        async for message in stream:
            await stream.send_message(message)

    handler = Blocking()
    async with served(stream=handler, both=repeat) as peer:
        blocked = await peer.request()
        await peer.expect(DataReceived)
        await peer.request(BOTH, b"neighbour")
        while (await peer.expect(DataReceived)).data != framed(b"neighbour"):
            pass
        assert handler.pieces <= 8  # its request, and its answer
        await peer.reset(blocked)
        await handler.is_closed.wait()


@pytest.mark.anyio
async def test_a_reader_that_blocks_hears_a_reset() -> None:
    seen = 0
    begun, ended = anyio.Event(), anyio.Event()

    async def read(stream: Stream[bytes, bytes]) -> None:
        nonlocal seen
        try:
            async for _ in stream:
                seen += 1
                begun.set()
                time.sleep(PIECE)  # noqa: ASYNC251 - it is what this is about
        finally:
            ended.set()

    async with served(both=read) as peer:
        stream_id = await peer.request(BOTH, *[b"message"] * 40, end=False)
        await begun.wait()
        await peer.reset(stream_id)
        await ended.wait()
    assert seen <= 3


@pytest.mark.anyio
@pytest.mark.parametrize("how", ["one by one", "several at a time"])
async def test_a_client_that_blocks_hears_its_deadline(how: str) -> None:
    seen = 0
    network = Network()
    async with channel_to(network) as channel, anyio.create_task_group() as tasks:

        async def read() -> None:
            nonlocal seen
            with anyio.CancelScope() as scope:
                async with Call(channel).open() as call:
                    await call.send_message(b"request", end=True)
                    receive: Callable[[], Awaitable[Any]] = (
                        call.recv_message if how == "one by one" else partial(call.recv_messages, 1)
                    )
                    while await receive():
                        scope.deadline = min(scope.deadline, anyio.current_time() + PIECE)
                        seen += 1
                        time.sleep(PIECE)  # noqa: ASYNC251 - it is what this is about

        tasks.start_soon(read)
        peer, stream_id = await network.accept()
        await peer.respond(stream_id, *[b"message"] * 40)
    assert seen <= 3


@pytest.mark.anyio
async def test_a_fast_handler_has_a_checkpoint_in_64_messages() -> None:
    turns: list[int] = []
    sent, is_over = 0, anyio.Event()

    async def send(stream: Stream[bytes, bytes]) -> None:
        nonlocal sent
        for _ in range(200):
            await stream.send_message(b"")
            sent += 1
        is_over.set()

    async def count() -> None:
        while not is_over.is_set():
            turns.append(sent)
            await checkpoint()

    with mock.patch.object(stream_module, "monotonic", return_value=0.0):
        async with served(stream=send) as peer, anyio.create_task_group() as tasks:
            await peer.request()
            tasks.start_soon(count)
            await is_over.wait()
    longest = max(b - a for a, b in zip([0, *turns], [*turns, sent], strict=True))
    assert 60 <= longest <= 2 * 64  # trio runs the tasks that can run in any order
