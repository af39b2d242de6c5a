"""Bytes that no well-behaved peer sends, to either side of a connection.

Three sources: frames drawn one by one (valid, odd and forbidden), recordings of real conversations
with damage, and plain noise. They arrive whole, byte by byte or in chunks of any size, from a peer
that reads what it is told or does not.

Whatever comes, nothing is logged as a failure of our own, no buffer outgrows its bound, and the
connection has either ended or waits for more; leaving it takes `close_timeout` at most.

CI runs the same examples each time. `FUZZ_EXAMPLES=100000 pytest tests/test_fuzz.py` runs that many
others in each test.
"""

import logging
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from itertools import accumulate, pairwise
from typing import Any

import anyio
import pytest
import trio
from grpclib.const import Cardinality
from h2.frame_buffer import CONTINUATION_BACKLOG
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from grpclib_anyio._base.config import Configuration
from grpclib_anyio._connection.connection import Connection
from grpclib_anyio.client import Channel
from grpclib_anyio.server import Server, Stream
from grpclib_anyio.testing import ChannelOver, MemoryStream, memory_pair
from harness.frames import (
    CONTINUATION,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    PRIORITY,
    PUSH,
    RST,
    SETTINGS,
    UPDATE,
    block,
    frame,
)
from harness.peer import BOTH, Call, Methods, Raw, framed

#: How many examples each test runs instead of CI's, and then others each time.
LONG_RUN = int(os.environ.get("FUZZ_EXAMPLES", "0"))
EXAMPLES = 150
#: Making a failing example smaller takes longer than a test may; a long run does it.
PHASES = tuple(Phase) if LONG_RUN else (Phase.generate,)

MAX_FRAME = 16_384
READ_SIZE = 65_536
CLOSE_TIMEOUT = 2.0
CONFIG = Configuration(
    http2_stream_window_size=65_535,
    http2_connection_window_size=65_535,
    max_message_size=20_000,
    max_concurrent_streams=5,
    max_write_buffer_size=5_000,
    max_outbox_size=5_000,
    close_timeout=CLOSE_TIMEOUT,
)
#: What answers to one read add before it is seen that the peer does not read: an answer is at
#: most 17 bytes to 17 (PING), or 13 to 9 (RST_STREAM).
MAX_QUEUED = CONFIG.max_write_buffer_size + 2 * READ_SIZE
#: A window's worth of messages, and one that is not complete.
MAX_INBOX = CONFIG.http2_stream_window_size + CONFIG.max_message_size


def fuzzed(*strategies: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Any]:
    """Run a test with examples: CI's fixed ones, or as many others as were asked for."""

    def decorate(test: Callable[..., None]) -> Any:
        run = settings(
            max_examples=LONG_RUN or EXAMPLES,
            derandomize=not LONG_RUN,
            deadline=None,
            phases=PHASES,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        )(given(*strategies)(test))
        return pytest.mark.timeout(0)(run) if LONG_RUN else run

    return decorate


# -- what a peer sends --------------------------------------------------------------------------


