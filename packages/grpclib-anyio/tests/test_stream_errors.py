"""What is wrong with one stream ends that stream: its neighbours on the connection go on."""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a task group may swallow what its body raises; a test would have failed.

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from grpclib.const import Status
from h2.errors import ErrorCodes
from h2.events import RequestReceived
from hyperframe.frame import DataFrame, Frame, HeadersFrame, WindowUpdateFrame

from grpclib_anyio._base.config import Configuration
from grpclib_anyio._base.rate_limit import Rate
from grpclib_anyio.server import Stream
from harness import frames as raw
from harness.peer import BOTH, STREAM, Call, Network, ScriptedPeer, channel_to, framed, serving

Handling = Stream[bytes, bytes]

#: The header ("x", "y"), without Huffman coding and without the table.
_BLOCK = b"\x00\x01x\x01y"
LIMIT = 1024
SMALL = Configuration(max_header_list_size=LIMIT)
BOTH_WAYS = pytest.mark.parametrize("past_h2", [True, False], ids=["past h2", "h2 alone"])


async def echo(stream: Handling) -> None:
    async for message in stream:
        await stream.send_message(message)


@asynccontextmanager
async def beside_a_neighbour(config: Configuration | None = None) -> AsyncGenerator[ScriptedPeer]:
    """Give a client with a call under way, which then goes on and ends as if nothing had been."""
    async with serving(config, both=echo) as service:
        peer = await service.connect()
        neighbour = await peer.request(BOTH, b"one", end=False)
        await peer.settle()
        yield peer
        peer.queue_data(neighbour, framed(b"two"), end=True)
        await peer.settle()
        assert peer.data(neighbour) == framed(b"one", b"two")
        assert peer.ends(neighbour)
        after = await peer.request(BOTH, b"three")
        await peer.settle()
        assert peer.data(after) == framed(b"three")
        assert peer.goaways() == []


# -- headers ---------------------------------------------------------------------------------------

MALFORMED = [
    ("X-Upper", "a"),
    ("te", "gzip"),
    ("connection", "close"),
    ("proxy-connection", "close"),
    ("transfer-encoding", "chunked"),
    ("keep-alive", "timeout=5"),
    ("upgrade", "h2c"),
    (":late", "a"),
    (":path", "/again"),
    ("na:me", "a"),
    ("na me", "a"),
    ("", "a"),
    ("key", "a\0b"),
    ("key", "a\nb"),
    ("key", "a\rb"),
    ("content-length", "five"),
    ("content-length", "-1"),
    ("host", "another"),
]


@pytest.mark.trio
@BOTH_WAYS
@pytest.mark.parametrize("header", MALFORMED, ids=ascii)
async def test_a_malformed_request_ends_its_stream(
    header: tuple[str, str], *, past_h2: bool
) -> None:
    config = Configuration(reads_data_past_h2=past_h2)
    async with beside_a_neighbour(config) as peer:
        stream_id = await peer.request(BOTH, b"hello", extra=(header,))
        await peer.settle()
        assert peer.resets(stream_id) == [ErrorCodes.PROTOCOL_ERROR]


@pytest.mark.trio
@pytest.mark.parametrize("field", [":method", ":path", ":scheme"])
async def test_a_request_without_a_pseudo_header_ends_its_stream(field: str) -> None:
    async with beside_a_neighbour() as peer:
        stream_id = await peer.request(BOTH, b"hello", replace={field: None})
        await peer.settle()
        assert peer.resets(stream_id) == [ErrorCodes.PROTOCOL_ERROR]


@pytest.mark.trio
@pytest.mark.parametrize("value", ["value ", " value", "\tvalue\t ", "   "])
async def test_white_space_at_the_ends_of_a_value_is_stripped(value: str) -> None:
    seen: list[str] = []

    async def note(stream: Handling) -> None:
        seen.append(str(stream.metadata["key"]))
        await echo(stream)

    async with serving(both=note) as service:
        peer = await service.connect()
        stream_id = await peer.request(BOTH, b"hello", extra=(("key", value),))
        await peer.settle()
        assert peer.data(stream_id) == framed(b"hello")
    assert seen == [value.strip()]


@pytest.mark.trio
async def test_a_pseudo_header_is_not_stripped() -> None:
    async with beside_a_neighbour() as peer:
        stream_id = await peer.request(BOTH, b"hello", replace={":path": f"{BOTH} "})
        await peer.settle()
        assert peer.resets(stream_id) == [ErrorCodes.PROTOCOL_ERROR]


