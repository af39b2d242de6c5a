"""Any interleaving of calls on one connection, against plain h2 at the other end.

For a client and for a server. Sizes of messages, windows (changed meanwhile, below zero too),
padding, sizes of frames, what is read and how fast, resets by either side and their moments are
drawn; the messages that arrive are the ones that were sent, in order, and when all is over both
ends agree on what each may send.
"""

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest.mock import patch

import anyio
import trio
from grpclib.const import Cardinality, Status
from h2.errors import ErrorCodes
from h2.events import DataReceived
from h2.settings import SettingCodes
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from grpclib_anyio._base.config import Configuration
from grpclib_anyio._connection.connection import Connection
from grpclib_anyio.client import Channel
from grpclib_anyio.server import Server, Stream
from grpclib_anyio.testing import MemoryStream, memory_pair
from harness.peer import (
    BOTH,
    NOTHING,
    Call,
    Methods,
    Network,
    Raw,
    ScriptedPeer,
    channel_to,
    framed,
)

WINDOW = 65_535
CONFIG = Configuration(http2_connection_window_size=WINDOW, http2_stream_window_size=WINDOW)
SIZES = st.one_of(st.integers(0, 100), st.sampled_from((WINDOW, 16_384, 200 * 1024)))
MESSAGES = st.lists(SIZES, max_size=3).map(tuple)


@dataclass(frozen=True)
class Plan:
    """One call: what either side sends, and when one of them gives up, if it does."""

    request: tuple[int, ...]
    response: tuple[int, ...]
    #: Bytes of the response after which the peer resets the stream.
    reset_after: int | None
    #: Turns of the peer after which the call is cancelled.
    cancelled_after: int | None


PLANS = st.builds(
    Plan,
    MESSAGES,
    MESSAGES,
    st.one_of(st.none(), st.none(), st.integers(0, 70_000)),
    st.one_of(st.none(), st.none(), st.integers(0, 12)),
)
#: The peer's SETTINGS_INITIAL_WINDOW_SIZE, one after the other; the last is wide enough to end.
WINDOWS = st.lists(st.sampled_from((0, 1, 100, 20_000, WINDOW, 2**20)), max_size=4)


def messages(sizes: Iterable[int]) -> list[bytes]:
    """Return messages that can be told apart."""
    return [bytes([number + 1]) * size for number, size in enumerate(sizes)]


class Responder:
    """The peer: answers each request as planned, a frame of some stream at a time."""

    def __init__(self, peer: ScriptedPeer, plans: list[Plan], rng: random.Random) -> None:
        self.plans = {2 * number + 1: plan for number, plan in enumerate(plans)}
        self._peer = peer
        self._rng = rng
        self._sent: dict[int, int] = {}
        self._over: set[int] = set()

    def turn(self) -> bool:
        """Send what one turn allows; whether anything was sent."""
        streams = [n for n in self.plans if n in self._peer.h2.streams and n not in self._over]
        self._rng.shuffle(streams)
        return sum(map(self._serve, streams)) > 0

    def _serve(self, stream_id: int) -> bool:
        peer, plan = self._peer, self.plans[stream_id]
        if peer.h2.streams[stream_id].closed:
            self._over.add(stream_id)
            return False
        if stream_id not in self._sent:
            peer.queue_headers(stream_id)
            self._sent[stream_id] = 0
        sent = self._sent[stream_id]
        if plan.reset_after is not None and sent >= plan.reset_after:
            peer.h2.reset_stream(stream_id, ErrorCodes.INTERNAL_ERROR)
        elif sent < len(response := framed(*messages(plan.response))):
            size = send_some(peer, stream_id, response[sent:], self._rng)
            self._sent[stream_id] += size
            return size > 0
        elif peer.ends(stream_id):
            peer.queue_trailers(stream_id)
        else:
            return False
        self._over.add(stream_id)
        return True


