"""One more than is allowed, of everything that a peer or a caller can have too much of.

Floods, which are about time, are in test_floods.py.
"""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a task group may swallow what its body raises; a test would have failed.

import struct
from contextlib import suppress
from urllib.parse import unquote

import anyio
import pytest
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError
from h2.errors import ErrorCodes
from h2.events import RequestReceived, ResponseReceived, StreamReset, TrailersReceived
from h2.settings import SettingCodes
from hyperframe.frame import ContinuationFrame, HeadersFrame
from trio.testing import MockClock

from grpclib_anyio._base.config import Configuration
from grpclib_anyio._connection.http2 import Http2
from grpclib_anyio.client import Channel
from grpclib_anyio.server import Stream
from harness.peer import (
    BOTH,
    NOTHING,
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
STREAMED = Cardinality.UNARY_STREAM

HEADER_LIST_SIZE = 1024
#: RFC 9113 § 6.5.2: what a field counts beside its octets.
FIELD_OVERHEAD = 32


async def echo(stream: Handling) -> None:
    async for message in stream:
        await stream.send_message(message)


async def hang(stream: Handling) -> None:
    del stream
    await anyio.sleep_forever()


async def echoes(peer: ScriptedPeer) -> None:
    """Make a call and see it through."""
    stream_id = await peer.request(BOTH, b"hello")
    await peer.settle()
    assert peer.data(stream_id) == framed(b"hello")
    assert peer.ends(stream_id)


# -- header tables --------------------------------------------------------------------------------

#: Bytes of the encoder's table at most, which is what a peer has before it says anything.
TABLE_SIZE = 4_096
ANY_TABLE_SIZE: dict[SettingCodes, int] = {SettingCodes.HEADER_TABLE_SIZE: 2**32 - 1}


def table_size_of(peer: ScriptedPeer) -> int:
    """Count what the peer has to hold of our headers (RFC 7541 § 4.1)."""
    entries = peer.h2.decoder.header_table.dynamic_entries
    return sum(len(name) + len(value) + FIELD_OVERHEAD for name, value in entries)


@pytest.mark.trio
async def test_responses_do_not_fill_a_table_that_a_client_allows_to_be_endless() -> None:
    """Each of 200 responses brings a header that no other has: 20 kB of them."""
    number = 0

    async def answer(stream: Handling) -> None:
        nonlocal number
        number += 1
        stream.set_trailing_metadata({"x-number": f"{number:060}"})
        await echo(stream)

    async with serving(both=answer) as service:
        peer = await service.connect(settings=ANY_TABLE_SIZE)
        for _ in range(200):
            await echoes(peer)
            assert table_size_of(peer) <= TABLE_SIZE


@pytest.mark.trio
async def test_requests_do_not_fill_a_table_that_a_server_allows_to_be_endless() -> None:
    network = Network(settings=ANY_TABLE_SIZE)
    async with channel_to(network) as channel:
        await completes(network, channel)
        for number in range(200):
            call = channel.request(
                STREAM, STREAMED, bytes, bytes, metadata={"x-number": f"{number:060}"}
            )
            async with call:
                await call.send_request()
                await network.peer.settle()
                await call.cancel()
            assert table_size_of(network.peer) <= TABLE_SIZE


# -- header lists of the peer's -------------------------------------------------------------------

SMALL_LISTS: dict[SettingCodes, int] = {SettingCodes.MAX_HEADER_LIST_SIZE: HEADER_LIST_SIZE}


async def trailers_of(peer: ScriptedPeer, handled: str) -> dict[str, str]:
    """Make a call, and return its last block of headers, which the peer has to take."""
    peer.h2.decoder.max_header_list_size = HEADER_LIST_SIZE  # one byte more ends its connection
    await peer.request(BOTH, handled.encode())
    fields = fields_of(await peer.expect(ResponseReceived))
    return fields if "grpc-status" in fields else fields_of(await peer.expect(TrailersReceived))


async def say_too_much(stream: Handling) -> None:
    """Do what the request says."""
    what = (await stream.recv_message() or b"").decode()
    if what == "echo":
        await stream.send_message(b"hello")
    elif what == "initial":
        stream.set_initial_metadata({"x": "a" * 70_000})
        await stream.send_message(b"hello")
    elif what == "initial, no message":
        stream.set_initial_metadata({"x": "a" * 70_000})
    elif what == "trailing":
        stream.set_trailing_metadata({"x": "a" * 70_000})
    elif what == "trailing, sent":
        await stream.send_message(b"hello")
        stream.set_trailing_metadata({"x": "a" * 70_000})
    else:
        raise GRPCError(Status.NOT_FOUND, MESSAGES[what])


MESSAGES = {"long": "x" * 66_000, "é": "é" * 11_000, "a€": "a" + "€" * 9_000, "%": "%" * 30_000}


@pytest.mark.anyio
@pytest.mark.parametrize("what", MESSAGES)
async def test_status_message_is_cut_to_what_the_client_takes(what: str) -> None:
    async with serving(both=say_too_much) as service:
        peer = await service.connect(settings=SMALL_LISTS)
        fields = await trailers_of(peer, what)
        assert fields["grpc-status"] == "5"
        message = unquote(fields["grpc-message"], errors="strict")
        assert MESSAGES[what].startswith(message)
        assert len(fields["grpc-message"]) > HEADER_LIST_SIZE // 2
        assert (await trailers_of(peer, "echo"))["grpc-status"] == "0"
        assert peer.goaways() == []


@pytest.mark.anyio
@pytest.mark.parametrize("what", ["initial", "initial, no message", "trailing", "trailing, sent"])
async def test_metadata_that_the_client_does_not_take_fails_that_call(what: str) -> None:
    """Another call of the same connection, which is open meanwhile, goes on."""
    async with serving(both=say_too_much, stream=hang) as service:
        peer = await service.connect(settings=SMALL_LISTS)
        other = await peer.request(STREAM, b"one")
        fields = await trailers_of(peer, what)
        assert fields["grpc-status"] == "8"
        assert "larger than the client takes" in unquote(fields["grpc-message"])
        assert peer.resets(other) == []
        assert (await trailers_of(peer, "echo"))["grpc-status"] == "0"


@pytest.mark.trio
async def test_deadline_of_a_call_with_metadata_that_the_client_does_not_take(
    autojump_clock: MockClock,
) -> None:
    """The status where nothing can be awaited: the cancellation is not replaced by an error."""
    del autojump_clock

    async def handler(stream: Handling) -> None:
        stream.set_initial_metadata({"x": "a" * 70_000})
        await anyio.sleep_forever()

    async with serving(both=say_too_much, stream=handler) as service:
        peer = await service.connect(settings=SMALL_LISTS)
        await peer.request(STREAM, b"one", extra=(("grpc-timeout", "2S"),))
        fields = fields_of(await peer.expect(ResponseReceived))
        assert fields["grpc-status"] == "4"
        assert (await trailers_of(peer, "echo"))["grpc-status"] == "0"


@pytest.mark.anyio
async def test_request_with_metadata_that_the_server_does_not_take_is_not_sent() -> None:
    """RESOURCE_EXHAUSTED, no retry; the server sees the next request only."""
    network = Network(settings=SMALL_LISTS)
    async with channel_to(network) as channel:
        await completes(network, channel)
        async with channel.request(
            STREAM, STREAMED, bytes, bytes, metadata={"x": "a" * 70_000}
        ) as call:
            with pytest.raises(GRPCError, match="more than the server takes") as raised:
                await call.send_message(b"request")
            assert raised.value.status is Status.RESOURCE_EXHAUSTED
        await completes(network, channel)


@pytest.mark.anyio
async def test_request_that_is_not_sent_leaves_its_turn_to_the_next() -> None:
    """Three callers and one slot: the second is refused, and the third must not wait for ever."""
    network = Network(settings={**SMALL_LISTS, SettingCodes.MAX_CONCURRENT_STREAMS: 1})
    refused: list[Status] = []

    async def call_with_too_much(channel: Channel) -> None:
        try:
            async with channel.request(
                STREAM, STREAMED, bytes, bytes, metadata={"x": "a" * 70_000}
            ) as call:
                await call.send_message(b"request")
        except GRPCError as error:
            refused.append(error.status)

    async with channel_to(network) as channel, anyio.create_task_group() as tasks:
        tasks.start_soon(Call(channel).run)
        peer, first = await network.accept()
        tasks.start_soon(call_with_too_much, channel)
        await anyio.wait_all_tasks_blocked()
        third = Call(channel)
        tasks.start_soon(third.run)
        await anyio.wait_all_tasks_blocked()
        await peer.respond(first, end=True)
        await peer.respond((await peer.expect(RequestReceived)).stream_id, b"one", end=True)
    assert refused == [Status.RESOURCE_EXHAUSTED]
    assert third.received == [b"one"]


# -- header lists ---------------------------------------------------------------------------------


def padding(size: int) -> tuple[str, str]:
    """Return a header that counts ``size`` bytes against the limit."""
    return "x", "a" * (size - FIELD_OVERHEAD - 1)


@pytest.mark.trio
async def test_a_client_is_told_how_long_its_headers_may_be() -> None:
    async with serving(Configuration(max_header_list_size=HEADER_LIST_SIZE)) as service:
        peer = await service.connect()
        await peer.settle()
        assert peer.h2.remote_settings.max_header_list_size == HEADER_LIST_SIZE


@pytest.mark.trio
async def test_a_request_with_longer_headers_ends_its_stream_only() -> None:
    config = Configuration(max_header_list_size=HEADER_LIST_SIZE)
    async with serving(config, both=echo) as service:
        peer = await service.connect()
        allowed = padding(HEADER_LIST_SIZE // 2)
        neighbour = await peer.request(BOTH, end=False, extra=(allowed,))
        too_long = await peer.request(BOTH, b"hello", extra=(padding(HEADER_LIST_SIZE),))
        await peer.settle()
        assert peer.resets(too_long) == [ErrorCodes.ENHANCE_YOUR_CALM]
        peer.queue_data(neighbour, framed(b"hello"), end=True)
        await peer.settle()
        assert peer.data(neighbour) == framed(b"hello")
        await echoes(peer)
        assert peer.goaways() == []


@pytest.mark.trio
async def test_a_response_with_longer_headers_ends_its_stream_only() -> None:
    network = Network()
    config = Configuration(max_header_list_size=HEADER_LIST_SIZE)
    async with channel_to(network, config) as channel:
        call = Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            peer, stream_id = await network.accept()
            peer.queue_headers(stream_id, padding(HEADER_LIST_SIZE))
            await peer.settle()
        assert peer.resets(stream_id) == [ErrorCodes.ENHANCE_YOUR_CALM]
        assert call.status is Status.RESOURCE_EXHAUSTED
        await completes(network, channel)
        assert peer.goaways() == []


@pytest.mark.trio
async def test_headers_without_end() -> None:
    """CONTINUATION frames, of which each is small and none the last (CERT VU#421644)."""
    async with serving(both=echo) as service:
        bystander, peer = await service.connect(), await service.connect()
        await peer.settle()
        more = [ContinuationFrame(1, b"") for _ in range(100)]
        await peer.send_frames(HeadersFrame(1, b""), *more)
        await peer.read_to_end()
        assert [code for code, _ in peer.goaways()] == [ErrorCodes.PROTOCOL_ERROR]
        await echoes(bystander)


@pytest.mark.trio
async def test_headers_that_unpack_to_more() -> None:
    """A header compression bomb: one byte stands for a field of 4,000."""
    async with serving(both=echo) as service:
        bystander, peer = await service.connect(), await service.connect()
        fields = [("x", "a" * 3900)] * 100
        stream_id = await peer.request(BOTH, b"hello", extra=tuple(fields))
        await peer.settle()
        assert peer.resets(stream_id) == [ErrorCodes.ENHANCE_YOUR_CALM]
        await echoes(peer)
        await echoes(bystander)


# -- frames that wait for a peer that does not read -----------------------------------------------


async def ping_until_cut(peer: ScriptedPeer, limit: int) -> int:
    """Return the size of the answers, none of which was read, when the server gave up."""
    size = 0
    with suppress(anyio.BrokenResourceError):
        while size < limit:
            peer.h2.ping(b"nuisance")
            await peer.flush()
            await anyio.wait_all_tasks_blocked()
            size += 17
    return size


@pytest.mark.trio
async def test_answers_to_pings_of_a_client_that_does_not_read() -> None:
    limit, buffer = 1000, 500
    config = Configuration(max_write_buffer_size=limit, http2_min_recv_ping_interval_without_data=0)
    async with serving(config, both=echo) as service:
        bystander = await service.connect()
        peer = await service.connect(buffer_size=buffer)
        await peer.settle()
        sent = await ping_until_cut(peer, 100 * limit)
        # In the pipe, in the write that is under way, and in the buffer.
        assert limit <= sent <= 2 * buffer + 2 * limit
        await echoes(bystander)


# -- settings -------------------------------------------------------------------------------------


#: RFC 9113 § 6.5: the type; no flags, and stream 0, the connection.
SETTINGS_TYPE = bytes([4, 0, 0, 0, 0, 0])


def settings_frame(settings: dict[int, int]) -> bytes:
    """Serialize SETTINGS; hyperframe keeps only the last byte of a code."""
    payload = b"".join(struct.pack(">HL", code, value) for code, value in settings.items())
    return len(payload).to_bytes(3) + SETTINGS_TYPE + payload


def test_settings_that_mean_nothing_are_not_kept() -> None:
    state = Http2(Configuration(), client_side=True)
    known = {int(SettingCodes.MAX_CONCURRENT_STREAMS): 7}
    list(state.receive(settings_frame(known)))
    before = len(state.remote_settings)
    for start in range(1000, 60_000, 1000):
        unknown = dict.fromkeys(range(start, start + 1000), 1)
        list(state.receive(settings_frame(unknown | known)))
    assert state.remote_settings.max_concurrent_streams == 7
    assert len(state.remote_settings) == before


# -- calls ----------------------------------------------------------------------------------------


@pytest.mark.trio
async def test_calls_that_wait_for_a_slot() -> None:
    network = Network(settings={SettingCodes.MAX_CONCURRENT_STREAMS: 1})
    config = Configuration(max_waiting_streams=2)
    async with channel_to(network, config) as channel:
        async with anyio.create_task_group() as tasks:
            calls = [Call(channel) for _ in range(3)]
            for call in calls:
                tasks.start_soon(call.run)
                await anyio.wait_all_tasks_blocked()
            one_more = Call(channel)
            await one_more.run()
            assert one_more.status is Status.RESOURCE_EXHAUSTED
            assert channel.statistics().waiting_for_slot == 2
            for _ in calls:
                peer, stream_id = await network.accept()
                await peer.respond(stream_id, b"fine", end=True)
        assert [call.received for call in calls] == [[b"fine"]] * 3
        assert channel.statistics() == NOTHING
        await completes(network, channel)


@pytest.mark.trio
async def test_handlers_that_clean_up_are_bounded(autojump_clock: MockClock) -> None:
    """A call that is over gives up its slot; its handler counts until it has ended, too."""
    del autojump_clock
    running = 0

    async def tidy(stream: Handling) -> None:
        nonlocal running
        del stream
        running += 1
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.move_on_after(10, shield=True):
                await anyio.sleep_forever()
            running -= 1

    async with serving(Configuration(max_concurrent_streams=3), stream=tidy) as service:
        peer = await service.connect()
        for _ in range(3):
            for stream_id in [await peer.request(STREAM, end=False) for _ in range(3)]:
                await peer.reset(stream_id)
        await peer.settle()
        assert running == 6
        refused = await peer.request(STREAM, end=False)
        event = await peer.expect(StreamReset)
        assert (event.stream_id, event.error_code) == (refused, ErrorCodes.REFUSED_STREAM)
        await anyio.sleep(11)
        assert running == 0
        await peer.request(STREAM, end=False)
        await peer.settle()
        assert running == 1
