"""Peers that connect over real sockets and then say nothing, or not enough, at either side."""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a task group may swallow what its body raises; a test would have failed.

import gc
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial

import anyio
import pytest
from anyio.abc import ByteStream, SocketAttribute
from grpclib.const import Status

from grpclib_anyio._base.config import Configuration
from grpclib_anyio.client import Channel
from grpclib_anyio.server import Server, Stream
from harness.frames import PREFACE
from harness.leaks.registry import CONNECTIONS
from harness.peer import BOTH, Call, Methods, Raw
from interop.security import Security

Handling = Stream[bytes, bytes]

CONFIG = Configuration(connect_timeout=0.2, initial_backoff=0)
SILENT = 300

#: A TLS record that begins a handshake of 512 bytes, and the first of these.
PART_OF_A_CLIENT_HELLO = b"\x16\x03\x01\x02\x00\x01\x00"


async def echo(stream: Handling) -> None:
    async for message in stream:
        await stream.send_message(message)


@asynccontextmanager
async def served(*, with_tls: bool) -> AsyncGenerator[tuple[str, int]]:
    server = Server([Methods(both=echo)], codec=Raw(), config=CONFIG)
    context = Security().server_context() if with_tls else None
    async with anyio.create_task_group() as tasks:
        ((host, port),) = await tasks.start(partial(server.serve, "127.0.0.1", 0, ssl=context))
        yield str(host), int(port)
        tasks.cancel_scope.cancel()


async def wait_closed(stream: ByteStream) -> None:
    """Read until the other end has closed the connection."""
    with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
        while True:
            await stream.receive()


@pytest.mark.anyio
@pytest.mark.parametrize("says", [b"", PART_OF_A_CLIENT_HELLO, PREFACE])
async def test_a_tls_handshake_that_stalls_is_given_up(says: bytes) -> None:
    async with (
        served(with_tls=True) as (host, port),
        await anyio.connect_tcp(host, port) as stream,
    ):
        if says:
            await stream.send(says)
        await wait_closed(stream)


@pytest.mark.anyio
async def test_hundreds_of_silent_clients_are_let_go() -> None:
    async with served(with_tls=False) as (host, port), AsyncExitStack() as stack:
        streams = [
            await stack.enter_async_context(await anyio.connect_tcp(host, port))
            for _ in range(SILENT)
        ]
        async with anyio.create_task_group() as tasks:
            for stream in streams:
                tasks.start_soon(wait_closed, stream)
        await anyio.wait_all_tasks_blocked()
        gc.collect()
        assert not list(CONNECTIONS)
        async with Channel(host, port, codec=Raw()) as channel:
            call = Call(channel, b"hello", path=BOTH)
            await call.run()
            assert call.received == [b"hello"]


@pytest.mark.anyio
@pytest.mark.parametrize("with_tls", [False, True])
async def test_a_server_that_accepts_and_says_nothing(with_tls: bool) -> None:  # noqa: FBT001 - a parameter
    """The call fails, and says that the server does not answer; so does the next one."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)

    async def read(stream: ByteStream) -> None:
        async with stream:
            await wait_closed(stream)

    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, read)
        async with Channel(
            "127.0.0.1", port, ssl=with_tls or None, codec=Raw(), config=CONFIG
        ) as channel:
            for _ in range(2):
                call = Call(channel)
                await call.run()
                assert call.error is not None
                assert call.status is Status.UNAVAILABLE
                reason = "it does not answer" if with_tls else "the peer sends no SETTINGS"
                assert reason in (call.error.message or "")
        tasks.cancel_scope.cancel()