def send_some(peer: ScriptedPeer, stream_id: int, data: bytes, rng: random.Random) -> int:
    """Send what one frame and the windows hold of the bytes; return how many that is."""
    pad = rng.choice((None, None, 0, 7, 255))
    overhead = 0 if pad is None else pad + 1
    window = min(peer.h2.local_flow_control_window(stream_id), peer.h2.max_outbound_frame_size)
    size = min(len(data), window - overhead, rng.choice((1, 300, 5_000, 16_384, 16_384)))
    if size <= 0:
        return 0
    peer.h2.send_data(stream_id, data[:size], pad_length=pad)
    return size


async def converse(plans: list[Plan], windows: list[int], seed: int) -> None:
    """Hold the calls, all at once, and compare both ends."""
    network = Network(settings={SettingCodes.INITIAL_WINDOW_SIZE: WINDOW})
    rng = random.Random(seed)  # noqa: S311 - order and sizes
    async with channel_to(network, CONFIG) as channel, anyio.create_task_group() as tasks:
        calls = [planned(channel, plan) for plan in plans]
        for call in calls:
            tasks.start_soon(call.run)
            await anyio.wait_all_tasks_blocked()
        peer = network.peer
        await drive(Responder(peer, plans, rng), peer, calls, windows)
        await peer.settle()
        for number, (call, plan) in enumerate(zip(calls, plans, strict=True)):
            check(call, plan, peer.data(2 * number + 1))
        assert channel.statistics() == NOTHING
        (connection,) = channel._connector.connections  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - to compare both ends
        check_windows(connection, peer)


def planned(channel: Channel, plan: Plan) -> Call:
    call = Call(channel, path=BOTH, cardinality=Cardinality.STREAM_STREAM)
    call._messages = tuple(messages(plan.request)) or (b"",)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - a message of no bytes
    return call


async def drive(
    responder: Responder, peer: ScriptedPeer, calls: list[Call], windows: list[int]
) -> None:
    """Take turns until every call is over."""
    changes = [*windows, 2**20]
    for number in range(10_000):
        await peer.settle()
        for call, plan in zip(calls, responder.plans.values(), strict=True):
            if plan.cancelled_after == number:
                call.scope.cancel()
        if all(call.is_over for call in calls):
            return
        if not responder.turn() or number % 3 == 2:
            size = changes.pop(0) if len(changes) > 1 else changes[0]
            peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: size})
    raise AssertionError("it does not end")


def check(call: Call, plan: Plan, requested: bytes) -> None:
    expected = messages(plan.response)
    request = framed(*(messages(plan.request) or [b""]))
    assert request.startswith(requested)
    assert call.received == expected[: len(call.received)]
    if call.error is None and not call.is_cancelled:
        assert call.received == expected
        assert requested == request
    elif call.error is not None:
        assert call.status is Status.INTERNAL
        assert plan.reset_after is not None
    else:
        assert plan.cancelled_after is not None


def check_windows(connection: Connection, peer: ScriptedPeer) -> None:
    """Compare each end's account of the connection's two windows with the other's."""
    ours, theirs = connection._h2, peer.h2  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - to compare both ends
    assert ours.inbound_flow_control_window == theirs.outbound_flow_control_window
    assert theirs.inbound_flow_control_window == ours.outbound_flow_control_window
    owed = connection._receiver.window.owed  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - to compare both ends
    assert ours.inbound_flow_control_window + owed == WINDOW


@settings(
    max_examples=300,
    derandomize=True,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.lists(PLANS, min_size=1, max_size=6), WINDOWS, st.integers(0, 2**16))
def test_any_interleaving_gives_the_same_messages(
    plans: list[Plan], windows: list[int], seed: int
) -> None:
    """Up to six calls at once."""
    trio.run(partial(converse, plans, windows, seed), clock=MockClock(autojump_threshold=0))


# -- the server's side --------------------------------------------------------------------------


