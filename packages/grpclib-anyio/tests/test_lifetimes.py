"""How long a server keeps connections that do nothing, and what calls cost that are left."""

# pyright: reportPossiblyUnboundVariable=false

from contextlib import suppress

import anyio
import pytest
from grpclib.const import Cardinality
from h2.errors import ErrorCodes
from hyperframe.frame import GoAwayFrame
from trio.testing import MockClock

from grpclib_anyio._base.config import Configuration
from grpclib_anyio._base.rate_limit import Rate
from grpclib_anyio.client import Channel
from grpclib_anyio.server import Server, Stream
from grpclib_anyio.testing import FrameParser, MemoryStream, memory_pair
from harness.peer import BOTH, STREAM, Methods, Raw, framed, serving

Handling = Stream[bytes, bytes]
TIMEOUT, IDLE = 5.0, 60.0


async def echo(stream: Handling) -> None:
    async for message in stream:
        await stream.send_message(message)


# -- a client that does not begin ------------------------------------------------------------------

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


async def _read_to_end(stream: MemoryStream) -> bytes:
    data = b""
    with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
        while True:
            data += await stream.receive()
    return data


@pytest.mark.trio
@pytest.mark.parametrize(
    "says", [b"", b"PRI", _PREFACE, _PREFACE + b"\0\0"], ids=["nothing", "part", "preface", "half"]
)
async def test_a_client_that_does_not_begin_is_let_go(
    autojump_clock: MockClock, says: bytes
) -> None:
    del autojump_clock
    server = Server(
        [Methods(both=echo)], codec=Raw(), config=Configuration(connect_timeout=TIMEOUT)
    )
    near, far = memory_pair()
    started = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        if says:
            await far.send(says)

        tasks.start_soon(_read_to_end, far)
        await server.serve_connection(near)
        assert anyio.current_time() - started == pytest.approx(TIMEOUT)
    far.close()


@pytest.mark.trio
async def test_hundreds_of_silent_clients_are_let_go_beside_one_that_works(
    autojump_clock: MockClock,
) -> None:
    del autojump_clock
    async with serving(Configuration(connect_timeout=TIMEOUT), both=echo) as service:
        peer = await service.connect()
        async with anyio.create_task_group() as tasks:
            ends = [memory_pair() for _ in range(500)]
            for near, _ in ends:
                tasks.start_soon(service.server.serve_connection, near)
            await anyio.sleep(TIMEOUT + 2)
        for _, far in ends:
            far.close()
        stream_id = await peer.request(BOTH, b"hello")
        await peer.settle()
        assert peer.data(stream_id) == framed(b"hello")


@pytest.mark.trio
async def test_a_client_that_begins_in_time_stays(autojump_clock: MockClock) -> None:
    del autojump_clock
    async with serving(Configuration(connect_timeout=TIMEOUT), both=echo) as service:
        peer = await service.connect()
        await peer.settle()
        await anyio.sleep(100 * TIMEOUT)
        stream_id = await peer.request(BOTH, b"hello")
        await peer.settle()
        assert peer.data(stream_id) == framed(b"hello")


# -- a client that has nothing to ask --------------------------------------------------------------


@pytest.mark.trio
async def test_an_idle_connection_is_let_go(autojump_clock: MockClock) -> None:
    del autojump_clock
    config = Configuration(max_connection_idle=IDLE)
    async with serving(config, both=echo) as service:
        peer = await service.connect()
        await peer.settle()
        started = anyio.current_time()
        frames = FrameParser().feed(await _read_to_end(peer.stream))
        assert IDLE <= anyio.current_time() - started < IDLE + 10
        codes = [frame.error_code for frame in frames if isinstance(frame, GoAwayFrame)]
        assert set(codes) == {ErrorCodes.NO_ERROR}


@pytest.mark.trio
async def test_a_connection_is_idle_from_its_last_call(autojump_clock: MockClock) -> None:
    del autojump_clock
    config = Configuration(max_connection_idle=IDLE)
    async with serving(config, both=echo) as service:
        peer = await service.connect()
        await peer.settle()
        long = await peer.request(BOTH, b"one", end=False)
        await anyio.sleep(2.5 * IDLE)
        peer.queue_data(long, framed(b"two"), end=True)
        await peer.settle()
        assert peer.data(long) == framed(b"one", b"two")
        ended = anyio.current_time()
        await _read_to_end(peer.stream)
        assert IDLE <= anyio.current_time() - ended < IDLE + 10


# -- calls that are left -------------------------------------------------------------------------

FEW = Configuration(max_resets=Rate(per_second=0, burst=10))


@pytest.mark.trio
async def test_calls_that_are_left_while_they_are_handled_cost_nothing() -> None:
    begun = 0

    async def hang(stream: Handling) -> None:
        nonlocal begun
        begun += 1
        await stream.recv_message()
        await anyio.sleep_forever()

    async with serving(FEW, both=echo, stream=hang) as service:
        peer = await service.connect()
        neighbour = await peer.request(BOTH, b"one", end=False)
        for number in range(200):
            stream_id = await peer.request(STREAM, b"hello")
            await peer.settle()
            assert begun == number + 1
            await peer.reset(stream_id)
        peer.queue_data(neighbour, framed(b"two"), end=True)
        await peer.settle()
        assert peer.data(neighbour) == framed(b"one", b"two")
        assert peer.goaways() == []


@pytest.mark.trio
async def test_calls_that_are_left_before_they_are_handled_are_not_handled_and_counted() -> None:
    begun = 0

    async def note(stream: Handling) -> None:
        nonlocal begun
        begun += 1
        await stream.recv_message()

    async with serving(FEW, stream=note) as service:
        peer = await service.connect()
        await peer.settle()
        for _ in range(11):
            stream_id = peer.h2.get_next_available_stream_id()
            headers = [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", STREAM),
                (":authority", "test"),
                ("content-type", "application/grpc"),
            ]
            peer.h2.send_headers(stream_id, headers)
            peer.h2.reset_stream(stream_id, 8)
        await peer.flush()
        await peer.read_to_end()
        assert peer.goaways()[-1] == (ErrorCodes.ENHANCE_YOUR_CALM, b"too_many_resets")
        assert begun == 0


@pytest.mark.anyio
async def test_thousands_of_calls_a_second_may_be_left_over_real_sockets() -> None:
    """Far more than the budget that they would have come out of, and nobody notices."""

    async def hang(stream: Handling) -> None:
        await stream.recv_message()
        await stream.send_initial_metadata()
        await anyio.sleep_forever()

    server = Server([Methods(both=echo, stream=hang)], codec=Raw(), config=FEW)
    async with anyio.create_task_group() as tasks:
        ((host, port),) = await tasks.start(server.serve, "127.0.0.1", 0)
        async with Channel(host, port, codec=Raw()) as channel:
            await _leave_many(channel, 1_000)
            assert channel.statistics().streams == 0
        tasks.cancel_scope.cancel()


async def _leave_many(channel: Channel, count: int) -> None:
    async with channel.request(BOTH, Cardinality.STREAM_STREAM, bytes, bytes) as neighbour:
        await neighbour.send_message(b"one")
        assert await neighbour.recv_message() == b"one"
        for _ in range(count):
            async with channel.request(STREAM, Cardinality.UNARY_STREAM, bytes, bytes) as call:
                await call.send_message(b"hello", end=True)
                await call.recv_initial_metadata()
                await call.cancel()
        await neighbour.send_message(b"two", end=True)
        assert await neighbour.recv_message() == b"two"
