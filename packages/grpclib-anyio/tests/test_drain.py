"""A server that ends without breaking a call: when it is told to, and connection by connection."""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a task group may swallow what its body raises; a test would have failed.

from functools import partial

import anyio
import pytest
from grpclib.const import Status
from h2.errors import ErrorCodes
from h2.events import StreamReset, TrailersReceived
from hyperframe.frame import Frame, GoAwayFrame, PingFrame
from trio.testing import MockClock

from grpclib_anyio._base.config import Configuration
from grpclib_anyio.client import Channel
from grpclib_anyio.server import Server, Stream
from grpclib_anyio.testing import ChannelFor
from harness.peer import (
    STREAM,
    Call,
    Methods,
    Raw,
    ScriptedPeer,
    Service,
    fields_of,
    framed,
    serving,
)
from interop.security import Security

Handling = Stream[bytes, bytes]

#: What the first of two GOAWAYs says: no stream is refused yet.
ALL = 2**31 - 1
GRACE = 30.0
AGE = 100.0
#: How long the second GOAWAY waits for the answer to a PING.
ROUND_TRIP_TIMEOUT = 5.0
#: How long a connection without calls waits for the client to close it.
LINGER = Configuration().close_timeout


class Gate:
    """A handler that says so when it has begun, and is done when it is let."""

    def __init__(self) -> None:
        self.running = 0
        self.cancelled = 0
        self.begun = anyio.Event()
        self._open = anyio.Event()

    def open(self) -> None:
        self._open.set()

    async def __call__(self, stream: Handling) -> None:
        self.running += 1
        self.begun.set()
        try:
            await stream.send_message(b"begun")
            await self._open.wait()
            await stream.send_message(b"done")
        except anyio.get_cancelled_exc_class():
            self.cancelled += 1
            raise
        finally:
            self.running -= 1


async def connect(service: Service, *, answers_pings: bool = True) -> ScriptedPeer:
    """Connect a client that minds GOAWAY no more than the test does; h2 would be over with it."""
    peer = await service.connect()
    table = vars(peer.h2)["_frame_dispatch_table"]
    table[GoAwayFrame] = _ignore
    if not answers_pings:
        table[PingFrame] = _ignore
    return peer


def _ignore(_frame: Frame) -> tuple[list[Frame], list[object]]:
    return [], []


def last_streams(peer: ScriptedPeer) -> list[int]:
    """Return the last stream of each GOAWAY, none of which blames the client."""
    frames = [frame for frame in peer.frames if isinstance(frame, GoAwayFrame)]
    assert {frame.error_code for frame in frames} <= {ErrorCodes.NO_ERROR}
    return [frame.last_stream_id for frame in frames]


async def answer_ping(peer: ScriptedPeer) -> None:
    """Answer the one PING that the server has sent."""
    (ping,) = [frame for frame in peer.frames if isinstance(frame, PingFrame)]
    await peer.send_frames(PingFrame(0, ping.opaque_data, flags=["ACK"]))
    await peer.settle()


async def start_call(peer: ScriptedPeer) -> int:
    """Make a call and wait until its handler has begun."""
    stream_id = await peer.request(STREAM, b"request")
    await peer.settle()
    assert peer.data(stream_id) == framed(b"begun")
    return stream_id


async def seconds_to_end(peer: ScriptedPeer) -> float:
    """Wait until the server has closed the connection; return how long it took."""
    start = anyio.current_time()
    await peer.read_to_end()
    return anyio.current_time() - start


# -- a server that is told to ---------------------------------------------------------------------


