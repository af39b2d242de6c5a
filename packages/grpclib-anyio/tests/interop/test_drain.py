"""Our server stops and breaks no call: its clients finish there and go on elsewhere."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from itertools import count

import anyio
import pytest
from grpclib.const import Status

from grpclib_anyio._base.config import Configuration
from grpclib_anyio.server import Server
from interop.conftest import Pair
from interop.contract import PATIENCE, Failure, Witness, tokens
from interop.peer import Call, Endpoint, failure_of
from interop.services import EchoService, TokenService

# grpclib's client gives up its calls when it is told GOAWAY.
pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("pair", ["grpcio-to-us", "us-to-us"], indirect=True),
]


#: Connections that give way to another while calls are made.
REPLACED = 5


@asynccontextmanager
async def serving(
    witness: Witness, port: int = 0, config: Configuration | None = None
) -> AsyncGenerator[tuple[Server, Endpoint]]:
    """Run our server; the block has to drain it."""
    server = Server([TokenService(witness), EchoService(witness)], config=config)
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            (address,) = await tasks.start(partial(server.serve, "127.0.0.1", port))
            yield server, Endpoint(int(address[1]))


async def step(witness: Witness, call: Call) -> str | None:
    """Let the handler send one more token, and receive it."""
    witness.steps("s").release()
    return await call.receive()


async def drain(server: Server, grace: float) -> None:
    """Begin, and let everything that follows at once follow."""
    server.drain(grace)
    await anyio.wait_all_tasks_blocked()


async def test_calls_finish_and_later_ones_go_elsewhere(pair: Pair) -> None:
    witness = pair.witness
    async with (
        serving(witness) as (server, endpoint),
        pair.client(endpoint) as client,
        client.open("step 3", "s") as call,
    ):
        assert await step(witness, call) == "0 "
        await drain(server, PATIENCE)
        # What arrives after GOAWAY shows that GOAWAY has arrived.
        assert await step(witness, call) == "1 "
        with pytest.raises(Failure) as caught:
            await client.unary("Echo", "anybody there")
        assert caught.value.status is Status.UNAVAILABLE
        assert await step(witness, call) == "2 "
        assert await call.receive() is None


async def test_a_successor_takes_over(pair: Pair) -> None:
    witness = pair.witness
    async with (
        serving(witness) as (server, endpoint),
        pair.client(endpoint) as client,
        client.open("step 2", "s") as call,
    ):
        assert await step(witness, call) == "0 "
        await drain(server, PATIENCE)
        assert await step(witness, call) == "1 "
        async with serving(witness, endpoint.port) as (successor, _):
            assert await client.generate("count 3") == tokens(3)
            assert len(witness.peers) == 2
            assert await call.receive() is None
            successor.drain(PATIENCE)


async def test_calls_that_outstay_the_grace(pair: Pair) -> None:
    async with (
        serving(pair.witness) as (server, endpoint),
        pair.client(endpoint) as client,
        client.open("hang 1", "s") as call,
    ):
        assert await call.receive() == "0 "
        await drain(server, 0.1)
        failure = await failure_of(call)
        assert (failure.status, failure.message) == (
            Status.UNAVAILABLE,
            "The server is shutting down",
        )
        await pair.witness.see_ended("s")


async def test_connections_that_are_replaced_under_load(pair: Pair) -> None:
    """Each lives for a third of a second; no call notices.

    Not for less: a busy machine may take a tenth to connect, and what is old by then has no use.
    """
    config = Configuration(max_connection_age=0.3)
    async with (
        serving(pair.witness, config=config) as (server, endpoint),
        pair.client(endpoint) as client,
    ):

        async def work() -> None:
            # Not a number of calls: how long those take is the machine's affair.
            for number in count():
                if len(pair.witness.peers) > REPLACED:
                    return
                assert (await client.unary("Echo", str(number))).text == str(number)
                assert await client.generate("count 3") == tokens(3)
                await anyio.sleep(0.01)

        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(work)
        assert len(pair.witness.peers) > REPLACED
        server.drain(PATIENCE)