REQUEST = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", BOTH),
    (":authority", "test"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
)
RESPONSE = ((":status", "200"), ("content-type", "application/grpc"))
BLOCKS = (
    block(*REQUEST),
    block(*REQUEST),
    block(*RESPONSE),
    block(*RESPONSE),
    block(("grpc-status", "0")),
    block(("grpc-status", "99"), ("grpc-message", "%zz%")),
    block(*RESPONSE, ("grpc-status", "x")),
    block((":status", "100")),
    block((":status", "abc")),
    block(*REQUEST, ("grpc-timeout", "1m")),
    block(*REQUEST, ("grpc-timeout", "-1S")),
    block(*REQUEST, ("key-bin", "a"), ("content-length", "x")),
    block(*REQUEST, ("Upper", "case")),
    block(("x", "y"), *REQUEST),
    block(*REQUEST[:2]),
    b"",
    b"\xff\xff\xff\xff\xff\xff",  # an index without an end
    b"\x3f\xe1\xff\xff\x7f",  # a table larger than allowed
    b"\x40\x01a\x7f\xff\xff\xff\x00" + b"b" * 100,
    block(*((f"k{n}", "v" * 120) for n in range(90))),
)
SOME_STREAM = st.sampled_from((1, 1, 1, 3, 3, 5, 0, 2, 7, 99, 2**31 - 1, 2**31 + 1))
FLAGS = st.sampled_from((0, 0, 1, 4, 4, 5, 5, 8, 0xC, 0xD, 0x24, 0x25, 0x2D, 0xFF))
UINT31 = st.sampled_from((0, 1, 2, 65_535, 2**31 - 2, 2**31 - 1, 2**31, 2**32 - 1))
PAYLOADS = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        (
            framed(b"one", b"two"),
            framed(b"x" * 3_000),
            framed(b"x" * 300)[:200],
            b"\0\xff\xff\xff\xff",
            b"\1\0\0\0\0",
            b"\x05" + framed(b"padded") + b"\0" * 5,
            b"\xff" + framed(b"x"),
            framed(b"") * 1_000,
            b"x" * MAX_FRAME,
        )
    ),
)
CODES = UINT31.map(lambda value: value.to_bytes(4))
SETTINGS_PAYLOADS = st.lists(st.tuples(st.integers(0, 10), UINT31), max_size=4).map(
    lambda pairs: b"".join(code.to_bytes(2) + value.to_bytes(4) for code, value in pairs)
)
FRAMES = st.one_of(
    st.builds(frame, st.just(0), FLAGS, SOME_STREAM, PAYLOADS),
    st.builds(frame, st.just(HEADERS), FLAGS, SOME_STREAM, st.sampled_from(BLOCKS)),
    st.builds(
        frame, st.just(HEADERS), st.sampled_from((4, 5)), st.just(1), st.sampled_from(BLOCKS)
    ),
    st.builds(frame, st.just(CONTINUATION), FLAGS, SOME_STREAM, st.sampled_from(BLOCKS)),
    st.builds(frame, st.just(PRIORITY), FLAGS, SOME_STREAM, st.binary(min_size=5, max_size=5)),
    st.builds(frame, st.just(RST), FLAGS, SOME_STREAM, CODES),
    st.builds(frame, st.just(SETTINGS), st.sampled_from((0, 0, 1)), st.just(0), SETTINGS_PAYLOADS),
    st.builds(frame, st.just(PUSH), FLAGS, SOME_STREAM, st.sampled_from(BLOCKS)),
    st.builds(frame, st.just(PING), st.sampled_from((0, 1)), st.just(0), st.just(b"12345678")),
    st.builds(frame, st.just(GOAWAY), FLAGS, st.just(0), st.binary(min_size=8, max_size=20)),
    st.builds(frame, st.just(UPDATE), FLAGS, SOME_STREAM, CODES),
    st.builds(frame, st.integers(0, 255), st.integers(0, 255), SOME_STREAM, st.binary(max_size=30)),
    st.builds(
        frame,
        st.integers(0, 12),
        FLAGS,
        SOME_STREAM,
        st.binary(max_size=30),
        st.sampled_from((0, 5, MAX_FRAME + 1, 2**24 - 1)),
    ),
)
#: The same frame many times: floods.
REPEATED = st.tuples(FRAMES, st.sampled_from((1, 1, 1, 1, 2, 100, 1_000))).map(
    lambda pair: (pair[0] * pair[1])[:200_000]
)
CONVERSATIONS = st.lists(REPEATED, min_size=1, max_size=12).map(b"".join)


async def _converse() -> tuple[bytes, bytes]:
    """Hold a real conversation, and return what the client sent and what the server sent."""
    near, far = memory_pair()
    client, server = _Tape(near), _Tape(far)

    async def connect() -> _Tape:
        return client

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Server([Methods(both=echo)], codec=Raw()).serve_connection, server)
        async with ChannelOver(connect, codec=Raw()) as channel:
            small, large, cut = (_call(channel, size) for size in (3, 40_000, 3))
            await small.run()
            await large.run()
            tasks.start_soon(cut.run)
            await anyio.wait_all_tasks_blocked()
            await _call(channel, 0).run()
        tasks.cancel_scope.cancel()
    return bytes(client.sent), bytes(server.sent)


def _call(channel: Channel, size: int) -> Call:
    messages = [b"x" * size] * 2
    return Call(channel, *messages, path=BOTH, cardinality=Cardinality.STREAM_STREAM)


class _Tape(anyio.abc.ByteStream):
    """Notes what is sent through it."""

    def __init__(self, stream: MemoryStream) -> None:
        self.sent = bytearray()
        self._stream = stream

    async def receive(self, max_bytes: int = READ_SIZE) -> bytes:
        return await self._stream.receive(max_bytes)

    async def send(self, item: bytes) -> None:
        self.sent += item
        await self._stream.send(item)

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()