@pytest.mark.trio
async def test_header_compression_stays_in_step_with_what_is_refused() -> None:
    """The malformed block puts a header into the table, which a later block refers to."""
    async with beside_a_neighbour() as peer:
        table = (("x-shared", "value"), ("X-Upper", "a"))
        refused = await peer.request(BOTH, b"hello", extra=table)
        stream_id = await peer.request(BOTH, b"hello", extra=table[:1])
        await peer.settle()
        assert peer.resets(refused) == [ErrorCodes.PROTOCOL_ERROR]
        assert peer.data(stream_id) == framed(b"hello")


def _padding(size: int) -> tuple[str, str]:
    return ("x", "a" * (size - 33))


@pytest.mark.trio
@pytest.mark.parametrize(
    "extra",
    [
        (_padding(LIMIT),),
        (_padding(LIMIT), ("x-table", "a"), ("y-table", "b")),
        tuple(("x", str(n)) for n in range(60)),
        (("x", "a" * 300),) * 20,
    ],
    ids=["one", "before others", "many", "repeated"],
)
async def test_a_header_list_that_is_too_large_ends_its_stream(
    extra: tuple[tuple[str, str], ...],
) -> None:
    async with beside_a_neighbour(SMALL) as peer:
        stream_id = await peer.request(BOTH, b"hello", extra=extra)
        await peer.settle()
        assert peer.resets(stream_id) == [ErrorCodes.ENHANCE_YOUR_CALM]
        # The table is as the peer believes: what it put there can be referred to.
        known = await peer.request(BOTH, b"again", extra=extra[-1:] if len(extra) > 1 else ())
        await peer.settle()
        assert peer.data(known) == framed(b"again")


@pytest.mark.trio
async def test_a_block_that_is_longer_than_any_list_ends_the_connection() -> None:
    """It would be read to its end, and that has to have a bound."""
    async with serving(SMALL, both=echo) as service:
        peer = await service.connect()
        await peer.settle()
        peer.h2.encoder.huffman = False  # type: ignore[attr-defined] # plain text, so that it is long
        await peer.request(BOTH, b"hello", extra=(("x", "\x01" * 5 * LIMIT),))
        await peer.read_to_end()
        assert [code for code, _ in peer.goaways()] == [ErrorCodes.ENHANCE_YOUR_CALM]


@pytest.mark.trio
async def test_what_a_peer_makes_us_reset_is_counted() -> None:
    config = Configuration(max_resets=Rate(per_second=0, burst=10))
    async with serving(config, both=echo) as service:
        peer = await service.connect()
        for _ in range(11):
            await peer.request(BOTH, extra=(("X-Upper", "a"),))
        await peer.read_to_end()
        assert peer.goaways()[-1] == (ErrorCodes.ENHANCE_YOUR_CALM, b"too_many_resets")


PROVOKING: dict[str, Callable[[int], bytes]] = {
    "DATA after the end": lambda stream_id: raw.frame(0, 0, stream_id, b"x"),
    "HEADERS after the end": lambda stream_id: raw.frame(1, 5, stream_id, _BLOCK),
    "a window that overflows": lambda stream_id: raw.frame(8, 0, stream_id, b"\x7f\xff\xff\xff"),
    "a window opened by nothing": lambda stream_id: raw.frame(8, 0, stream_id, bytes(4)),
    "a priority of a wrong size": lambda stream_id: raw.frame(2, 0, stream_id, b"x"),
}


@pytest.mark.trio
@pytest.mark.parametrize("is_over", [False, True], ids=["half-closed", "closed"])
@pytest.mark.parametrize("name", PROVOKING)
async def test_each_reset_that_a_peer_provokes_is_counted(name: str, *, is_over: bool) -> None:
    """Once a stream, and not where there is nothing to reset any more."""
    config = Configuration(max_resets=Rate(per_second=0, burst=10))

    async def wait(stream: Handling) -> None:
        await stream.send_initial_metadata()
        await anyio.sleep_forever()

    async with serving(config, both=echo, stream=wait) as service:
        peer = await service.connect()
        for count in range(1, 11):
            stream_id = await peer.request(BOTH if is_over else STREAM, b"hello")
            await peer.settle()
            await peer.stream.send(PROVOKING[name](stream_id) * 3)
            await peer.settle()
            if is_over and "after the end" not in name:
                assert peer.resets(stream_id) == []
            else:
                assert len(peer.resets(stream_id)) == 1, count
        assert peer.goaways() == []
        if not is_over or "after the end" in name:
            stream_id = await peer.request(STREAM, b"hello")
            await peer.stream.send(PROVOKING[name](stream_id))
            await peer.read_to_end()
            assert peer.goaways()[-1] == (ErrorCodes.ENHANCE_YOUR_CALM, b"too_many_resets")


