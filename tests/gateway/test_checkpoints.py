"""A request that is ended at each of its checkpoints: by its browser, its server, its model.

See the transport's `harness/every_checkpoint.py`. The relay alone, and the application at its ASGI
boundary. After each checkpoint one more request is made, on the same connection to the model unless
that is what was lost.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import pytest
import trio
from grpclib.const import Status
from structlog.testing import capture_logs

from grpclib_anyio._connection.connection import ConnectionStatistics
from grpclib_anyio.client import Channel
from grpclib_anyio.config import Configuration
from grpclib_anyio.errors import TerminatedError
from grpclib_anyio.testing import ChannelFor
from harness.clock import jump, on_mock_clock
from harness.every_checkpoint import AtEachCheckpoint, Checkpoint, settled
from harness.leaks.registry import CONNECTIONS
from harness.leaks.tasks import all_tasks
from relay_gateway.relay.outcome import Cause
from relay_gateway.relay.relay import Limits, Relay
from relay_gateway.relay.sse import TextEncoder
from relay_proto.ai import GenerateRequest
from tests.support.asgi import Client, Exchange
from tests.support.event_stream import DONE, parse, texts
from tests.support.gateways import ASK, gateway_to
from tests.support.scripts import DEADLINE, PHASES, WHOLE, Script, causes_in

pytestmark = pytest.mark.trio(run=on_mock_clock)

HI = GenerateRequest(prompt="hi", session_id="s")
IDLE = ConnectionStatistics(streams=0, waiting_for_slot=0, unsent_bytes=0)
LIMITS = Limits(heartbeat=0.75, deadline=DEADLINE, channel_size=2)
#: Little enough to fill everything between the model and the browser.
SMALL = Configuration(http2_stream_window_size=300, max_outbox_size=300, initial_backoff=0)


def connection_is_lost(script: Script) -> None:
    for stream in script.streams:
        stream.reset()


def model_resets(_: Script) -> None:
    for connection in CONNECTIONS.on_the_servers_side:
        for stream in connection.streams:
            stream.abort(TerminatedError(Status.CANCELLED, "reset"))


def deadline_passes(_: Script) -> None:
    jump(DEADLINE)


#: What may happen on the model's side, and the cause that is recorded, unless all was over.
MODEL_ENDS: dict[Callable[[Script], None], Cause] = {
    connection_is_lost: Cause.MODEL_UNAVAILABLE,
    model_resets: Cause.MODEL_UNAVAILABLE,
    deadline_passes: Cause.DEADLINE,
}


def check_cause(cause: Cause, body: bytes, end: Cause) -> None:
    """See that the cause is the end's, or that of an answer which was over before."""
    assert cause in {end, Cause.DONE, Cause.DEADLINE}
    last = parse(body)[-1:]
    if cause is Cause.DONE:
        assert last == [DONE]
    if last == [DONE]:
        assert cause in {Cause.DONE, Cause.CLIENT_DISCONNECT, Cause.SHUTDOWN}


# -- the relay ------------------------------------------------------------------------------------


class Reading:
    """A body that is read to its end, from a relay."""

    def __init__(self, channel: Channel, pause: float = 0.0) -> None:
        self.scope = trio.CancelScope()
        self.body = b""
        self._context = Relay(channel, HI, TextEncoder(), LIMITS)
        self._pause = pause

    async def run(self) -> Cause:
        """Read, and give the cause that is to be recorded."""
        with self.scope:
            async with self._context as relay:
                self.relay = relay
                await trio.sleep(self._pause)
                with suppress(trio.EndOfChannel):
                    while True:
                        self.body += await relay.next_chunk()
        return self.relay.cause(otherwise=Cause.CLIENT_DISCONNECT)


@asynccontextmanager
async def channel_to(script: Script) -> AsyncGenerator[Channel]:
    """Connect to the model, once."""
    async with ChannelFor(
        [script.model], config=SMALL, server_config=SMALL, wrap=script.wire.wrap
    ) as channel:
        await Reading(channel).run()
        await settled()
        yield channel


