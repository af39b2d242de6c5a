"""Limits that the peer announces, and changes while calls are in progress: we keep to each."""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a task group may swallow what its body raises; a test would have failed.

import time

import anyio
import pytest
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError
from h2.errors import ErrorCodes
from h2.events import RequestReceived, ResponseReceived, TrailersReceived
from h2.settings import SettingCodes
from hyperframe.frame import ContinuationFrame, DataFrame, HeadersFrame, SettingsFrame

from grpclib_anyio._fast.hpack_cache import HeaderEncoder
from grpclib_anyio.client import Channel
from grpclib_anyio.server import Stream
from harness.peer import (
    BOTH,
    STREAM,
    Call,
    Network,
    ScriptedPeer,
    channel_to,
    completes,
    fields_of,
    framed,
    serving,
)

Handling = Stream[bytes, bytes]

MAX_STREAMS = SettingCodes.MAX_CONCURRENT_STREAMS
WINDOW = SettingCodes.INITIAL_WINDOW_SIZE
FRAME_SIZE = SettingCodes.MAX_FRAME_SIZE
TABLE_SIZE = SettingCodes.HEADER_TABLE_SIZE
LIST_SIZE = SettingCodes.MAX_HEADER_LIST_SIZE
#: RFC 9113 § 6.5.2: the least that a frame may hold.
LEAST_FRAME_SIZE = 16_384
#: A response's trailers with their status alone count so much.
STATUS_SIZE = len("grpc-status" + "0") + 32


async def echo(stream: Handling) -> None:
    async for message in stream:
        await stream.send_message(message)


async def announce(peer: ScriptedPeer, settings: dict[SettingCodes, int]) -> None:
    """Change settings, and take in what the other end does about it."""
    changed = dict[SettingCodes | int, int](settings.items())
    peer.h2.update_settings(changed)
    await peer.settle()


# -- streams --------------------------------------------------------------------------------------


@pytest.mark.trio
@pytest.mark.parametrize("limit", [0, 1, 2])
async def test_fewer_streams_than_are_open(limit: int) -> None:
    """Those that are open go on; the next one waits until there are fewer than the new limit."""
    network = Network(settings={MAX_STREAMS: 3})
    async with channel_to(network) as channel, anyio.create_task_group() as tasks:
        calls = [Call(channel) for _ in range(5)]
        for call in calls[:3]:
            tasks.start_soon(call.run)
        peer, first = await network.accept()
        ids = [first, *[(await peer.expect(RequestReceived)).stream_id for _ in range(2)]]
        await announce(peer, {MAX_STREAMS: limit})
        for call in calls[3:]:
            tasks.start_soon(call.run)
        open_streams, opened = list(ids), 3
        for stream_id in ids:
            await peer.respond(stream_id, b"one", end=True)
            await peer.settle()
            open_streams.remove(stream_id)
            new = opened_streams(peer)[opened:]
            opened += len(new)
            open_streams += new
            assert len(open_streams) <= max(limit, 3 - ids.index(stream_id) - 1)
        await announce(peer, {MAX_STREAMS: 3})
        for stream_id in [n for n in opened_streams(peer) if n not in ids]:
            await peer.respond(stream_id, b"one", end=True)
        await peer.settle()
    assert [call.received for call in calls] == [[b"one"]] * 5


def opened_streams(peer: ScriptedPeer) -> list[int]:
    return [frame.stream_id for frame in peer.frames if isinstance(frame, HeadersFrame)]


# -- windows --------------------------------------------------------------------------------------


@pytest.mark.trio
async def test_a_window_that_shrinks_below_what_has_been_sent() -> None:
    """It is negative then (RFC 9113 § 6.9.2), and nothing may go until it is positive again."""
    message = b"x" * 3_000
    async with serving(both=echo) as service:
        peer = await service.connect(settings={WINDOW: 2_000}, reads=False)
        stream_id = await peer.request(BOTH, message)
        await peer.settle()
        assert len(peer.data(stream_id)) == 2_000
        await announce(peer, {WINDOW: 500})
        for increment in (1_000, 500):
            peer.h2.increment_flow_control_window(increment, stream_id)
            await peer.settle()
            assert len(peer.data(stream_id)) == 2_000
        peer.h2.increment_flow_control_window(1, stream_id)
        await peer.settle()
        assert len(peer.data(stream_id)) == 2_001
        await announce(peer, {WINDOW: 3_000})
        assert peer.data(stream_id) == framed(message)
        assert peer.ends(stream_id)