# -- a client, whose server sends nonsense on one of its calls -------------------------------------


@asynccontextmanager
async def two_calls(
    config: Configuration | None = None,
) -> AsyncGenerator[tuple[Call, ScriptedPeer, int]]:
    """Give a call and its stream; beside it another call goes on, and ends as it should."""
    network = Network()
    async with channel_to(network, config) as channel:
        call, neighbour = Call(channel), Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(neighbour.run)
            peer, healthy = await network.accept()
            await peer.respond(healthy, b"one")
            tasks.start_soon(call.run)
            stream_id = await peer.next_request()
            assert stream_id is not None
            yield call, peer, stream_id
            peer.queue_messages(healthy, b"two")
            peer.queue_trailers(healthy)
            await peer.flush()
        assert neighbour.received == [b"one", b"two"]
        assert neighbour.error is None
        assert peer.goaways() == []


@pytest.mark.trio
@BOTH_WAYS
@pytest.mark.parametrize(
    "header", [("X-Upper", "a"), ("key", "a\0b"), ("connection", "x")], ids=ascii
)
@pytest.mark.parametrize("where", ["headers", "trailers"])
async def test_a_malformed_response_fails_its_call(
    header: tuple[str, str], where: str, *, past_h2: bool
) -> None:
    async with two_calls(Configuration(reads_data_past_h2=past_h2)) as (call, peer, stream_id):
        if where == "headers":
            peer.queue_headers(stream_id, header)
        else:
            peer.queue_headers(stream_id)
            peer.queue_trailers(stream_id, 0, header)
        await peer.settle()
        # After the trailers both sides have ended the stream, and nothing is left to reset.
        expected = [ErrorCodes.PROTOCOL_ERROR] if where == "headers" else []
        assert peer.resets(stream_id) == expected
    assert call.status is Status.INTERNAL


@pytest.mark.trio
@pytest.mark.parametrize("where", ["headers", "trailers", "early hints"])
async def test_a_response_with_more_metadata_than_is_taken_fails_its_call(where: str) -> None:
    async with two_calls(SMALL) as (call, peer, stream_id):
        if where == "trailers":
            peer.queue_headers(stream_id)
            peer.queue_trailers(stream_id, 0, _padding(LIMIT))
        elif where == "headers":
            peer.queue_headers(stream_id, _padding(LIMIT))
        else:
            peer.h2.send_headers(stream_id, [(":status", "103"), _padding(LIMIT)])
        await peer.settle()
        assert peer.resets(stream_id) == [ErrorCodes.ENHANCE_YOUR_CALM]
    assert call.status is Status.RESOURCE_EXHAUSTED


@pytest.mark.trio
@pytest.mark.parametrize(("length", "data"), [("3", b"hello"), ("300", b"hello"), ("0", b"hello")])
async def test_a_response_of_another_length_than_it_says_fails_its_call(
    length: str, data: bytes
) -> None:
    async with two_calls() as (call, peer, stream_id):
        peer.queue_headers(stream_id, ("content-length", length))
        peer.queue_messages(stream_id, data)
        peer.queue_trailers(stream_id)
        await peer.settle()
    assert call.status is Status.INTERNAL
    assert call.received in ([], [data])


@pytest.mark.trio
async def test_headers_that_come_twice_fail_their_call() -> None:
    async with two_calls() as (call, peer, stream_id):
        peer.queue_headers(stream_id)
        await peer.settle()
        await peer.send_frames(HeadersFrame(stream_id, _BLOCK, flags=["END_HEADERS"]))
        await peer.settle()
        assert peer.resets(stream_id) == [ErrorCodes.PROTOCOL_ERROR]
    assert call.status is Status.INTERNAL