async def _relay_is_ended(
    script: Script,
    channel: Channel,
    end: Callable[[Reading], None],
    cause: Cause,
    checkpoint: Checkpoint,
) -> None:
    tasks, connections = len(all_tasks()), len(script.wire.connections)
    script.begin()
    reading = Reading(channel, script.phase.pause)
    with checkpoint.watched(lambda: end(reading)):
        recorded = await reading.run()
    await settled()
    script.check()
    script.check_body(reading.body)
    check_cause(recorded, reading.body, cause)
    assert channel.statistics() == IDLE
    again = Reading(channel)
    assert await again.run() is Cause.DONE
    assert texts(again.body) == WHOLE
    await settled()
    assert len(all_tasks()) == tasks
    assert cause is Cause.MODEL_UNAVAILABLE or len(script.wire.connections) == connections


@pytest.mark.usefixtures("no_garbage")
@pytest.mark.parametrize("phase", PHASES)
async def test_relay_is_cancelled(phase: str, at_each_checkpoint: AtEachCheckpoint) -> None:
    script = Script(PHASES[phase])
    async with channel_to(script) as channel:
        scenario = partial(
            _relay_is_ended, script, channel, lambda it: it.scope.cancel(), Cause.CLIENT_DISCONNECT
        )
        await at_each_checkpoint("relay cancelled", scenario, seeds=PHASES[phase].seeds)


@pytest.mark.usefixtures("no_garbage")
@pytest.mark.parametrize("end", MODEL_ENDS)
@pytest.mark.parametrize("phase", ["mid-stream", "backpressured"])
async def test_model_of_a_relay_fails(
    phase: str, end: Callable[[Script], None], at_each_checkpoint: AtEachCheckpoint
) -> None:
    script = Script(PHASES[phase])
    async with channel_to(script) as channel:
        scenario = partial(_relay_is_ended, script, channel, lambda _: end(script), MODEL_ENDS[end])
        await at_each_checkpoint("relay's model failed", scenario)


# -- the application, at its ASGI boundary --------------------------------------------------------


class Asked:
    """A request to the application, called as a server calls it."""

    def __init__(self, client: Client) -> None:
        self.exchange = Exchange(ASK)
        self.scope = trio.CancelScope()
        self.causes: list[Cause] = []
        self._client = client

    async def run(self) -> None:
        with capture_logs() as logs, self.scope:
            await self._client.run(self.exchange)
        self.causes = causes_in(logs)


def browser_leaves(asked: Asked, _: Script) -> None:
    asked.exchange.leave()


def server_stops(asked: Asked, _: Script) -> None:
    asked.scope.cancel()


def on_the_models_side(end: Callable[[Script], None]) -> Callable[[Any, Script], None]:
    return lambda _, script: end(script)


End = tuple[Callable[[Any, Script], None], Cause]
ENDS: dict[str, End] = {
    "browser leaves": (browser_leaves, Cause.CLIENT_DISCONNECT),
    "server stops": (server_stops, Cause.SHUTDOWN),
    **{end.__name__: (on_the_models_side(end), cause) for end, cause in MODEL_ENDS.items()},
}


async def _request_is_ended(script: Script, client: Client, end: End, point: Checkpoint) -> None:
    tasks = len(all_tasks())
    script.begin()
    asked = Asked(client)
    with point.watched(lambda: end[0](asked, script)):
        await asked.run()
    await settled()
    script.check()
    script.check_body(asked.exchange.body)
    # Cancelled before it has been read, it is no request for an answer yet.
    assert len(asked.causes) == 1 or (not asked.causes and not asked.exchange.status)
    for cause in asked.causes:
        check_cause(cause, asked.exchange.body, end[1])
    assert texts((await client.send(ASK)).body) == WHOLE
    await settled()
    assert len(all_tasks()) == tasks


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("phase", ["thinking", "mid-stream", "past the deadline", "done"])
async def test_request_is_ended(phase: str, end: str, at_each_checkpoint: AtEachCheckpoint) -> None:
    script = Script(PHASES[phase])
    settings: dict[str, Any] = {
        "deadline_seconds": DEADLINE,
        "heartbeat_seconds": LIMITS.heartbeat,
    }
    async with gateway_to(script.model, script.wire, **settings) as client:
        await client.send(ASK)
        await settled()
        scenario = partial(_request_is_ended, script, client, ENDS[end])
        await at_each_checkpoint("request ended, at the ASGI boundary", scenario)