@cache
def recordings() -> tuple[bytes, bytes]:
    """Return what a client and what a server sent in a real conversation."""
    return trio.run(_converse, clock=MockClock(autojump_threshold=0))


@dataclass(frozen=True)
class Damage:
    """Bytes of a recording that are replaced by others."""

    #: Per mille of the recording.
    position: int
    length: int
    replacement: bytes

    def apply(self, data: bytes) -> bytes:
        start = len(data) * self.position // 1_000
        return data[:start] + self.replacement + data[start + self.length :]


DAMAGES = st.lists(
    st.builds(
        Damage,
        st.one_of(st.integers(0, 40), st.integers(0, 1_000)),
        st.integers(0, 40),
        st.one_of(st.binary(max_size=20), FRAMES),
    ),
    max_size=4,
)


# -- how it arrives -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Delivery:
    """How bytes arrive, and whether their sender reads."""

    #: Sizes of the first chunks, one byte each if empty; what is left follows whole.
    sizes: tuple[int, ...]
    reads: bool
    ends: bool

    def cut(self, data: bytes) -> Iterator[bytes]:
        sizes = self.sizes or (1,) * 400
        for start, stop in pairwise((0, *accumulate(sizes))):
            yield data[start:stop]
        yield data[sum(sizes) :]


DELIVERIES = st.builds(
    Delivery,
    st.one_of(
        st.just((0,)),  # whole
        st.just(()),  # byte by byte
        st.lists(st.integers(1, 400), min_size=1, max_size=40).map(tuple),
    ),
    st.booleans(),
    st.booleans(),
)


class Subject:
    """A connection that is fed: what it holds is checked after each chunk."""

    def __init__(self) -> None:
        self.connections: list[Connection] = []

    def make(self, *args: Any, **kwargs: Any) -> Connection:
        self.connections.append(Connection(*args, **kwargs))
        return self.connections[-1]

    def check_bounds(self) -> None:
        for connection in self.connections:
            check_bounds(connection)


def check_bounds(connection: Connection) -> None:
    h2, frames = connection._h2, connection._h2._frames  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - the buffers are private
    assert h2.queued <= MAX_QUEUED
    assert len(frames._data) <= MAX_FRAME + 9  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - the buffers are private
    assert len(frames._headers_buffer) <= CONTINUATION_BACKLOG  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - the buffers are private
    assert len(connection.streams) <= CONFIG.max_concurrent_streams
    assert len(h2.streams) <= 2 * CONFIG.max_concurrent_streams
    for stream in connection.streams:
        inbox = stream._inbox  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - the inbox is private
        assert sum(map(len, inbox.messages)) + len(inbox._buffer) <= MAX_INBOX  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - the buffers are private
        assert len(stream.outbox) <= CONFIG.max_outbox_size + CONFIG.max_message_size + 5


async def echo(stream: Stream[bytes, bytes]) -> None:
    """Answer each message with itself."""
    async for message in stream:
        await stream.send_message(message)


@asynccontextmanager
async def fed_server(subject: Subject) -> AsyncGenerator[MemoryStream]:
    """Serve one connection; give the client's end."""
    near, far = memory_pair(buffer_size=2_000)
    server = Server([Methods(both=echo, stream=echo)], codec=Raw(), config=CONFIG)
    served = anyio.Event()

    async def serve() -> None:
        try:
            await server.serve_connection(near)
        finally:
            served.set()

    async with anyio.create_task_group() as tasks:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("grpclib_anyio.server.Connection", subject.make)
            tasks.start_soon(serve)
            await anyio.wait_all_tasks_blocked()
        yield far
        with leaves_in_time():
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await served.wait()
    assert near.statistics().is_closed


@asynccontextmanager
async def fed_client(subject: Subject) -> AsyncGenerator[MemoryStream]:
    """Make three calls that wait for their answers; give the server's end."""
    near, far = memory_pair(buffer_size=2_000)
    attempts = iter([near])

    async def connect() -> MemoryStream:
        stream = next(attempts, None)
        if stream is None:
            raise ConnectionRefusedError("one is enough")
        return stream

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("grpclib_anyio._channel.connector.Connection", subject.make)
        async with ChannelOver(connect, codec=Raw(), config=CONFIG) as channel:
            async with anyio.create_task_group() as tasks:
                for size in (3, 4_000, 3):
                    tasks.start_soon(_call(channel, size).run)
                await anyio.wait_all_tasks_blocked()
                yield far
                tasks.cancel_scope.cancel()
            started = anyio.current_time()
        assert anyio.current_time() - started <= CLOSE_TIMEOUT
    assert near.statistics().is_closed