# -- frames on a stream that is over for them ------------------------------------------------------


def _data(stream_id: int) -> Frame:
    return DataFrame(stream_id, b"late")


def _trailers(stream_id: int) -> Frame:
    return HeadersFrame(stream_id, _BLOCK, flags=["END_HEADERS", "END_STREAM"])


@pytest.mark.trio
@BOTH_WAYS
@pytest.mark.parametrize("frame", [_data, _trailers], ids=["DATA", "HEADERS"])
async def test_a_frame_after_the_end_resets_the_stream_once(
    frame: Callable[[int], Frame], *, past_h2: bool
) -> None:
    cancelled: list[bool] = []

    async def wait(stream: Handling) -> None:
        try:
            await echo(stream)
            await anyio.sleep_forever()
        finally:
            cancelled.append(True)

    async with serving(
        Configuration(reads_data_past_h2=past_h2), both=echo, stream=wait
    ) as service:
        peer = await service.connect()
        neighbour = await peer.request(BOTH, b"one", end=False)
        stream_id = await peer.request(STREAM, b"hello")
        await peer.settle()
        for _ in range(3):
            await peer.send_frames(frame(stream_id))
        await peer.settle()
        assert peer.resets(stream_id) == [ErrorCodes.STREAM_CLOSED]
        assert cancelled == [True]
        peer.queue_data(neighbour, framed(b"two"), end=True)
        await peer.settle()
        assert peer.data(neighbour) == framed(b"one", b"two")
        assert peer.goaways() == []


@pytest.mark.trio
async def test_data_after_the_end_keeps_the_connections_window() -> None:
    """Bytes that nobody takes are given back, however many come."""
    config = Configuration(http2_connection_window_size=65_535)
    async with serving(config, both=echo, stream=echo) as service:
        peer = await service.connect()
        stream_id = await peer.request(STREAM, b"hello", end=False)
        await peer.settle()
        await peer.send_frames(DataFrame(stream_id, b"", flags=["END_STREAM"]))
        for _ in range(30):
            await peer.send_frames(DataFrame(stream_id, b"x" * 8_000))
            await peer.settle()
        credited = sum(
            frame.window_increment
            for frame in peer.frames_of(0)
            if isinstance(frame, WindowUpdateFrame)
        )
        assert credited >= 30 * 8_000 - 65_535 // 2


@pytest.mark.trio
async def test_more_data_than_content_length_says_ends_its_stream() -> None:
    async with beside_a_neighbour() as peer:
        stream_id = await peer.request(BOTH, b"hello", extra=(("content-length", "3"),))
        await peer.settle()
        assert peer.resets(stream_id) == [ErrorCodes.PROTOCOL_ERROR]


@pytest.mark.trio
@pytest.mark.parametrize("trailers", [False, True], ids=["data", "trailers"])
async def test_less_data_than_content_length_says_ends_its_stream(*, trailers: bool) -> None:
    async with beside_a_neighbour() as peer:
        length = ("content-length", "300")
        stream_id = await peer.request(BOTH, b"hello", extra=(length,), end=not trailers)
        if trailers:
            await peer.send_frames(_trailers(stream_id))
        await peer.settle()
        assert peer.resets(stream_id) == [ErrorCodes.PROTOCOL_ERROR]


@pytest.mark.trio
async def test_more_data_than_the_streams_window_ends_its_stream() -> None:
    config = Configuration(http2_stream_window_size=65_535)

    async def stall(stream: Handling) -> None:
        del stream
        await anyio.sleep_forever()

    async with serving(config, both=echo, stream=stall) as service:
        peer = await service.connect()
        neighbour = await peer.request(BOTH, b"one", end=False)
        stream_id = await peer.request(STREAM, end=False)
        await peer.settle()
        for _ in range(5):
            await peer.send_frames(DataFrame(stream_id, b"x" * 16_384))
        await peer.settle()
        assert peer.resets(stream_id) == [ErrorCodes.FLOW_CONTROL_ERROR]
        peer.queue_data(neighbour, framed(b"two"), end=True)
        await peer.settle()
        assert peer.data(neighbour) == framed(b"one", b"two")


@pytest.mark.trio
async def test_a_window_that_overflows_ends_its_stream() -> None:
    async with beside_a_neighbour() as peer:
        stream_id = await peer.request(BOTH, end=False)
        await peer.send_frames(WindowUpdateFrame(stream_id, window_increment=2**31 - 1))
        await peer.settle()
        assert peer.resets(stream_id) == [ErrorCodes.FLOW_CONTROL_ERROR]


