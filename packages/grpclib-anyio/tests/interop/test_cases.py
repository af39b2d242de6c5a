"""The cases of gRPC's interop-test-descriptions, by their names there.

What they are about is kept: sizes, statuses, metadata, order, who gives up when. The service is
ours, and so are the messages. That the compressed ones are compressed is shown, on the wire, by
`test_compression.py`.
"""

from contextlib import AbstractAsyncContextManager
from functools import partial

import anyio
import pytest
from grpc import Compression
from grpclib.const import Status

from grpclib_anyio._base.config import Configuration
from interop.conftest import Pair
from interop.contract import Failure, Reply, tokens
from interop.grpcio_peers import grpcio_client, grpcio_server
from interop.grpclib_peers import our_client, our_server
from interop.peer import Client, failure_of

pytestmark = pytest.mark.anyio

LARGE_REQUEST, LARGE_REPLY = 271_828, 314_159
REQUESTS, REPLIES = (27_182, 8, 1_828, 45_904), (31_415, 9, 2_653, 58_979)
SPECIAL = (
    "\t\ntest with whitespace\r\nand Unicode BMP \N{WHITE SMILING FACE}"
    " and non-BMP \N{SMILING FACE WITH HORNS}\t\n"
)
METADATA = (
    ("x-grpc-test-echo-initial", "test_initial_metadata_value"),
    ("x-grpc-test-echo-trailing-bin", b"\xab\xab\xab"),
)
#: Seconds; long enough for a call to reach its handler on a busy machine.
SHORT = 0.3


def zeros(sizes: tuple[int, ...]) -> list[str]:
    return ["0" * size for size in sizes]


@pytest.mark.interop_case("empty_unary")
async def test_empty_unary(pair: Pair) -> None:
    async with pair.connected() as client:
        assert await client.unary("Echo", "") == Reply("")


@pytest.mark.interop_case("large_unary")
async def test_large_unary(pair: Pair) -> None:
    request = f"{LARGE_REPLY} ".ljust(LARGE_REQUEST, "0")
    async with pair.connected() as client:
        assert await client.unary("Zeros", request) == Reply("0" * LARGE_REPLY)


@pytest.mark.interop_case("client_streaming")
async def test_client_streaming(pair: Pair) -> None:
    async with pair.connected() as client:
        assert len(await client.join(zeros(REQUESTS))) == 74_922


@pytest.mark.interop_case("server_streaming")
async def test_server_streaming(pair: Pair) -> None:
    async with pair.connected() as client:
        assert await client.generate("sizes " + " ".join(map(str, REPLIES))) == zeros(REPLIES)


@pytest.mark.interop_case("ping_pong")
async def test_ping_pong(pair: Pair) -> None:
    """The reply to each request is awaited before the next is sent."""
    async with pair.connected() as client:
        assert await client.chat(zeros(REQUESTS + REPLIES)) == zeros(REQUESTS + REPLIES)


@pytest.mark.interop_case("empty_stream")
async def test_empty_stream(pair: Pair) -> None:
    async with pair.connected() as client:
        assert await client.chat([]) == []


@pytest.mark.interop_case("cancel_after_begin")
async def test_cancel_after_begin(pair: Pair) -> None:
    async with pair.connected() as client:
        async with client.open("hang 0", "s") as call:
            await pair.witness.see_started("s")
            await call.cancel()
            await pair.witness.see_ended("s")
        assert await client.generate("count 3") == tokens(3)


@pytest.mark.interop_case("cancel_after_first_response")
async def test_cancel_after_first_response(pair: Pair) -> None:
    async with pair.connected() as client:
        async with client.open("hang 1", "s") as call:
            assert await call.receive() == "0 "
            await call.cancel()
            await pair.witness.see_ended("s")
        assert await client.generate("count 3") == tokens(3)


@pytest.mark.interop_case("timeout_on_sleeping_server")
async def test_timeout_on_sleeping_server(pair: Pair) -> None:
    async with pair.connected() as client:
        start = anyio.current_time()
        async with client.open("hang 0", "s", within=SHORT) as call:
            failure = await failure_of(call)
            assert failure.status is Status.DEADLINE_EXCEEDED
            assert SHORT * 0.9 < anyio.current_time() - start < SHORT + 1
            await pair.witness.see_ended("s")