@pytest.mark.trio
async def test_a_window_that_shrinks_does_so_for_all_streams() -> None:
    message = b"x" * 3_000
    network = Network(settings={WINDOW: 1_000}, reads=False)
    async with channel_to(network) as channel, anyio.create_task_group() as tasks:
        calls = [Call(channel, message) for _ in range(3)]
        for call in calls:
            tasks.start_soon(call.run)
        peer, first = await network.accept()
        ids = [first, first + 2, first + 4]
        await peer.settle()
        await announce(peer, {WINDOW: 0})
        for stream_id in ids:
            peer.h2.increment_flow_control_window(1_000, stream_id)
        await peer.settle()
        assert [len(peer.data(stream_id)) for stream_id in ids] == [1_000] * 3
        await announce(peer, {WINDOW: 10_000})
        assert [peer.data(stream_id) for stream_id in ids] == [framed(message)] * 3
        for stream_id in ids:
            await peer.respond(stream_id, end=True)


@pytest.mark.trio
async def test_a_window_that_would_be_too_large_ends_the_connection() -> None:
    """SETTINGS_INITIAL_WINDOW_SIZE that makes an open stream's window more than 2^31 - 1."""
    async with serving(both=echo) as service:
        bystander, peer = await service.connect(), await service.connect()
        await peer.request(BOTH, end=False)
        peer.h2.increment_flow_control_window(2**30, 1)
        await peer.settle()
        await peer.send_frames(SettingsFrame(settings={WINDOW: 2**31 - 1}))
        await peer.read_to_end()
        assert [code for code, _ in peer.goaways()] == [ErrorCodes.FLOW_CONTROL_ERROR]
        stream_id = await bystander.request(BOTH, b"hello")
        await bystander.settle()
        assert bystander.data(stream_id) == framed(b"hello")


# -- frames ---------------------------------------------------------------------------------------


@pytest.mark.trio
async def test_frames_stay_small_whatever_the_peer_takes() -> None:
    """A larger limit is taken back again: nothing that is on its way then is too large."""
    message = b"x" * 200_000
    async with serving(both=echo) as service:
        peer = await service.connect(settings={FRAME_SIZE: 2**24 - 1, WINDOW: 2**20})
        for size in (2**24 - 1, LEAST_FRAME_SIZE):
            await announce(peer, {FRAME_SIZE: size})
            stream_id = await peer.request(BOTH, end=False)
            await peer.send_all(stream_id, framed(message))
            await peer.settle()
            assert peer.data(stream_id) == framed(message)
            frames = [f for f in peer.frames_of(stream_id) if isinstance(f, DataFrame)]
            assert max(len(frame.data) for frame in frames) <= LEAST_FRAME_SIZE
            await peer.reset(stream_id)


@pytest.mark.trio
async def test_headers_larger_than_a_frame_are_continued() -> None:
    async def answer(stream: Handling) -> None:
        stream.set_initial_metadata({"x": "~" * 40_000})
        await echo(stream)

    async with serving(both=answer) as service:
        peer = await service.connect(settings={FRAME_SIZE: LEAST_FRAME_SIZE})
        await peer.request(BOTH, b"one")
        fields = fields_of(await peer.expect(ResponseReceived))
        assert len(fields["x"]) == 40_000
        parts = [f for f in peer.frames if isinstance(f, HeadersFrame | ContinuationFrame)]
        assert max(len(part.data) for part in parts) <= LEAST_FRAME_SIZE


@pytest.mark.trio
@pytest.mark.parametrize("size", [0, LEAST_FRAME_SIZE - 1, 2**24])
async def test_a_frame_size_that_there_is_not_ends_the_connection(size: int) -> None:
    async with serving(both=echo) as service:
        peer = await service.connect()
        await peer.settle()
        await peer.send_frames(SettingsFrame(settings={FRAME_SIZE: size}))
        await peer.read_to_end()
        assert [code for code, _ in peer.goaways()] == [ErrorCodes.PROTOCOL_ERROR]


# -- headers --------------------------------------------------------------------------------------


