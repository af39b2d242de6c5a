"""A call that one end gives up: the other end knows at once, and the connection serves on."""

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import cast

import anyio
import pytest
from grpclib.const import Status

from grpclib_anyio.client import Channel
from harness.ai import AiServiceStub, GenerateRequest, GenerateResponse
from interop.conftest import Pair
from interop.contract import Witness, tokens
from interop.grpcio_peers import grpcio_server
from interop.grpclib_peers import grpclib_server
from interop.peer import Endpoint, ServerMaker, failure_of

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("count", [0, 1, 50])
async def test_client_cancels(pair: Pair, count: int) -> None:
    async with pair.connected() as client:
        async with client.open(f"hang {count}", "s") as call:
            await pair.witness.see_started("s")
            assert [await call.receive() for _ in range(count)] == tokens(count)
            assert not pair.witness.ended("s").is_set()
            await call.cancel()
            await pair.witness.see_ended("s")
        assert await client.generate("count 3") == tokens(3)


async def test_client_cancels_what_it_does_not_read(pair: Pair) -> None:
    async with pair.connected() as client:
        async with client.open("flood 1000000", "s") as call:
            await pair.witness.see_started("s")
            await call.cancel()
            await pair.witness.see_ended("s")
        assert await client.generate("count 3") == tokens(3)


async def test_cancelling_one_call_leaves_the_others_alone(pair: Pair) -> None:
    async with pair.connected() as client:
        async with client.open("hang 3", "stays") as other:
            async with client.open("hang 0", "leaves") as call:
                await pair.witness.see_started("leaves")
                await call.cancel()
                await pair.witness.see_ended("leaves")
            assert [await other.receive() for _ in range(3)] == tokens(3)
            assert not pair.witness.ended("stays").is_set()
        await pair.witness.see_ended("stays")


async def test_client_goes_away(pair: Pair) -> None:
    async with pair.server(Endpoint(), pair.witness) as endpoint:
        async with pair.client(endpoint) as client, client.open("hang 1", "s") as call:
            assert await call.receive() == "0 "
        await pair.witness.see_ended("s")


# -- with betterproto's stub, in the ways in which our users leave it -----------------------------


@pytest.fixture(params=[grpcio_server, grpclib_server], ids=["grpcio", "grpclib"])
def foreign_server(request: pytest.FixtureRequest) -> ServerMaker:
    """Serve with another library than ours."""
    server: ServerMaker = request.param
    return server


@asynccontextmanager
async def _called(server: ServerMaker, witness: Witness) -> AsyncGenerator[Channel, None]:
    async with (
        server(Endpoint(), witness) as endpoint,
        Channel("127.0.0.1", endpoint.port) as channel,
    ):
        yield channel
        answer = AiServiceStub(channel).generate(GenerateRequest("count 3"))
        assert [message.token async for message in answer if not message.done] == tokens(3)


def _answer(channel: Channel, prompt: str) -> AsyncGenerator[GenerateResponse, None]:
    answer = AiServiceStub(channel).generate(GenerateRequest(prompt, "s"))
    return cast("AsyncGenerator[GenerateResponse, None]", answer)


@pytest.mark.parametrize("count", [0, 1, 50])
async def test_scope_around_a_stub_is_cancelled(foreign_server: ServerMaker, count: int) -> None:
    witness = Witness()
    received: list[str] = []

    async def consume(channel: Channel) -> None:
        async for message in _answer(channel, f"hang {count}"):
            received.append(message.token)
            if len(received) == count:
                witness.started("all received").set()

    async with _called(foreign_server, witness) as channel:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(consume, channel)
            await witness.see_started("all received" if count else "s")
            tasks.cancel_scope.cancel()
        await witness.see_ended("s")
    assert received == tokens(count)


async def test_a_stub_is_closed_early(foreign_server: ServerMaker) -> None:
    witness = Witness()
    async with _called(foreign_server, witness) as channel:
        async with aclosing(_answer(channel, "hang 1")) as answer:
            assert [(await anext(answer)).token] == tokens(1)
        await witness.see_ended("s")


async def test_scope_around_the_channel_is_cancelled(foreign_server: ServerMaker) -> None:
    witness = Witness()
    async with foreign_server(Endpoint(), witness) as endpoint:
        with anyio.CancelScope() as scope:
            async with Channel("127.0.0.1", endpoint.port) as channel:
                async for _ in _answer(channel, "hang 1"):
                    scope.cancel()
        await witness.see_ended("s")


# -- the server gives up --------------------------------------------------------------------------


async def test_server_resets_a_call(pair: Pair) -> None:
    async with pair.connected() as client:
        async with client.open("reset 3") as call:
            failure = await failure_of(call)  # a reset overtakes messages
        # grpclib resets with NO_ERROR, which gRPC maps to INTERNAL.
        is_cancel = pair.server is not grpclib_server
        assert failure.status is (Status.CANCELLED if is_cancel else Status.INTERNAL)
        assert await client.generate("count 3") == tokens(3)
