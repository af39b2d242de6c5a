"""Every wait of a call, at either side, and everything that can end it: one table for each side.

What happens is put on the wire, or done, with no other task running meanwhile. Then all tasks run
until they wait again, on a clock that stands still: by then the outcome is there.
"""

import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from grpclib.const import Cardinality, Status
from h2.connection import ConnectionState
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
)
from trio.testing import MockClock

from grpclib_anyio._base.config import Configuration
from grpclib_anyio._base.errors import TerminatedError
from grpclib_anyio._connection.connection import Connection
from grpclib_anyio.client import Channel
from grpclib_anyio.server import Server, Stream
from grpclib_anyio.testing import ChannelOver, memory_pair
from harness.peer import (
    BOTH,
    UNARY,
    Call,
    Methods,
    Network,
    PeerSettings,
    Raw,
    ScriptedPeer,
    channel_to,
)

TIMEOUT = 3
CLOSE_TIMEOUT = 5
#: After an attempt to connect that failed, before the next one.
LONGEST_PAUSE = 2
CONFIG = Configuration(close_timeout=CLOSE_TIMEOUT)
LARGE = b"x" * 200_000
NO_WINDOW = {SettingCodes.INITIAL_WINDOW_SIZE: 0}
LARGE_WINDOW: dict[SettingCodes | int, int] = {SettingCodes.INITIAL_WINDOW_SIZE: 2**20}
ONE_SLOT = {SettingCodes.MAX_CONCURRENT_STREAMS: 1}
NO_STREAM = 0
FIRST = 1
STREAM_STREAM = Cardinality.STREAM_STREAM

# -- what happens -------------------------------------------------------------------------------

#: The ways in which a peer breaks the protocol; in the tables they are one column.
BROKEN: dict[str, bytes | tuple[Frame, ...]] = {
    "garbage": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
    "oversized-frame": struct.pack(">I", 20_000)[1:] + b"\0\0\0\0\0\1",
    "invalid-hpack": (HeadersFrame(1, b"\xff" * 7, flags=["END_HEADERS"]),),
    "push-promise": (
        PushPromiseFrame(1, promised_stream_id=2, data=b"\x82", flags=["END_HEADERS"]),
    ),
    "continuation-flood": (HeadersFrame(1, b"x"), *[ContinuationFrame(1, b"x")] * 200),
    "data-on-an-idle-stream": (DataFrame(99, b"x"),),
    "data-on-stream-0": b"\0\0\1\0\0\0\0\0\0x",
    "window-of-two-gigabytes": (SettingsFrame(settings={SettingCodes.INITIAL_WINDOW_SIZE: 2**31}),),
}


def serialized(*frames: Frame) -> bytes:
    return b"".join(frame.serialize() for frame in frames)


def broken(how: str) -> bytes:
    what = BROKEN[how]
    return what if isinstance(what, bytes) else serialized(*what)


def does(peer: ScriptedPeer, event: str, stream_id: int) -> None:
    """Let the peer do something, with no other task running meanwhile."""
    stream = peer.stream
    match event:
        case "rst" if stream_id == NO_STREAM:
            stream.send_nowait(serialized(RstStreamFrame(FIRST, ErrorCodes.CANCEL)))
        case "rst":
            peer.h2.reset_stream(stream_id, ErrorCodes.INTERNAL_ERROR)
            peer.flush_nowait()
        case "goaway":
            stream.send_nowait(serialized(GoAwayFrame(last_stream_id=2**31 - 1)))
        case "goaway-below":
            stream.send_nowait(serialized(GoAwayFrame(last_stream_id=0)))
        case "goaway-code":
            code = ErrorCodes.INTERNAL_ERROR
            stream.send_nowait(serialized(GoAwayFrame(last_stream_id=99, error_code=code)))
        case "eof":
            stream.close()
        case "reset":
            stream.reset()
        case _:
            stream.send_nowait(broken(event))


