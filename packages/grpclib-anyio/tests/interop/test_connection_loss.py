"""Servers that stop, die and come back, and connections that are kept alive."""

import re
from contextlib import AsyncExitStack
from functools import partial

import anyio.to_thread
import pytest
from grpclib.const import Status

from grpclib_anyio._base.config import Configuration
from harness.programs import run_module
from interop.conftest import Pair
from interop.contract import PATIENCE, Failure, Witness, tokens
from interop.grpcio_peers import (
    GrpcioServer,
    grpcio_client,
    grpcio_server,
    running,
)
from interop.grpclib_peers import our_client, our_server
from interop.peer import Endpoint, failure_of

pytestmark = pytest.mark.anyio


# Not with grpclib's server: once closed, it keeps its connections.
@pytest.mark.parametrize(
    "pair", ["grpcio-to-us", "grpclib-to-us", "us-to-grpcio", "us-to-us"], indirect=True
)
async def test_server_stops_and_comes_back(pair: Pair) -> None:
    async with pair.server(Endpoint(), pair.witness) as endpoint:
        pass  # now it has a port
    async with pair.client(endpoint) as client, AsyncExitStack() as calls:
        async with pair.server(endpoint, pair.witness):
            call = await calls.enter_async_context(client.open("hang 1"))
            assert await call.receive() == "0 "
        failure = await failure_of(call)
        assert failure.status is Status.UNAVAILABLE, failure
        async with pair.server(endpoint, pair.witness):
            assert await client.generate("count 3") == tokens(3)


async def test_our_server_says_that_it_stops() -> None:
    async with AsyncExitStack() as clients:
        async with our_server(Endpoint(), Witness()) as endpoint:
            client = await clients.enter_async_context(grpcio_client(endpoint))
            call = await clients.enter_async_context(client.open("hang 1"))
            assert await call.receive() == "0 "
        failure = await failure_of(call)
    assert (failure.status, failure.message) == (
        Status.UNAVAILABLE,
        "The server is shutting down",
    )


async def test_calls_finish_while_a_server_stops() -> None:
    """After GOAWAY, calls go on and new ones go elsewhere: to the server's successor."""
    witness, endpoint = Witness(), Endpoint()
    async with (
        running(GrpcioServer(endpoint, witness)) as old,
        our_client(old.endpoint) as client,
        client.open("step 3", "s") as call,
    ):
        witness.steps("s").release()
        assert await call.receive() == "0 "
        old.stop(PATIENCE)
        # What arrives after GOAWAY shows that GOAWAY has arrived.
        witness.steps("s").release()
        assert await call.receive() == "1 "
        successor = partial(GrpcioServer, old.endpoint, witness)
        async with running(await anyio.to_thread.run_sync(successor)):
            assert await client.generate("count 3") == tokens(3)
            assert len(witness.peers) == 2
            witness.steps("s").release()
            assert await call.receive() == "2 "
            assert await call.receive() is None


async def test_nobody_listens() -> None:
    async with running(GrpcioServer(Endpoint(), Witness())) as server:
        endpoint = server.endpoint
    async with our_client(endpoint, Configuration(initial_backoff=0)) as client:
        with pytest.raises(Failure, match=r"Cannot connect to 127\.0\.0\.1") as caught:
            await client.unary("Echo", "")
        assert caught.value.status is Status.UNAVAILABLE
        async with grpcio_server(endpoint, Witness()):
            assert (await client.unary("Echo", "there now")).text == "there now"


async def test_server_is_killed() -> None:
    with run_module("interop.grpcio_program") as program:
        port = await anyio.to_thread.run_sync(program.wait_for, r"port (\d+)")
        async with our_client(Endpoint(int(port[1]))) as client, client.open("hang 3") as call:
            assert [await call.receive() for _ in range(3)] == tokens(3)
            program.kill()
            assert (await failure_of(call)).status is Status.UNAVAILABLE
            with pytest.raises(Failure) as caught:
                await client.unary("Echo", "")
            assert caught.value.status is Status.UNAVAILABLE


# -- keepalive, in real time: the other side's clock cannot be had --------------------------------

#: All in seconds.
PING_INTERVAL = 0.05
ANSWER_TIMEOUT = 0.3
SILENCE = 5 * ANSWER_TIMEOUT

EAGER = Configuration(keepalive_time=PING_INTERVAL, keepalive_timeout=ANSWER_TIMEOUT)


@pytest.mark.parametrize("pair", ["us-to-grpcio", "us-to-us"], indirect=True)
async def test_our_pings_do_not_offend_a_server(pair: Pair) -> None:
    async with (
        pair.server(Endpoint(), pair.witness) as endpoint,
        our_client(endpoint, EAGER) as client,
        client.open("step 1", "s") as call,
    ):
        await anyio.sleep(SILENCE)
        pair.witness.steps("s").release()
        assert await call.receive() == "0 "
        assert await call.receive() is None
        assert await client.generate("count 3") == tokens(3)
        assert len(pair.witness.peers) == 1


async def test_a_server_finds_our_pings_too_frequent() -> None:
    """Configured against the rules: the call fails with the reason, and the channel recovers."""
    frequent = Configuration(
        keepalive_time=PING_INTERVAL,
        keepalive_timeout=ANSWER_TIMEOUT,
        http2_max_pings_without_data=0,
        http2_min_sent_ping_interval_without_data=PING_INTERVAL,
    )
    witness = Witness()
    async with (
        grpcio_server(Endpoint(), witness) as endpoint,
        our_client(endpoint, frequent) as client,
    ):
        async with client.open("hang 1") as call:
            failure = await failure_of(call)
        assert failure.status is Status.UNAVAILABLE
        assert re.search("(?i)too.many.pings", failure.message or "")
        assert await client.generate("count 3") == tokens(3)
    assert len(witness.peers) == 2


async def test_our_server_finds_pings_too_frequent() -> None:
    options = {
        "grpc.keepalive_time_ms": int(1000 * PING_INTERVAL),
        "grpc.keepalive_permit_without_calls": 1,
        "grpc.http2.max_pings_without_data": 0,
    }
    # grpcio leaves a second between pings, so one strike has to be enough.
    strict = Configuration(http2_max_ping_strikes=0)
    witness = Witness()
    async with (
        our_server(Endpoint(), witness, strict) as endpoint,
        grpcio_client(endpoint, options) as client,
    ):
        async with client.open("hang 1") as call:
            failure = await failure_of(call)
        assert failure.status is Status.UNAVAILABLE
        assert re.search("(?i)too.many.pings", failure.message or "")
        assert await client.generate("count 3") == tokens(3)
    assert len(witness.peers) == 2