@dataclass(frozen=True)
class Visit:
    """One call of a client, what its handler does, and when the client gives up, if it does."""

    request: tuple[int, ...]
    #: None for an echo.
    response: tuple[int, ...] | None
    #: The handler reads the request before it answers; otherwise, but for an echo, it never does.
    is_read: bool
    #: Turns of the client before the call.
    begins_after: int
    #: Bytes of the request after which the client resets the stream.
    reset_after: int | None
    #: Turns of the client, from the call's first, after which it does.
    cancelled_after: int | None
    #: The handler goes on until then.
    lingers: bool

    @property
    def answer(self) -> list[bytes]:
        return messages(self.request if self.response is None else self.response)

    @property
    def reads(self) -> bool:
        return self.response is None or self.is_read

    @property
    def arriving(self) -> list[bytes]:
        """What the handler reads if nothing ends it."""
        return messages(self.request) if self.reads else []


VISITS = st.builds(
    Visit,
    MESSAGES,
    st.one_of(st.none(), MESSAGES),
    st.sampled_from((True, True, False)),
    st.integers(0, 6),
    st.one_of(st.none(), st.none(), st.integers(0, 70_000)),
    st.one_of(st.none(), st.none(), st.integers(0, 30)),
    st.booleans(),
)
#: Made when all is over: the connection still serves.
LAST = Visit((5, WINDOW), None, True, 0, None, None, False)  # noqa: FBT003 - in the order above


class Handling:
    """The handler of every call: does as planned, and notes what it gets."""

    def __init__(self, visits: list[Visit]) -> None:
        self.received: dict[int, list[bytes]] = {}
        self.cleaned_up: list[int] = []
        self.visits = visits

    async def __call__(self, stream: Stream[bytes, bytes]) -> None:
        assert stream.metadata is not None
        number = int(str(stream.metadata["visit"]))
        self.received[number] = []
        try:
            await self._answer(stream, self.visits[number], self.received[number])
        finally:
            self.cleaned_up.append(number)

    async def _answer(
        self, stream: Stream[bytes, bytes], visit: Visit, received: list[bytes]
    ) -> None:
        if visit.reads:
            async for message in stream:
                received.append(message)
                if visit.response is None:
                    await stream.send_message(message)
        if visit.response is not None:
            for message in visit.answer:
                await stream.send_message(message)
        if visit.cancelled_after is not None and visit.lingers:
            await anyio.sleep_forever()


class Visitor(ScriptedPeer):
    """The client: sends and reads as planned, a bit of some stream at a time."""

    def __init__(self, stream: MemoryStream, visits: list[Visit], rng: random.Random) -> None:
        super().__init__(
            stream,
            client_side=True,
            settings={SettingCodes.INITIAL_WINDOW_SIZE: WINDOW},
            reads=False,
        )
        self.ids: dict[int, int] = {}
        #: Streams that it has reset.
        self.given_up: set[int] = set()
        self.visits = visits
        self._rng = rng
        self._ended: set[int] = set()
        self._sent: Counter[int] = Counter()
        #: Bytes that have arrived and for which no window has been opened yet.
        self._unread: Counter[int] = Counter()

    def _take(self, data: bytes) -> None:
        super()._take(data)
        for event in self._events:
            if isinstance(event, DataReceived):
                self._unread[event.stream_id] += event.flow_controlled_length
        self._events.clear()

    def _is_open(self, stream_id: int) -> bool:
        stream = self.h2.streams.get(stream_id)
        return stream is not None and not stream.closed

    @property
    def is_over(self) -> bool:
        return len(self.ids) == len(self.visits) and not any(map(self._is_open, self.ids.values()))

    async def turn(self, number: int) -> bool:
        """Do what one turn allows; whether it was anything."""
        visits = list(enumerate(self.visits))
        self._rng.shuffle(visits)
        done = [await self._serve(which, visit, number) for which, visit in visits]
        return sum(done) + sum(map(self._read, list(self._unread))) > 0

    async def _serve(self, which: int, visit: Visit, turn: int) -> bool:
        if which not in self.ids:
            if visit.begins_after > turn:
                return False
            extra = (("visit", str(which)),)
            self.ids[which] = await self.request(BOTH, end=False, extra=extra)
        stream_id = self.ids[which]
        return self._is_open(stream_id) and self._go_on(stream_id, visit, turn)

    def _go_on(self, stream_id: int, visit: Visit, turn: int) -> bool:
        sent, request = self._sent[stream_id], framed(*messages(visit.request))
        is_enough = visit.reset_after is not None and sent >= visit.reset_after
        is_late = visit.cancelled_after is not None and turn >= (
            visit.begins_after + visit.cancelled_after
        )
        if is_enough or is_late:
            self.h2.reset_stream(stream_id, ErrorCodes.CANCEL)
            self.given_up.add(stream_id)
            return True
        if sent < len(request):
            size = send_some(self, stream_id, request[sent:], self._rng)
            self._sent[stream_id] += size
            return size > 0
        if stream_id in self._ended:
            return False
        self.h2.end_stream(stream_id)
        self._ended.add(stream_id)
        return True

    def _read(self, stream_id: int) -> bool:
        portion = self._rng.choice((0, 300, 5_000, 2 * WINDOW, 2 * WINDOW))
        unread = self._unread[stream_id]
        if size := min(unread, portion):
            self._unread[stream_id] -= size
            self.h2.increment_flow_control_window(size)
            if self._is_open(stream_id):
                self.h2.increment_flow_control_window(size, stream_id)
        return unread > 0