def cells(table: str) -> Iterator[tuple[str, str, str]]:
    """Yield wait, event and outcome of each cell; one event for each way to break the protocol."""
    head, *rows = (line.split() for line in table.strip().splitlines())
    for wait, *outcomes in rows:
        for event, outcome in zip(head, outcomes, strict=True):
            for way in BROKEN if event == "broken" else [event]:
                yield wait, way, outcome


# -- the client ---------------------------------------------------------------------------------

#: What a call that waits is told. Three of the outcomes are no error:
#:
#: - cancelled: `Cancelled` and nothing else;
#: - goes-on: the call is not concerned, and completes on this connection;
#: - elsewhere: the call, which the peer has not begun, is made on another connection. (That is
#:   no longer possible for one whose request is too large to be kept.)
CLIENT = """
         cancel    deadline          rst      goaway    goaway-below goaway-code eof         reset       broken
connect  cancelled DEADLINE_EXCEEDED UNAVAILABLE UNAVAILABLE UNAVAILABLE UNAVAILABLE UNAVAILABLE UNAVAILABLE UNAVAILABLE
slot     cancelled DEADLINE_EXCEEDED goes-on  elsewhere elsewhere    elsewhere   elsewhere   elsewhere   elsewhere
write    cancelled DEADLINE_EXCEEDED INTERNAL goes-on   UNAVAILABLE  goes-on     UNAVAILABLE UNAVAILABLE INTERNAL
window   cancelled DEADLINE_EXCEEDED INTERNAL goes-on   UNAVAILABLE  goes-on     UNAVAILABLE UNAVAILABLE INTERNAL
headers  cancelled DEADLINE_EXCEEDED INTERNAL goes-on   elsewhere    goes-on     UNAVAILABLE UNAVAILABLE INTERNAL
message  cancelled DEADLINE_EXCEEDED INTERNAL goes-on   UNAVAILABLE  goes-on     UNAVAILABLE UNAVAILABLE INTERNAL
trailers cancelled DEADLINE_EXCEEDED INTERNAL goes-on   UNAVAILABLE  goes-on     UNAVAILABLE UNAVAILABLE INTERNAL
"""  # noqa: E501 - a table


class UnaryCall(Call):
    """Receives its one message, and waits for the status by leaving the block."""

    async def _call(self) -> None:
        async with self.open() as stream:
            await stream.send_message(b"request")
            self.received += [await stream.recv_message() or b""]


@dataclass(frozen=True)
class ClientWait:
    """How a call comes to wait."""

    settings: PeerSettings | None = None
    speaks: bool = True
    buffer_size: int = 65_536
    request: bytes = b"request"
    #: What the peer answers before the call waits; None for no headers.
    answer: tuple[bytes, ...] | None = None
    is_unary: bool = False
    is_sent: bool = True

    def network(self) -> Network:
        return Network(
            settings=self.settings, speaks=self.speaks, reads=False, buffer_size=self.buffer_size
        )

    def call(self, channel: Channel, timeout: float | None) -> Call:
        if self.is_unary:
            kind = Cardinality.UNARY_UNARY
            return UnaryCall(channel, path=UNARY, cardinality=kind, timeout=timeout)
        # The second message of those that are large waits for room in the outbox.
        messages = (self.request, b"more")
        return Call(channel, *messages, path=BOTH, cardinality=STREAM_STREAM, timeout=timeout)


CLIENT_WAITS = {
    "connect": ClientWait(speaks=False, is_sent=False),
    "slot": ClientWait(settings=ONE_SLOT, is_sent=False),
    "write": ClientWait(request=LARGE, buffer_size=5_000),
    "window": ClientWait(request=LARGE, settings=NO_WINDOW),
    "headers": ClientWait(),
    "message": ClientWait(answer=()),
    "trailers": ClientWait(answer=(b"one",), is_unary=True),
}


