"""A relay leaves thousands of calls on its one connection, and the others on it go on."""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a task group may swallow what its body raises; a test would have failed.

from functools import partial

import anyio
import pytest
from grpclib.const import Cardinality

from grpclib_anyio._base.config import Configuration
from grpclib_anyio.client import Channel
from grpclib_anyio.server import Server, Stream
from harness.peer import BOTH, STREAM, Methods, Raw

Handling = Stream[bytes, bytes]

#: More than the burst of resets that a connection may have, and what leaks out meanwhile.
CALLS, CALLERS = 8_000, 80


class Service:
    """Begins calls, never answers one of them, and counts those that were left."""

    def __init__(self) -> None:
        self.begun: dict[bytes, anyio.Event] = {}
        self.left = 0

    async def hang(self, stream: Handling) -> None:
        """Say that the call has begun, and wait to be left."""
        self.begun[await stream.recv_message() or b""].set()
        try:
            await anyio.sleep_forever()
        finally:
            self.left += 1

    async def echo(self, stream: Handling) -> None:
        """Answer each message."""
        async for message in stream:
            await stream.send_message(message)


async def leave(channel: Channel, service: Service, name: int) -> None:
    """Make calls, one after the other, and leave each before it is answered."""
    for number in range(CALLS // CALLERS):
        key = b"%d %d" % (name, number)
        service.begun[key] = anyio.Event()
        async with channel.request(STREAM, Cardinality.UNARY_STREAM, bytes, bytes) as call:
            await call.send_message(key, end=True)
            await service.begun[key].wait()
            await call.cancel()


@pytest.mark.trio
async def test_calls_that_are_left_unanswered_over_real_sockets() -> None:
    """With the defaults: the handler of each has begun, so none counts as an attack."""
    service = Service()
    server = Server([Methods(both=service.echo, stream=service.hang)], codec=Raw())
    async with anyio.create_task_group() as tasks:
        ((host, port),) = await tasks.start(partial(server.serve, "127.0.0.1", 0))
        async with (
            Channel(host, port, codec=Raw(), config=Configuration()) as channel,
            channel.request(BOTH, Cardinality.STREAM_STREAM, bytes, bytes) as healthy,
        ):
            await healthy.send_message(b"before")
            assert await healthy.recv_message() == b"before"
            async with anyio.create_task_group() as callers:
                for name in range(CALLERS):
                    callers.start_soon(leave, channel, service, name)
            await healthy.send_message(b"after", end=True)
            assert await healthy.recv_message() == b"after"
        tasks.cancel_scope.cancel()
    assert service.left == CALLS
