"""Compressed calls between our transport and grpcio; the wire says whether they were."""

import struct
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream, SocketAttribute, SocketStream
from grpc import Compression
from grpclib.const import Status
from hyperframe.frame import DataFrame, Frame

from grpclib_anyio._base.config import Configuration
from grpclib_anyio.testing import FrameParser
from interop.contract import Failure, Reply, Witness, flood
from interop.grpcio_peers import grpcio_client, grpcio_server
from interop.grpclib_peers import our_client, our_server
from interop.peer import Client, Endpoint

pytestmark = pytest.mark.anyio

OURS = Configuration(compression="gzip")
GRPCIO = {"grpc.default_compression_algorithm": Compression.Gzip}
#: grpcio without any: it takes nothing and says so.
IDENTITY_ONLY = {"grpc.compression_enabled_algorithms_bitset": 1}

#: Shrinks a thousandfold, and is larger than a window.
TEXT = "x" * 200_000
FLOOD = list(map(flood, range(100)))


@dataclass
class Wire:
    """A relay between the two ends, and the frames that went by."""

    requests: list[Frame] = field(default_factory=list[Frame])
    responses: list[Frame] = field(default_factory=list[Frame])

    async def relay(self, client: SocketStream, port: int) -> None:
        server = await anyio.connect_tcp("127.0.0.1", port)
        async with client, server, anyio.create_task_group() as tasks:
            tasks.start_soon(self._pass, client, server, self.requests)
            tasks.start_soon(self._pass, server, client, self.responses)

    async def _pass(self, source: ByteStream, target: ByteStream, frames: list[Frame]) -> None:
        parser = FrameParser()
        try:
            async for data in source:
                frames.extend(parser.feed(data))
                await target.send(data)
            await target.send_eof()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            await target.aclose()


def flags(frames: Iterable[Frame]) -> list[int]:
    """Return the compressed flag of each message, of one stream after the other."""
    streams: dict[int, bytearray] = defaultdict(bytearray)
    for frame in frames:
        if isinstance(frame, DataFrame):
            streams[frame.stream_id] += frame.data
    found: list[int] = []
    for data in streams.values():
        while data:
            flag, size = struct.unpack_from(">BI", data)
            found.append(flag)
            del data[: 5 + size]
    return found


@asynccontextmanager
async def connected(
    *, server: str, ours: Configuration | None, grpcios: dict[str, Any] | None
) -> AsyncGenerator[tuple[Client, Wire], None]:
    """Give a client of a server behind a relay; one of the two is ours, the other grpcio's."""
    wire = Wire()
    if server == "ours":
        serving = our_server(Endpoint(), Witness(), ours)
    else:
        serving = grpcio_server(Endpoint(), Witness(), grpcios)
    async with (
        serving as endpoint,
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):

        async def relay(stream: SocketStream) -> None:
            await wire.relay(stream, endpoint.port)

        tasks.start_soon(listener.serve, relay)
        near = Endpoint(listener.extra(SocketAttribute.local_port))
        calling = grpcio_client(near, grpcios) if server == "ours" else our_client(near, ours)
        async with calling as client:
            yield client, wire
        tasks.cancel_scope.cancel()


Calls = Callable[[Client], Awaitable[None]]


async def unary(client: Client) -> None:
    assert await client.unary("Echo", TEXT) == Reply(TEXT)


async def client_streaming(client: Client) -> None:
    assert await client.join([TEXT] * 3) == TEXT * 3


async def server_streaming(client: Client) -> None:
    assert await client.generate("flood 100") == FLOOD


async def ping_pong(client: Client) -> None:
    assert await client.chat([TEXT] * 3) == [TEXT] * 3


#: Messages of the request and of the response that are worth compressing.
CALLS: dict[str, tuple[Calls, int, int]] = {
    "unary": (unary, 1, 1),
    "client_streaming": (client_streaming, 3, 1),
    "server_streaming": (server_streaming, 0, 100),
    "ping_pong": (ping_pong, 3, 3),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("server", ["ours", "grpcio"])
async def test_both_sides_compress(server: str, call: str) -> None:
    run, requests, responses = CALLS[call]
    async with connected(server=server, ours=OURS, grpcios=GRPCIO) as (client, wire):
        await run(client)
        assert sum(flags(wire.requests)) == requests
        assert sum(flags(wire.responses)) == responses


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("server", ["ours", "grpcio"])
async def test_only_grpcio_compresses(server: str, call: str) -> None:
    run, requests, responses = CALLS[call]
    async with connected(server=server, ours=None, grpcios=GRPCIO) as (client, wire):
        await run(client)
        assert sum(flags(wire.requests)) == (requests if server == "ours" else 0)
        assert sum(flags(wire.responses)) == (responses if server == "grpcio" else 0)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("server", ["ours", "grpcio"])
async def test_only_we_compress(server: str, call: str) -> None:
    run, requests, responses = CALLS[call]
    async with connected(server=server, ours=OURS, grpcios=None) as (client, wire):
        await run(client)
        assert sum(flags(wire.requests)) == (requests if server == "grpcio" else 0)
        assert sum(flags(wire.responses)) == (responses if server == "ours" else 0)


async def test_we_do_not_compress_for_a_client_that_does_not_accept_it() -> None:
    async with connected(server="ours", ours=OURS, grpcios=IDENTITY_ONLY) as (client, wire):
        await unary(client)
        assert flags(wire.responses) == [0]


async def test_server_that_does_not_accept_it_says_so() -> None:
    async with connected(server="grpcio", ours=OURS, grpcios=IDENTITY_ONLY) as (client, _):
        with pytest.raises(Failure, match=r"(?i)compress") as caught:
            await client.unary("Echo", TEXT)
        assert caught.value.status is Status.UNIMPLEMENTED


async def test_encoding_that_we_do_not_know_is_unimplemented() -> None:
    deflate = {"grpc.default_compression_algorithm": Compression.Deflate}
    async with connected(server="ours", ours=OURS, grpcios=deflate) as (client, _):
        with pytest.raises(Failure, match="deflate") as caught:
            await client.unary("Echo", TEXT)
        assert caught.value.status is Status.UNIMPLEMENTED


async def test_bomb_from_grpcio_is_refused() -> None:
    """A few hundred bytes that would be 200,000."""
    small = Configuration(max_message_size=10_000)
    async with connected(server="ours", ours=small, grpcios=GRPCIO) as (client, wire):
        with pytest.raises(Failure) as caught:
            await client.unary("Echo", TEXT)
        assert caught.value.status is Status.RESOURCE_EXHAUSTED
        assert flags(wire.requests) == [1]
        assert await client.unary("Echo", "the server goes on") == Reply("the server goes on")