@pytest.mark.trio
@pytest.mark.parametrize(("wait", "event", "outcome"), list(cells(CLIENT)))
async def test_client(mock_clock: MockClock, wait: str, event: str, outcome: str) -> None:
    """One cell of the table."""
    how = CLIENT_WAITS[wait]
    network = how.network()
    async with channel_to(network, CONFIG) as channel, anyio.create_task_group() as tasks:
        holder = Call(channel)
        if wait == "slot":
            tasks.start_soon(holder.run)
            await anyio.wait_all_tasks_blocked()
        call = how.call(channel, TIMEOUT if event == "deadline" else None)
        tasks.start_soon(call.run)
        stream_id = await _come_to_wait(network, how)
        peer = network.peer
        assert not call.is_over
        if event == "cancel":
            call.scope.cancel()
        elif event == "deadline":
            mock_clock.jump(TIMEOUT)
        else:
            does(peer, event, FIRST if wait == "slot" else stream_id)
        await anyio.wait_all_tasks_blocked()
        await _check_client(network, call, peer, stream_id, outcome)
        holder.scope.cancel()
        mock_clock.jump(LONGEST_PAUSE)
        await _one_more(network, channel, peer, is_lost=event in {"eof", "reset"})


async def _come_to_wait(network: Network, how: ClientWait) -> int:
    """See to it that a call waits as it should; return the number of its stream."""
    await anyio.wait_all_tasks_blocked()
    if not how.is_sent:
        await network.peer.settle()
        return NO_STREAM
    peer, stream_id = await network.accept()
    if how.answer is not None:
        await peer.respond(stream_id, *how.answer)
    await anyio.wait_all_tasks_blocked()
    return stream_id


async def _check_client(
    network: Network, call: Call, peer: ScriptedPeer, stream_id: int, outcome: str
) -> None:
    if outcome == "goes-on":
        assert not call.is_over
        await _complete(call, peer, stream_id)
    elif outcome == "elsewhere":
        assert network.peer is not peer
        await _complete(call, network.peer, NO_STREAM)
    elif outcome == "cancelled":
        assert call.is_cancelled
        assert call.error is None
    else:
        assert call.status is Status[outcome]
    if outcome in {"cancelled", "DEADLINE_EXCEEDED"} and stream_id:
        await peer.settle()
        assert peer.resets(stream_id) == [ErrorCodes.CANCEL]


async def _complete(call: Call, peer: ScriptedPeer, stream_id: int) -> None:
    """Let a call that was not concerned run to its end; beside it may be another."""
    if stream_id == NO_STREAM:
        await _speak(peer)
    peer.reads = True
    peer.h2.update_settings(LARGE_WINDOW | {SettingCodes.MAX_CONCURRENT_STREAMS: 9})
    peer.h2.increment_flow_control_window(2**20)
    await peer.settle()
    open_streams = [n for n, stream in peer.h2.streams.items() if not stream.closed]
    for number in [stream_id] if stream_id else open_streams:
        assert peer.ends(number)
        if not peer.h2.streams[number].state_machine.headers_sent:
            peer.queue_headers(number)
        if not isinstance(call, UnaryCall):  # which has its one message already
            peer.queue_messages(number, b"last")
        peer.queue_trailers(number)
    await peer.settle()
    assert call.is_over
    assert call.error is None


async def _one_more(
    network: Network, channel: Channel, peer: ScriptedPeer, *, is_lost: bool
) -> None:
    """Whatever happened, the next call works."""
    if not is_lost:
        await peer.settle()
    network.settings, network.speaks = None, True
    call = Call(channel)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call.run)
        await anyio.wait_all_tasks_blocked()
        await _speak(network.peer)
        await network.peer.settle()
        stream_id = max(frame.stream_id for frame in network.peer.frames)
        await network.peer.respond(stream_id, b"one", end=True)
    assert call.received == [b"one"]


async def _speak(peer: ScriptedPeer) -> None:
    """Send SETTINGS if that has not been done."""
    if peer.h2.state_machine.state is ConnectionState.IDLE:
        await peer.start()