@pytest.mark.trio
async def test_calls_in_progress_finish(autojump_clock: MockClock) -> None:
    del autojump_clock
    gate = Gate()
    async with serving(stream=gate) as service:
        peer = await connect(service)
        stream_id = await start_call(peer)
        service.server.drain(GRACE)
        await peer.settle()
        assert last_streams(peer) == [ALL, stream_id]
        await anyio.sleep(GRACE - 1)
        gate.open()
        await peer.settle()
        assert peer.data(stream_id) == framed(b"begun", b"done")
        assert peer.ends(stream_id)
        assert not peer.is_ended
        # The client closes first, as a rule; this one does not.
        assert await seconds_to_end(peer) == pytest.approx(LINGER)
        assert last_streams(peer) == [ALL, stream_id, stream_id]
        assert (gate.running, gate.cancelled) == (0, 0)


@pytest.mark.trio
async def test_a_request_that_was_on_its_way_is_served() -> None:
    gate = Gate()
    async with serving(stream=gate) as service:
        peer = await connect(service, answers_pings=False)
        first = await start_call(peer)
        service.server.drain(GRACE)
        await peer.settle()
        assert last_streams(peer) == [ALL]
        second = await start_call(peer)
        await answer_ping(peer)
        assert last_streams(peer) == [ALL, second]
        gate.open()
        await peer.settle()
        assert all(peer.data(i) == framed(b"begun", b"done") for i in (first, second))


@pytest.mark.trio
async def test_a_later_request_is_refused(autojump_clock: MockClock) -> None:
    del autojump_clock
    gate = Gate()
    async with serving(stream=gate) as service:
        peer = await connect(service)
        first = await start_call(peer)
        service.server.drain(GRACE)
        await peer.settle()
        later = await peer.request(STREAM, b"request")
        event = await peer.expect(StreamReset)
        assert (event.stream_id, event.error_code) == (later, ErrorCodes.REFUSED_STREAM)
        assert gate.running == 1
        gate.open()
        await peer.settle()
        assert peer.ends(first)
        # RFC 9113 § 6.8: the number in a later GOAWAY never grows.
        await peer.read_to_end()
        assert last_streams(peer) == [ALL, first, first]


@pytest.mark.trio
async def test_a_client_that_does_not_answer_the_ping(autojump_clock: MockClock) -> None:
    del autojump_clock
    async with serving(stream=Gate()) as service:
        peer = await connect(service, answers_pings=False)
        stream_id = await start_call(peer)
        service.server.drain(GRACE)
        await anyio.sleep(ROUND_TRIP_TIMEOUT - 0.1)
        await peer.settle()
        assert last_streams(peer) == [ALL]
        await anyio.sleep(0.2)
        await peer.settle()
        assert last_streams(peer) == [ALL, stream_id]


@pytest.mark.trio
async def test_another_answer_is_not_mistaken_for_it() -> None:
    async with serving(stream=Gate()) as service:
        peer = await connect(service, answers_pings=False)
        await start_call(peer)
        service.server.drain(GRACE)
        await peer.settle()
        await peer.send_frames(PingFrame(0, b"anything", flags=["ACK"]))
        await peer.settle()
        assert last_streams(peer) == [ALL]


@pytest.mark.trio
async def test_calls_that_outstay_the_grace(autojump_clock: MockClock) -> None:
    del autojump_clock
    gate = Gate()
    async with serving(stream=gate) as service:
        peer = await connect(service)
        stream_id = await start_call(peer)
        service.server.drain(GRACE)
        assert await seconds_to_end(peer) == pytest.approx(GRACE)
        trailers = fields_of(await peer.expect(TrailersReceived))
        assert Status(int(trailers["grpc-status"])) is Status.UNAVAILABLE
        assert trailers["grpc-message"] == "The server is shutting down"
        assert last_streams(peer)[:2] == [ALL, stream_id]
        assert (gate.running, gate.cancelled) == (0, 1)


@pytest.mark.trio
async def test_no_grace_at_all() -> None:
    gate = Gate()
    async with serving(stream=gate) as service:
        peer = await connect(service)
        await start_call(peer)
        service.server.drain(0)
        await peer.read_to_end()
        assert fields_of(await peer.expect(TrailersReceived))["grpc-status"] == "14"
        assert gate.cancelled == 1


