"""Timeouts, content types and metadata as they are on the wire."""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a task group may swallow what its body raises; a test would have failed.

import anyio
import pytest
from grpclib.const import Cardinality
from grpclib.encoding.proto import ProtoCodec
from grpclib.metadata import decode_timeout
from h2.events import RequestReceived
from hypothesis import given
from hypothesis import strategies as st

from grpclib_anyio._base.headers import content_type, encode_timeout, is_content_type
from grpclib_anyio.server import Stream
from harness.peer import BOTH, STREAM, Network, channel_to, fields_of, served

YEARS = 365 * 24 * 3600


@given(st.floats(1e-9, 10_000 * YEARS))
def test_timeout_is_never_shorter_and_hardly_longer(seconds: float) -> None:
    """To a nanosecond: the peer would give up first otherwise, and the reason would be lost."""
    decoded = decode_timeout(encode_timeout(seconds))
    assert seconds <= decoded * (1 + 1e-9) + 1e-9
    assert decoded <= seconds * 1.01 + 1e-9


@given(st.floats(0, 10_000 * YEARS))
def test_timeout_has_eight_digits_at_most(seconds: float) -> None:
    value = encode_timeout(seconds)
    assert 1 <= int(value[:-1]) <= 99_999_999
    assert value[-1] in "HMSmun"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "1n"),
        (-1, "1n"),
        (0.001, "1000000n"),
        (1, "1000000u"),
        (99.999999, "99999999u"),
        (100, "100000m"),
        (180, "180000m"),
        (10**9, "16666667M"),
        (10**30, "99999999H"),
    ],
)
def test_timeout(seconds: float, expected: str) -> None:
    assert encode_timeout(seconds) == expected


@pytest.mark.parametrize(
    ("value", "is_grpc"),
    [
        ("application/grpc", True),
        ("application/grpc+proto", True),
        ("application/grpc; charset=utf-8", True),
        ("application/grpc+proto;v=1", True),
        ("application/grpc+json", False),
        ("application/grpc-web", False),
        ("application/grpc-web+proto", False),
        ("text/html", False),
        ("", False),
    ],
)
def test_content_type(value: str, is_grpc: bool) -> None:  # noqa: FBT001 - pytest's
    assert is_content_type(value, ProtoCodec()) is is_grpc


def test_content_type_of_protobuf_is_the_short_one() -> None:
    assert content_type(ProtoCodec()) == "application/grpc"


@pytest.mark.anyio
async def test_metadata_of_both_kinds_to_the_server_and_back() -> None:
    """Text and bytes, keys that repeat; initial and trailing metadata are told apart."""
    seen: list[tuple[str, str | bytes]] = []

    async def handler(stream: Stream[bytes, bytes]) -> None:
        seen.extend((stream.metadata or {}).items())
        metadata: dict[str, str | bytes] = {"initial": "text", "initial-bin": b"\x00\xff"}
        await stream.send_initial_metadata(metadata=metadata)
        await stream.send_trailing_metadata(metadata={"trailing-bin": b"\xff"})

    extra = (("key", "a"), ("key", "b"), ("key-bin", "AP8"), ("other-bin", "AP8="))
    async with served(stream=handler) as peer:
        stream_id = await peer.request(STREAM, b"request", extra=extra)
        await peer.settle()
        assert peer.ends(stream_id)
    assert seen == [("key", "a"), ("key", "b"), ("key-bin", b"\0\xff"), ("other-bin", b"\0\xff")]


@pytest.mark.anyio
async def test_request_headers() -> None:
    """What a call sends, in this order: pseudo-headers, timeout, gRPC's own, the caller's."""
    network = Network()
    async with channel_to(network) as channel, anyio.create_task_group() as tasks:

        async def call() -> None:
            metadata: dict[str, str | bytes] = {"key": "value", "key-bin": b"\0\xff"}
            async with channel.request(
                BOTH, Cardinality.STREAM_STREAM, bytes, bytes, metadata=metadata
            ) as stream:
                await stream.send_request(end=True)
                await stream.recv_message()
                assert stream.initial_metadata == {"initial-bin": b"\0\xff"}
            assert stream.trailing_metadata == {"trailing": "text"}

        tasks.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        event = await network.peer.expect(RequestReceived)
        names = list(fields_of(event))
        assert names == [
            ":method",
            ":scheme",
            ":path",
            ":authority",
            "te",
            "content-type",
            "grpc-accept-encoding",
            "user-agent",
            "key",
            "key-bin",
        ]
        fields = fields_of(event)
        assert fields[":path"] == BOTH
        assert fields[":authority"] == "memory:50051"
        assert fields["te"] == "trailers"
        assert fields["key-bin"] == "AP8"
        network.peer.queue_headers(event.stream_id, ("initial-bin", "AP8"))
        network.peer.queue_trailers(event.stream_id, 0, ("trailing", "text"))
        await network.peer.flush()