@pytest.mark.trio
@pytest.mark.parametrize(
    ("event", "seconds"),
    [
        ("cancel", CLOSE_TIMEOUT),
        ("deadline", CLOSE_TIMEOUT),
        ("rst", CLOSE_TIMEOUT),
        ("goaway", CLOSE_TIMEOUT),
        ("eof", 0),
        ("reset", 0),
        *((way, CLOSE_TIMEOUT) for way in BROKEN),
        (None, CLOSE_TIMEOUT),
    ],
)
async def test_client_that_waits_to_be_closed(
    autojump_clock: MockClock, event: str | None, seconds: float
) -> None:
    """The peer does not read, so what is queued cannot leave: this wait is bounded by itself."""
    del autojump_clock
    network = CLIENT_WAITS["write"].network()
    started = anyio.current_time()
    with anyio.CancelScope() as scope:
        async with channel_over(network) as channel, anyio.create_task_group() as tasks:
            tasks.start_soon(CLIENT_WAITS["write"].call(channel, None).run)
            peer, stream_id = await network.accept()
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
            if event == "deadline":
                scope.deadline = started + 1
            elif event == "cancel":
                scope.cancel()
            elif event is not None:
                does(peer, event, stream_id)
    assert anyio.current_time() == started + seconds
    assert network.streams[0].statistics().is_closed


def channel_over(network: Network) -> ChannelOver:
    return ChannelOver(network.connect, codec=Raw(), config=CONFIG)


# -- the server ---------------------------------------------------------------------------------

#: How a handler that waits is ended, and with it its call: by `Cancelled`, or by the error of the
#: stream (it is cancelled then, too, should it go on). A handler that is over cannot be ended, but
#: its call can.
SERVER = """
         cancel    deadline  rst      goaway  goaway-below goaway-code eof         reset       broken
message  cancelled cancelled INTERNAL goes-on goes-on      goes-on     UNAVAILABLE UNAVAILABLE INTERNAL
write    cancelled cancelled INTERNAL goes-on goes-on      goes-on     UNAVAILABLE UNAVAILABLE INTERNAL
window   cancelled cancelled INTERNAL goes-on goes-on      goes-on     UNAVAILABLE UNAVAILABLE INTERNAL
trailers over      over      over     goes-on goes-on      goes-on     over        over        over
"""  # noqa: E501 - a table


async def receives(stream: Stream[bytes, bytes]) -> None:
    await stream.recv_message()
    await stream.recv_message()


async def sends(stream: Stream[bytes, bytes]) -> None:
    for _ in range(3):
        await stream.send_message(LARGE)


async def sends_its_last(stream: Stream[bytes, bytes]) -> None:
    await stream.send_message(LARGE)


@dataclass(frozen=True)
class ServerWait:
    """How a handler comes to wait."""

    handler: Callable[[Stream[bytes, bytes]], Awaitable[None]]
    settings: PeerSettings = field(default_factory=dict[SettingCodes, int])


SERVER_WAITS = {
    "message": ServerWait(receives),
    "write": ServerWait(sends, {SettingCodes.INITIAL_WINDOW_SIZE: 2**20}),
    "window": ServerWait(sends, NO_WINDOW),
    # The handler has returned; its trailers wait behind data that cannot leave.
    "trailers": ServerWait(sends_its_last, NO_WINDOW),
}