@pytest.mark.interop_case("custom_metadata")
async def test_custom_metadata(pair: Pair) -> None:
    async with pair.connected() as client:
        reply = await client.unary("Echo", "", metadata=METADATA)
    assert sorted(reply.initial) == sorted(METADATA)
    assert sorted(reply.trailing) == sorted((f"trailing-{key}", value) for key, value in METADATA)


@pytest.mark.interop_case("status_code_and_message")
async def test_status_code_and_message(pair: Pair) -> None:
    async with pair.connected() as client:
        with pytest.raises(Failure) as caught:
            await client.unary("Fail", "UNKNOWN test status message")
    assert (caught.value.status, caught.value.message) == (Status.UNKNOWN, "test status message")


@pytest.mark.interop_case("special_status_message")
async def test_special_status_message(pair: Pair) -> None:
    async with pair.connected() as client:
        with pytest.raises(Failure) as caught:
            await client.unary("Fail", f"UNKNOWN {SPECIAL}")
    assert (caught.value.status, caught.value.message) == (Status.UNKNOWN, SPECIAL)


@pytest.mark.interop_case("unimplemented_method")
async def test_unimplemented_method(pair: Pair) -> None:
    async with pair.connected() as client:
        with pytest.raises(Failure) as caught:
            await client.unary("/interop.Echo/UnimplementedCall", "")
    assert caught.value.status is Status.UNIMPLEMENTED


@pytest.mark.interop_case("unimplemented_service")
async def test_unimplemented_service(pair: Pair) -> None:
    async with pair.connected() as client:
        with pytest.raises(Failure) as caught:
            await client.unary("/interop.Unimplemented/UnimplementedCall", "")
    assert caught.value.status is Status.UNIMPLEMENTED


# -- compression, which grpclib does not have -----------------------------------------------------

GZIP = Configuration(compression="gzip")
GRPCIO_GZIP = {"grpc.default_compression_algorithm": Compression.Gzip}

compressing = pytest.mark.parametrize("pair", ["grpcio-to-us", "us-to-grpcio", "us-to-us"])


def compressed(
    pair: str, *, client: bool = False, server: bool = False
) -> AbstractAsyncContextManager[Client]:
    """Connect a pair of which one side compresses."""
    ends = {
        "grpcio": (
            partial(grpcio_client, options=GRPCIO_GZIP if client else None),
            partial(grpcio_server, options=GRPCIO_GZIP if server else None),
        ),
        "us": (
            partial(our_client, config=GZIP if client else None),
            partial(our_server, config=GZIP if server else None),
        ),
    }
    calling, serving = pair.split("-to-")
    return Pair(ends[calling][0], ends[serving][1]).connected()


@compressing
@pytest.mark.interop_case("client_compressed_unary")
async def test_client_compressed_unary(pair: str) -> None:
    async with compressed(pair, client=True) as client:
        request = f"{LARGE_REPLY} ".ljust(LARGE_REQUEST, "0")
        assert await client.unary("Zeros", request) == Reply("0" * LARGE_REPLY)


@compressing
@pytest.mark.interop_case("server_compressed_unary")
async def test_server_compressed_unary(pair: str) -> None:
    async with compressed(pair, server=True) as client:
        assert await client.unary("Zeros", f"{LARGE_REPLY}") == Reply("0" * LARGE_REPLY)


@compressing
@pytest.mark.interop_case("client_compressed_streaming")
async def test_client_compressed_streaming(pair: str) -> None:
    async with compressed(pair, client=True) as client:
        assert len(await client.join(zeros(REQUESTS))) == 74_922


@compressing
@pytest.mark.interop_case("server_compressed_streaming")
async def test_server_compressed_streaming(pair: str) -> None:
    async with compressed(pair, server=True) as client:
        assert await client.generate("sizes " + " ".join(map(str, REPLIES))) == zeros(REPLIES)
