"""Much at once: large messages, long streams, many streams, readers of different speed."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Any, cast

import anyio.to_thread
import grpc
import pytest
from grpclib.client import UnaryStreamMethod
from grpclib.const import Cardinality, Handler, Status
from grpclib.encoding.base import CodecBase

from grpclib_anyio.client import Channel
from grpclib_anyio.server import Server
from interop.conftest import Pair
from interop.contract import PATIENCE, Failure, flood, token, tokens
from interop.peer import Untyped

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
STREAMS = 64


async def test_large_messages_both_ways(pair: Pair) -> None:
    text = "0123456789abcdef" * (MIB // 16)
    async with pair.connected() as client:
        assert (await client.unary("Echo", text)).text == text
        assert (await client.unary("Echo", text)).text == text


async def test_large_messages_in_a_row(pair: Pair) -> None:
    texts = [f"{number}" * 200_000 for number in range(5)]
    async with pair.connected() as client:
        assert await client.chat(texts) == texts
        assert await client.join(texts) == "".join(texts)


async def test_message_over_the_limit(pair: Pair) -> None:
    async with pair.connected() as client:
        with pytest.raises(Failure) as caught:
            await client.unary("Echo", "x" * 5 * MIB)
        assert caught.value.status is Status.RESOURCE_EXHAUSTED
        assert (await client.unary("Echo", "the server goes on")).text == "the server goes on"


async def test_long_stream_is_in_order(pair: Pair) -> None:
    async with pair.connected() as client:
        assert await client.generate("count 3000") == tokens(3000)


async def test_concurrent_streams_share_one_connection(pair: Pair) -> None:
    async with pair.connected() as client, AsyncExitStack() as opened:
        calls = [
            await opened.enter_async_context(client.open("hang 2", f"{number}"))
            for number in range(STREAMS)
        ]
        for expected in tokens(2):
            assert {await call.receive() for call in calls} == {expected}
        assert not any(pair.witness.ended(f"{number}").is_set() for number in range(STREAMS))
    for number in range(STREAMS):
        await pair.witness.see_ended(f"{number}")
    assert len(pair.witness.peers) == 1


async def test_concurrent_streams_do_not_mix(pair: Pair) -> None:
    received: dict[int, list[str]] = {}

    async def call(number: int) -> None:
        received[number] = await client.generate(f"count {number}")

    async with pair.connected() as client, anyio.create_task_group() as tasks:
        for number in range(STREAMS):
            tasks.start_soon(call, number)
    assert received == {number: tokens(number) for number in range(STREAMS)}
    assert len(pair.witness.peers) == 1


# Not with grpclib's client: its window for the connection is no larger than that for a stream.
@pytest.mark.parametrize(
    "pair", ["grpcio-to-us", "us-to-grpcio", "us-to-grpclib", "us-to-us"], indirect=True
)
async def test_calls_that_do_not_read_hold_up_nobody(pair: Pair) -> None:
    async with pair.connected() as client, AsyncExitStack() as opened:
        stalled = [await opened.enter_async_context(client.open("flood 1000000")) for _ in range(4)]
        assert await client.generate("count 2000") == tokens(2000)
        for call in stalled:
            assert [await call.receive() for _ in range(3)] == list(map(flood, range(3)))


# -- 100,000 messages, without the time that their encoding takes ---------------------------------

# What is a property of grpclib's base class is an attribute of its codecs.
# pyright: reportIncompatibleMethodOverride=false, reportAssignmentType=false

LONG = 100_000
PATH = "/interop.Raw/Numbers"


class RawCodec(CodecBase):
    """Messages that are bytes already."""

    __content_subtype__ = "proto"

    def encode(self, message: bytes, message_type: Untyped) -> bytes:  # noqa: ARG002
        return message

    def decode(self, data: bytes, message_type: Untyped) -> bytes:  # noqa: ARG002
        return data


class RawService:
    def __mapping__(self) -> dict[str, Handler]:
        return {PATH: Handler(self.numbers, Cardinality.UNARY_STREAM, bytes, bytes)}

    async def numbers(self, stream: Untyped) -> None:
        await stream.recv_message()
        for index in range(LONG):
            await stream.send_message(token(index).encode())


def _numbers(_request: bytes, _context: grpc.ServicerContext) -> Iterator[bytes]:
    return (token(index).encode() for index in range(LONG))


def _read_all(port: int) -> bytes:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        numbers = cast("Any", channel.unary_stream(PATH))
        return b"".join(numbers(b"", timeout=3 * PATIENCE))


@pytest.mark.parametrize("anyio_backend", ["trio"])  # a test of both loops is above
async def test_very_long_stream_to_grpcio() -> None:
    server = Server([RawService()], codec=RawCodec())
    async with anyio.create_task_group() as tasks:
        ((_, port),) = await tasks.start(server.serve, "127.0.0.1", 0)
        assert await anyio.to_thread.run_sync(_read_all, port) == "".join(tokens(LONG)).encode()
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_very_long_stream_from_grpcio() -> None:
    handler = grpc.method_handlers_generic_handler(
        "interop.Raw", {"Numbers": grpc.unary_stream_rpc_method_handler(_numbers)}
    )
    with ThreadPoolExecutor(1) as threads:
        server = grpc.server(threads, [handler])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        async with Channel("127.0.0.1", port, codec=RawCodec()) as channel:
            received = await UnaryStreamMethod(channel, PATH, bytes, bytes)(b"")
        await anyio.to_thread.run_sync(server.stop(None).wait, PATIENCE)
    assert b"".join(received) == "".join(tokens(LONG)).encode()