class Served:
    """A server of one connection, its client, and what the handler saw."""

    def __init__(self, wait: ServerWait) -> None:
        near, far = memory_pair()
        self.near = near
        self.peer = ScriptedPeer(far, client_side=True, settings=wait.settings, reads=False)
        self.outcome = "goes-on"
        self.connections: list[Connection] = []
        self.tasks = anyio.create_task_group()
        self.scope = anyio.CancelScope()
        self._handler = wait.handler

    @property
    def is_busy(self) -> bool:
        """Whether a call is open."""
        return self.connections[0].has_calls

    async def handle(self, stream: Stream[bytes, bytes]) -> None:
        try:
            await self._handler(stream)
        except anyio.get_cancelled_exc_class():
            self.outcome = "cancelled"
            raise
        except TerminatedError as error:
            self.outcome = error.status.name
            raise
        self.outcome = "over"

    def connect(self, *args: Any, **kwargs: Any) -> Connection:
        self.connections.append(Connection(*args, **kwargs))
        return self.connections[-1]

    async def _serve(self, server: Server) -> None:
        with self.scope:
            await server.serve_connection(self.near)

    async def start(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("grpclib_anyio.server.Connection", self.connect)
        server = Server([Methods(both=self.handle)], codec=Raw(), config=CONFIG)
        self.tasks.start_soon(self._serve, server)
        self.peer.h2.initiate_connection()
        self.peer.h2.increment_flow_control_window(2**20)
        await self.peer.flush()


@asynccontextmanager
async def serving(wait: ServerWait, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Served]:
    """Serve one connection; after the test nothing of it is left."""
    one = Served(wait)
    async with one.tasks:
        await one.start(monkeypatch)
        yield one
        one.peer.stream.close()
    assert one.near.statistics().is_closed
    assert one.connections[0].statistics().streams == 0


@pytest.mark.trio
@pytest.mark.parametrize(("wait", "event", "outcome"), list(cells(SERVER)))
async def test_server(
    mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch, wait: str, event: str, outcome: str
) -> None:
    """One cell of the table."""
    async with serving(SERVER_WAITS[wait], monkeypatch) as one:
        peer = one.peer
        timeout = (("grpc-timeout", f"{TIMEOUT}S"),) if event == "deadline" else ()
        stream_id = await peer.request(BOTH, b"request", end=False, extra=timeout)
        await anyio.wait_all_tasks_blocked()
        assert one.is_busy
        if event == "cancel":
            one.scope.cancel()
        elif event == "deadline":
            mock_clock.jump(TIMEOUT)
        else:
            does(peer, event, stream_id)
        await anyio.wait_all_tasks_blocked()
        if outcome == "goes-on":
            await _complete_at_server(one, stream_id)
        else:
            assert one.outcome == outcome
            assert not one.is_busy


async def _complete_at_server(one: Served, stream_id: int) -> None:
    """Let a handler that was not concerned run to its end, and see its status."""
    peer = one.peer
    assert one.is_busy
    peer.reads = True
    peer.h2.update_settings(LARGE_WINDOW)
    peer.h2.increment_flow_control_window(2**20)
    peer.h2.end_stream(stream_id)
    await peer.settle()
    assert one.outcome == "over"
    assert peer.ends(stream_id)
    assert not one.is_busy


@pytest.mark.trio
@pytest.mark.parametrize(
    ("event", "seconds"),
    [
        ("rst", CLOSE_TIMEOUT),
        ("goaway", CLOSE_TIMEOUT),
        ("eof", 0),
        ("reset", 0),
        *((way, CLOSE_TIMEOUT) for way in BROKEN),
        (None, CLOSE_TIMEOUT),
    ],
)
async def test_server_that_waits_to_be_closed(
    autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
    event: str | None,
    seconds: float,
) -> None:
    """The server is cancelled while a client does not read."""
    del autojump_clock
    one = Served(SERVER_WAITS["write"])
    started = anyio.current_time()
    async with one.tasks:
        await one.start(monkeypatch)
        stream_id = await one.peer.request(BOTH, b"request", end=False)
        await anyio.wait_all_tasks_blocked()
        one.scope.cancel()
        if event is not None:
            does(one.peer, event, stream_id)
    assert anyio.current_time() == started + seconds
    assert one.outcome == "cancelled"
    assert one.near.statistics().is_closed
    assert one.connections[0].statistics().streams == 0
