"""Any interleaving of calls on one connection, against plain h2 at the other end.

Sizes of messages, windows (changed meanwhile, below zero too), padding, sizes of frames, resets by
either side and their moments are drawn; the messages that arrive are the ones that were sent, in
order, and when all is over both ends agree on what each may send.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import anyio
import trio
from grpclib.const import Cardinality, Status
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from grpclib_anyio.client import Channel
from grpclib_anyio.config import Configuration
from grpclib_anyio.connection import Connection
from tests.grpclib_anyio.peer import (
    BOTH,
    NOTHING,
    Call,
    Network,
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
            return self._send(stream_id, response[sent:])
        elif peer.ends(stream_id):
            peer.queue_trailers(stream_id)
        else:
            return False
        self._over.add(stream_id)
        return True

    def _send(self, stream_id: int, data: bytes) -> bool:
        pad = self._rng.choice((None, None, 0, 7, 255))
        overhead = 0 if pad is None else pad + 1
        h2 = self._peer.h2
        window = min(h2.local_flow_control_window(stream_id), h2.max_outbound_frame_size)
        size = min(len(data), window - overhead, self._rng.choice((1, 300, 5_000, 16_384, 16_384)))
        if size <= 0:
            return False
        h2.send_data(stream_id, data[:size], pad_length=pad)
        self._sent[stream_id] += size
        return True


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
    ours, theirs = connection._h2, peer.h2  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - as above
    assert ours.inbound_flow_control_window == theirs.outbound_flow_control_window
    assert theirs.inbound_flow_control_window == ours.outbound_flow_control_window
    owed = connection._window.owed  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - as above
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