@pytest.mark.trio
async def test_a_connection_without_calls(autojump_clock: MockClock) -> None:
    del autojump_clock
    async with serving(stream=Gate()) as service:
        peer = await connect(service)
        await peer.settle()
        service.server.drain(GRACE)
        assert await seconds_to_end(peer) == pytest.approx(LINGER)
        assert last_streams(peer) == [ALL, 0, 0]


@pytest.mark.parametrize("phase", ["before the answer", "with a call", "without a call"])
@pytest.mark.trio
async def test_the_client_closes(autojump_clock: MockClock, phase: str) -> None:
    """Nothing is left to wait for, in whatever phase."""
    gate = Gate()
    del autojump_clock
    start = anyio.current_time()
    async with serving(stream=gate) as service:
        peer = await connect(service, answers_pings=phase != "before the answer")
        if phase != "without a call":
            await start_call(peer)
        service.server.drain(GRACE)
        await peer.settle()
        peer.stream.close()
    assert gate.running == 0
    assert anyio.current_time() == start


@pytest.mark.parametrize(("first", "second"), [(GRACE, 1.0), (1.0, GRACE)])
@pytest.mark.trio
async def test_told_again(autojump_clock: MockClock, first: float, second: float) -> None:
    """The grace can only become shorter, for connections to come as well."""
    del autojump_clock
    async with serving(stream=Gate()) as service:
        peer = await connect(service)
        await start_call(peer)
        service.server.drain(first)
        await peer.settle()
        service.server.drain(second)
        late = await connect(service, answers_pings=False)
        await start_call(late)
        async with anyio.create_task_group() as tasks:
            start = anyio.current_time()
            tasks.start_soon(late.read_to_end)
            await peer.read_to_end()
        assert anyio.current_time() - start == pytest.approx(1.0)
        assert last_streams(peer)[0] == last_streams(late)[0] == ALL


@pytest.mark.trio
async def test_cancelled_while_it_drains(autojump_clock: MockClock) -> None:
    """As without a drain: at once, and the client is told."""
    del autojump_clock
    gate = Gate()
    async with anyio.create_task_group() as tasks:
        service = Service(tasks, None, Methods(stream=gate))
        peer = await connect(service)
        await start_call(peer)
        service.server.drain(GRACE)
        await peer.settle()
        start = anyio.current_time()
        tasks.cancel_scope.cancel()
    assert anyio.current_time() == start
    assert gate.cancelled == 1
    await peer.settle()
    assert fields_of(await peer.expect(TrailersReceived))["grpc-status"] == "14"


# -- over sockets ---------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_serve_returns_when_the_last_call_is_over() -> None:
    gate = Gate()
    server = Server([Methods(stream=gate)], codec=Raw())
    async with anyio.create_task_group() as tasks:
        ((host, port),) = await tasks.start(server.serve, "127.0.0.1", 0)
        async with Channel(host, int(port), codec=Raw()) as channel:
            call, later = Call(channel), Call(channel)
            async with anyio.create_task_group() as calls:
                calls.start_soon(call.run)
                await gate.begun.wait()
                server.drain(GRACE)
                await anyio.wait_all_tasks_blocked()
                with pytest.raises(OSError, match="connect"):
                    await anyio.connect_tcp(host, int(port))
                gate.open()
            assert (call.received, call.error) == ([b"begun", b"done"], None)
            await later.run()
            assert later.status is Status.UNAVAILABLE
    assert (gate.running, gate.cancelled) == (0, 0)


@pytest.mark.anyio
async def test_a_drained_server_does_not_serve() -> None:
    server = Server([Methods(stream=Gate())], codec=Raw())
    server.drain(GRACE)
    with anyio.fail_after(GRACE):
        await server.serve("127.0.0.1", 0)


