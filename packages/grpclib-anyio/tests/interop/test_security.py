"""TLS with ALPN, and who is believed to be who."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trustme
from grpclib.const import Status

from interop.conftest import Pair
from interop.contract import Failure, Reply, tokens
from interop.peer import Client, Endpoint
from interop.security import Security

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024

# grpclib's client raises what asyncio and ssl do, so it has no part in failures.
PAIRS = ["grpcio-to-us", "us-to-grpcio", "us-to-grpclib", "us-to-us"]


@pytest.mark.parametrize("mutual", [False, True], ids=["server", "mutual"])
async def test_tls(pair: Pair, mutual: bool) -> None:  # noqa: FBT001 - pytest's way
    async with pair.connected(Endpoint(security=Security(mutual))) as client:
        assert await client.unary("Echo", "x" * MIB) == Reply("x" * MIB)
        assert await client.generate("count 100") == tokens(100)
        async with client.open("hang 1", "s") as call:
            assert await call.receive() == "0 "
            await call.cancel()
            await pair.witness.see_ended("s")
        assert await client.generate("count 3") == tokens(3)


@asynccontextmanager
async def _at_odds(
    pair: Pair, server: Security | None, client: Security | None
) -> AsyncGenerator[Client, None]:
    """Connect two that differ in what security they want; a third shows that the server lives."""
    async with pair.server(Endpoint(security=server), pair.witness) as endpoint:
        async with pair.client(replace(endpoint, security=client)) as caller:
            yield caller
        async with pair.client(replace(endpoint, security=server)) as caller:
            assert await caller.generate("count 3") == tokens(3)


async def _refusal(client: Client) -> str:
    with pytest.raises(Failure) as caught:
        await client.unary("Echo", "")
    assert caught.value.status is Status.UNAVAILABLE
    assert caught.value.message
    return caught.value.message.lower()


@pytest.mark.parametrize("pair", PAIRS, indirect=True)
async def test_client_does_not_believe_the_authority(pair: Pair) -> None:
    security = Security()
    async with _at_odds(pair, security, replace(security, trusted=trustme.CA())) as client:
        assert "certificate" in await _refusal(client)


@pytest.mark.parametrize("pair", PAIRS, indirect=True)
async def test_client_has_no_certificate(pair: Pair) -> None:
    security = Security(mutual=True)
    async with _at_odds(pair, security, replace(security, mutual=False)) as client:
        await _refusal(client)


@pytest.mark.parametrize("pair", PAIRS, indirect=True)
async def test_server_has_no_tls(pair: Pair) -> None:
    async with _at_odds(pair, None, Security()) as client:
        await _refusal(client)


@pytest.mark.parametrize("pair", PAIRS, indirect=True)
async def test_client_has_no_tls(pair: Pair) -> None:
    async with _at_odds(pair, Security(), None) as client:
        await _refusal(client)


@pytest.mark.parametrize("pair", ["us-to-grpclib", "us-to-us"], indirect=True)
@pytest.mark.parametrize("protocols", [(), ("http/1.1",)], ids=["none", "older"])
async def test_server_does_not_offer_http2(pair: Pair, protocols: tuple[str, ...]) -> None:
    async with pair.connected(Endpoint(security=Security(protocols=protocols))) as client:
        assert "does not speak http/2 (alpn)" in await _refusal(client)
