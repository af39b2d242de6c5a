"""The four kinds of call, metadata and statuses, between our transport and others."""

import pytest
from grpclib.const import Status

from interop.conftest import Pair
from interop.contract import (
    DETAILS,
    MESSAGE,
    Failure,
    Reply,
    tokens,
)

pytestmark = pytest.mark.anyio

METADATA = (
    ("x-text", "printable ASCII: !~"),
    ("x-many", "1"),
    ("x-many", "2"),
    ("x-bytes-bin", bytes(range(256))),
    ("x-empty-bin", b""),
    ("x-many-bytes-bin", b"\x01"),
    ("x-many-bytes-bin", b"\x02,"),
)


async def test_unary(pair: Pair) -> None:
    async with pair.connected() as client:
        assert await client.unary("Echo", "a\0\U0001f680") == Reply("a\0\U0001f680")


async def test_empty_message(pair: Pair) -> None:
    async with pair.connected() as client:
        assert await client.unary("Echo", "") == Reply("")


async def test_server_streaming(pair: Pair) -> None:
    async with pair.connected() as client:
        assert await client.generate("count 100") == tokens(100)


async def test_server_streaming_of_nothing(pair: Pair) -> None:
    async with pair.connected() as client:
        assert await client.generate("count 0") == []


async def test_client_streaming(pair: Pair) -> None:
    async with pair.connected() as client:
        assert await client.join(tokens(100)) == "".join(tokens(100))


async def test_client_streaming_of_nothing(pair: Pair) -> None:
    async with pair.connected() as client:
        assert await client.join([]) == ""


async def test_both_sides_stream_in_turns(pair: Pair) -> None:
    async with pair.connected() as client:
        assert await client.chat(tokens(100)) == tokens(100)


async def test_metadata_both_ways(pair: Pair) -> None:
    async with pair.connected() as client:
        reply = await client.unary("Echo", "", metadata=METADATA)
    assert sorted(reply.initial) == sorted(METADATA)
    assert sorted(reply.trailing) == sorted((f"trailing-{key}", value) for key, value in METADATA)


async def test_every_status(pair: Pair) -> None:
    async with pair.connected() as client:
        for status in [status for status in Status if status is not Status.OK]:
            with pytest.raises(Failure) as caught:
                await client.unary("Fail", status.name)
            assert (caught.value.status, caught.value.message) == (status, MESSAGE)
            assert caught.value.details == DETAILS


async def test_status_after_some_messages(pair: Pair) -> None:
    async with pair.connected() as client, client.open("fail 3") as call:
        assert [await call.receive() for _ in range(3)] == tokens(3)
        with pytest.raises(Failure) as caught:
            await call.receive()
    assert (caught.value.status, caught.value.message) == (Status.ABORTED, MESSAGE)
    assert caught.value.details == DETAILS


async def test_bug_of_a_handler_is_status_unknown(pair: Pair) -> None:
    async with pair.connected() as client:
        with pytest.raises(Failure) as caught:
            await client.unary("Crash", "")
        assert caught.value.status is Status.UNKNOWN
        assert await client.unary("Echo", "the server goes on") == Reply("the server goes on")


async def test_bug_of_a_handler_after_some_messages(pair: Pair) -> None:
    async with pair.connected() as client:
        async with client.open("crash 3") as call:
            assert [await call.receive() for _ in range(3)] == tokens(3)
            with pytest.raises(Failure) as caught:
                await call.receive()
        assert caught.value.status is Status.UNKNOWN
        assert await client.generate("count 3") == tokens(3)


async def test_unknown_method_is_unimplemented(pair: Pair) -> None:
    async with pair.connected() as client:
        with pytest.raises(Failure) as caught:
            await client.unary("Missing", "")
        assert caught.value.status is Status.UNIMPLEMENTED
        assert await client.unary("Echo", "the server goes on") == Reply("the server goes on")