@contextmanager
def leaves_in_time() -> Generator[None]:
    """Fail if the block takes longer than a connection may take to close."""
    started = anyio.current_time()
    yield
    assert anyio.current_time() - started <= CLOSE_TIMEOUT


class Failures(logging.Handler):
    """Notes what is logged as a bug of our own."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(self.format(record))


Role = Callable[[Subject], AbstractAsyncContextManager[MemoryStream]]


async def feed(role: Role, data: bytes, delivery: Delivery) -> None:
    """Send `data` to one side, and see that it copes."""
    failures, subject = Failures(), Subject()
    logging.getLogger("grpclib_anyio").addHandler(failures)
    try:
        async with role(subject) as stream:
            await deliver(stream, data, delivery, subject.check_bounds)
    finally:
        logging.getLogger("grpclib_anyio").removeHandler(failures)
    assert failures.records == []


async def deliver(
    stream: MemoryStream, data: bytes, delivery: Delivery, check: Callable[[], None]
) -> None:
    try:
        for chunk in filter(None, delivery.cut(data)):
            await _send(stream, chunk, reads=delivery.reads)
            check()
        if delivery.ends:
            await stream.aclose()
        await anyio.wait_all_tasks_blocked()
        check()
        assert delivery.ends or stream.statistics().unreceived_bytes == 0
    except anyio.BrokenResourceError:
        pass  # it has had enough


async def _send(stream: MemoryStream, chunk: bytes, *, reads: bool) -> None:
    """Send a chunk of any size, in portions that one read of the other side takes."""
    for start in range(0, len(chunk), READ_SIZE):
        await stream.send(chunk[start : start + READ_SIZE])
        await anyio.wait_all_tasks_blocked()
        while reads and stream.receive_nowait():
            await anyio.wait_all_tasks_blocked()


def run(feeding: Callable[[], Awaitable[None]]) -> None:
    trio.run(feeding, clock=MockClock(autojump_threshold=0))


# -- the tests ----------------------------------------------------------------------------------

#: A client begins with its preface, a server with SETTINGS; else little of the rest is reached.
OPENINGS = {"server": PREFACE + frame(SETTINGS, 0, 0, b""), "client": frame(SETTINGS, 0, 0, b"")}
ROLES: dict[str, Role] = {"server": fed_server, "client": fed_client}


@pytest.mark.parametrize("role", ROLES)
@fuzzed(st.data())
def test_frames(role: str, data: st.DataObject) -> None:
    """Frames drawn one by one."""
    conversation = OPENINGS[role] + data.draw(CONVERSATIONS)
    run(partial(feed, ROLES[role], conversation, data.draw(DELIVERIES)))


@pytest.mark.parametrize("role", ROLES)
@fuzzed(DAMAGES, DELIVERIES)
def test_damaged_recordings(role: str, damages: list[Damage], delivery: Delivery) -> None:
    """A real conversation, of which some bytes were replaced, lost or added."""
    conversation = recordings()[0 if role == "server" else 1]
    for damage in damages:
        conversation = damage.apply(conversation)
    run(partial(feed, ROLES[role], conversation, delivery))


@pytest.mark.parametrize("role", ROLES)
@fuzzed(st.binary(max_size=500), st.booleans(), DELIVERIES)
def test_noise(role: str, noise: bytes, opened: bool, delivery: Delivery) -> None:  # noqa: FBT001 - hypothesis's
    """Bytes without any meaning, from the start or after a proper one."""
    run(partial(feed, ROLES[role], OPENINGS[role] * opened + noise, delivery))


@pytest.mark.parametrize("role", ROLES)
def test_peer_that_goes_on_after_it_broke_the_protocol(role: str) -> None:
    """It does not read the GOAWAY either; what it sends until we are gone is not kept."""
    data = OPENINGS[role] + frame(0, 0, 0, b"") * 50_000
    run(partial(feed, ROLES[role], data, Delivery((), reads=False, ends=False)))


def test_undamaged_recordings_are_conversations() -> None:
    """What the fuzzer damages is whole before: it holds messages, a reset, and the end."""
    client, server = recordings()
    assert client.startswith(PREFACE)
    assert len(client) > 80_000
    assert len(server) > 80_000