async def visit_all(visits: list[Visit], windows: list[int], seed: int) -> None:
    """Make the calls on one connection, then one more, and compare both ends."""
    handling = Handling([*visits, LAST])
    near, far = memory_pair()
    visitor = Visitor(far, visits, random.Random(seed))  # noqa: S311 - order and sizes
    served: list[Connection] = []

    def connect(*args: Any, **kwargs: Any) -> Connection:
        served.append(Connection(*args, **kwargs))
        return served[-1]

    async with anyio.create_task_group() as tasks:
        server = Server([Methods(both=handling)], codec=Raw(), config=CONFIG)
        with patch("grpclib_anyio.server.Connection", connect):
            tasks.start_soon(server.serve_connection, near)
            await visitor.start()
        await take_turns(visitor, windows)
        visitor.visits = handling.visits
        await take_turns(visitor, [])
        (connection,) = served
        assert connection.is_open
        assert connection.statistics() == NOTHING
        assert sorted(handling.cleaned_up) == sorted(handling.received)
        check_windows(connection, visitor)
        for which, visit in enumerate(handling.visits):
            check_visit(visit, visitor, visitor.ids[which], handling.received.get(which))
        far.close()
    assert near.statistics().is_closed


async def take_turns(visitor: Visitor, windows: list[int]) -> None:
    """Let the client do things, and change its window when it is stuck and now and then."""
    changes = [*windows, 2**20]
    for number in range(10_000):
        await visitor.settle()
        is_idle = not await visitor.turn(number)
        if is_idle and visitor.is_over:
            return
        if changes and (is_idle or number % 5 == 4):
            visitor.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: changes.pop(0)})
    raise AssertionError("it does not end")


def check_visit(
    visit: Visit, visitor: Visitor, stream_id: int, received: list[bytes] | None
) -> None:
    response = framed(*visit.answer)
    assert response.startswith(visitor.data(stream_id))
    # None: it was reset before its handler began.
    assert visit.arriving[: len(received or [])] == (received or [])
    # A client need not send what no handler reads; this may cross its own reset.
    assert visitor.resets(stream_id) in ([], [] if visit.reads else [ErrorCodes.NO_ERROR])
    if stream_id in visitor.given_up:
        return
    assert received == visit.arriving
    assert visitor.data(stream_id) == response
    assert visitor.ends(stream_id)


@settings(
    max_examples=200,
    derandomize=True,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.lists(VISITS, min_size=1, max_size=6), WINDOWS, st.integers(0, 2**16))
def test_any_interleaving_is_served_with_the_same_messages(
    visits: list[Visit], windows: list[int], seed: int
) -> None:
    """Up to six calls at once, of a client that reads as it likes."""
    trio.run(partial(visit_all, visits, windows, seed), clock=MockClock(autojump_threshold=0))