@pytest.mark.anyio
async def test_a_handshake_is_cut_short() -> None:
    """There is no call on such a connection, and its client may never say a word."""
    server = Server([Methods(stream=Gate())], codec=Raw())
    serve = partial(server.serve, "127.0.0.1", 0, ssl=Security().server_context())
    async with anyio.create_task_group() as tasks:
        ((host, port),) = await tasks.start(serve)
        async with await anyio.connect_tcp(host, int(port)) as silent:
            await anyio.wait_all_tasks_blocked()
            server.drain(GRACE)
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await silent.receive()


# -- a connection that has grown old --------------------------------------------------------------


@pytest.mark.parametrize(("jitter", "age"), [(0.9, 90.0), (1.1, 110.0)])
@pytest.mark.trio
async def test_an_old_connection_ends_when_its_calls_do(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, jitter: float, age: float
) -> None:
    del autojump_clock
    toss_age(monkeypatch, jitter)
    gate = Gate()
    async with serving(Configuration(max_connection_age=AGE), stream=gate) as service:
        peer = await connect(service)
        stream_id = await start_call(peer)
        await anyio.sleep(age - 0.1)
        await peer.settle()
        assert last_streams(peer) == []
        await anyio.sleep(0.2)
        await peer.settle()
        assert last_streams(peer) == [ALL, stream_id]
        await anyio.sleep(10 * AGE)
        assert gate.running == 1
        gate.open()
        await peer.read_to_end()
        assert peer.data(stream_id) == framed(b"begun", b"done")
        young = await connect(service)
        await young.settle()
        assert last_streams(young) == []


@pytest.mark.trio
async def test_the_grace_of_an_old_connection(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    del autojump_clock
    toss_age(monkeypatch, 1.0)
    config = Configuration(max_connection_age=AGE, max_connection_age_grace=GRACE)
    gate = Gate()
    async with serving(config, stream=gate) as service:
        peer = await connect(service)
        await start_call(peer)
        assert await seconds_to_end(peer) == pytest.approx(AGE + GRACE)
        assert fields_of(await peer.expect(TrailersReceived))["grpc-status"] == "14"
        assert gate.cancelled == 1


@pytest.mark.trio
async def test_an_old_connection_of_a_server_that_is_drained(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    del autojump_clock
    toss_age(monkeypatch, 1.0)
    async with serving(Configuration(max_connection_age=AGE), stream=Gate()) as service:
        peer = await connect(service)
        await start_call(peer)
        await anyio.sleep(AGE + 1)
        service.server.drain(GRACE)
        assert await seconds_to_end(peer) == pytest.approx(GRACE)
        assert last_streams(peer)[:2] == [ALL, 1]


@pytest.mark.trio
async def test_a_connection_may_grow_as_old_as_it_likes(autojump_clock: MockClock) -> None:
    del autojump_clock
    async with serving(stream=Gate()) as service:
        peer = await connect(service)
        await start_call(peer)
        await anyio.sleep(7000)  # the server pings after 7,200
        await peer.settle()
        assert last_streams(peer) == []


@pytest.mark.trio
async def test_our_channel_changes_to_a_new_connection(autojump_clock: MockClock) -> None:
    """Calls in progress finish on the old one, new ones use the other."""
    del autojump_clock
    gate = Gate()
    config = Configuration(max_connection_age=AGE)
    services = [Methods(stream=gate)]
    async with ChannelFor(services, codec=Raw(), server_config=config) as channel:
        async with anyio.create_task_group() as tasks:
            old, new = Call(channel), Call(channel)
            tasks.start_soon(old.run)
            await anyio.sleep(1.2 * AGE)
            tasks.start_soon(new.run)
            await anyio.wait_all_tasks_blocked()
            assert gate.running == 2
            gate.open()
        assert old.received == new.received == [b"begun", b"done"]


def toss_age(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    """Decide by how much the age of connections differs from what is configured."""

    def uniform(low: float, high: float) -> float:
        assert low <= factor <= high
        return factor

    monkeypatch.setattr("grpclib_anyio._connection.drain.uniform", uniform)