# -- odd errors of handlers ------------------------------------------------------------------------


class OddError(BaseException):
    """No Exception."""


class UnprintableError(Exception):
    """Cannot say what it is."""

    def __str__(self) -> str:
        raise ValueError


async def _cancelled_by_nobody() -> None:
    await anyio.lowlevel.checkpoint()
    raise asyncio.CancelledError


async def _awaits_what_was_cancelled() -> None:
    task = asyncio.ensure_future(asyncio.sleep(60))
    await anyio.lowlevel.checkpoint()
    task.cancel()
    await task


async def _raises_in_a_group() -> None:
    await anyio.lowlevel.checkpoint()
    raise BaseExceptionGroup("several", [OddError(), ValueError()])


async def _raises(error: BaseException) -> None:
    await anyio.lowlevel.checkpoint()
    raise error


ODD: dict[str, Callable[[], Any]] = {
    "a BaseException": lambda: _raises(OddError()),
    "GeneratorExit": lambda: _raises(GeneratorExit()),
    "StopAsyncIteration": lambda: _raises(StopAsyncIteration()),
    "a group of odd ones": _raises_in_a_group,
    "one that cannot be printed": lambda: _raises(UnprintableError()),
}
ODD_ON_ASYNCIO: dict[str, Callable[[], Any]] = {
    "CancelledError that nobody asked for": _cancelled_by_nobody,
    "a task that was cancelled": _awaits_what_was_cancelled,
    "a group with a cancellation": lambda: _raises(
        BaseExceptionGroup("several", [asyncio.CancelledError(), ValueError()])
    ),
}


async def _fails_alone(odd: Callable[[], Any]) -> None:
    async def fail(stream: Handling) -> None:
        await stream.recv_message()
        await odd()

    async with serving(both=echo, stream=fail) as service:
        peer = await service.connect()
        neighbour = await peer.request(BOTH, b"one", end=False)
        failed = await peer.request(STREAM, b"hello")
        with anyio.fail_after(10):  # noqa: ASYNC912 - it may be over
            while not peer.ends(failed):
                await peer.pump()
        trailers = [frame for frame in peer.frames_of(failed) if isinstance(frame, HeadersFrame)]
        assert trailers
        peer.queue_data(neighbour, framed(b"two"), end=True)
        with anyio.fail_after(10):  # noqa: ASYNC912 - it may be over
            while not peer.ends(neighbour):
                await peer.pump()
        assert peer.data(neighbour) == framed(b"one", b"two")
        assert peer.goaways() == []


@pytest.mark.anyio
@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
async def test_an_odd_error_of_a_handler_is_its_calls_alone(
    odd: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.CRITICAL, "grpclib_anyio"):
        await _fails_alone(odd)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("odd", ODD_ON_ASYNCIO.values(), ids=ODD_ON_ASYNCIO)
async def test_a_cancellation_that_nobody_asked_for_is_its_calls_alone(
    odd: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.CRITICAL, "grpclib_anyio"):
        await _fails_alone(odd)
    assert "shutting down" not in caplog.text


# -- what crosses our reset ------------------------------------------------------------------------


@pytest.mark.trio
@BOTH_WAYS
async def test_answers_that_cross_our_resets_are_no_flood(*, past_h2: bool) -> None:
    """All browsers leave at once, and each call's answer was on its way."""
    network = Network()
    config = Configuration(reads_data_past_h2=past_h2)
    async with channel_to(network, config) as channel, anyio.create_task_group() as tasks:
        calls = [Call(channel) for _ in range(900)]
        for call in calls:
            tasks.start_soon(call.run)
        peer, stream_id = await network.accept()
        stream_ids = [stream_id]
        while len(stream_ids) < len(calls):
            stream_ids.append((await peer.expect(RequestReceived)).stream_id)
        for call in calls:
            call.scope.cancel()
        await anyio.wait_all_tasks_blocked()
        for stream_id in stream_ids:
            await peer.respond(stream_id, b"late", end=True)
        await peer.settle()
        assert [code for i in stream_ids for code in peer.resets(i)] == [ErrorCodes.CANCEL] * 900
        assert peer.goaways() == []