@pytest.mark.trio
@pytest.mark.parametrize("sizes", [[0], [0, 4_096], [100, 0, 200], [4_096, 0, 2**32 - 1]])
async def test_a_header_table_that_shrinks(sizes: list[int]) -> None:
    """The peer's decoder holds us to it: a block that relies on what it has dropped is an error."""
    async with serving(both=echo) as service:
        peer = await service.connect()
        for size in [4_096, *sizes]:
            peer.h2.update_settings({TABLE_SIZE: size})
            peer.h2.decoder.max_allowed_table_size = size
            await peer.settle()
        for _ in range(3):
            stream_id = await peer.request(BOTH, b"hello")
            await peer.settle()
            assert peer.data(stream_id) == framed(b"hello")
        assert peer.h2.decoder.header_table_size <= sizes[-1]


LARGE = "a" * 2_000


async def answer_at_length(stream: Handling) -> None:
    """Send more than the window of the stream, and then trailers with much in them."""
    await stream.send_message(b"x" * 70_000)
    stream.set_trailing_metadata({"x": LARGE})


@pytest.mark.trio
@pytest.mark.parametrize("limit", [STATUS_SIZE, 1_000])
async def test_a_list_limit_that_is_lowered_while_trailers_wait(limit: int) -> None:
    """The status fits always; what does not is left out, and the connection goes on."""
    async with serving(both=answer_at_length) as service:
        peer = await service.connect(settings={LIST_SIZE: 10_000}, reads=False)
        stream_id = await peer.request(BOTH)
        await peer.settle()
        await announce(peer, {LIST_SIZE: limit})
        peer.h2.decoder.max_header_list_size = limit
        for number in (None, stream_id):
            peer.h2.increment_flow_control_window(100_000, number)
        await peer.settle()
        assert fields_of(await peer.expect(TrailersReceived)) == {"grpc-status": "0"}
        assert peer.ends(stream_id)
        assert peer.goaways() == []


@pytest.mark.trio
async def test_a_list_limit_that_is_lowered_between_calls() -> None:
    network = Network(settings={LIST_SIZE: 10_000})

    async def ask(channel: Channel) -> Status | None:
        async with channel.request(
            STREAM, Cardinality.UNARY_STREAM, bytes, bytes, metadata={"x": LARGE}
        ) as call:
            try:
                await call.send_message(b"one")
            except GRPCError as error:
                return error.status
            await call.cancel()
        return None

    async with channel_to(network) as channel:
        await completes(network, channel)
        assert await ask(channel) is None
        await announce(network.peer, {LIST_SIZE: 1_000})
        assert await ask(channel) is Status.RESOURCE_EXHAUSTED
        await announce(network.peer, {LIST_SIZE: 10_000})
        assert await ask(channel) is None
    assert len(network.peers) == 1


@pytest.mark.trio
async def test_trailers_of_many_entries() -> None:
    """Each counts 32 bytes besides its own (RFC 9113 § 6.5.2)."""

    async def answer(stream: Handling) -> None:
        await echo(stream)
        stream.set_trailing_metadata({f"x-{number}": "v" for number in range(200)})

    async with serving(both=answer) as service:
        peer = await service.connect(settings={LIST_SIZE: 2_000})
        peer.h2.decoder.max_header_list_size = 2_000
        await peer.request(BOTH, b"one")
        fields = fields_of(await peer.expect(TrailersReceived))
        assert fields["grpc-status"] == "8"
        await announce(peer, {LIST_SIZE: 20_000})
        peer.h2.decoder.max_header_list_size = 20_000
        await peer.request(BOTH, b"one")
        assert len(fields_of(await peer.expect(TrailersReceived))) == 201


HEADERS = {
    "distinct": [(f"x-{number}", f"{number}") for number in range(4_000)],
    "one name": [("x", f"{number}") for number in range(4_000)],
    "just short enough for Huffman's code": [("x", "~" * 254)] * 500,
    "too long for it": [("x", "~" * 60_000)] * 3,
}


@pytest.mark.parametrize("kind", HEADERS)
def test_the_cost_of_headers_is_linear(kind: str) -> None:
    """Four times as many take about four times as long, and none takes 0.1 ms."""

    def seconds(headers: list[tuple[str, str]]) -> float:
        started = time.process_time()
        HeaderEncoder().encode(headers)
        return time.process_time() - started

    headers = HEADERS[kind]
    few = min(seconds(headers) for _ in range(5)) + 1e-4
    many = min(seconds(headers * 4) for _ in range(5))
    assert many < 12 * few
    assert few / len(headers) < 1e-4
