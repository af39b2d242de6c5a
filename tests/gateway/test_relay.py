"""One request, with a real gRPC connection over memory behind it and exact times throughout."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Self, cast

import pytest
import trio
from anyio.abc import ByteStream
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from h2.errors import ErrorCodes
from structlog.testing import capture_logs
from trio.testing import wait_all_tasks_blocked

from grpclib_anyio._connection.connection import ConnectionStatistics
from grpclib_anyio.client import Channel
from grpclib_anyio.config import Configuration
from grpclib_anyio.testing import ChannelFor, ChannelOver, MemoryStream
from harness.clock import on_mock_clock
from relay_gateway.extensions import ChunkWriter
from relay_gateway.relay.encoder import Encoder
from relay_gateway.relay.outcome import Cause
from relay_gateway.relay.relay import GENERATE, Limits, Relay
from relay_gateway.relay.sse import DONE as DONE_EVENT
from relay_gateway.relay.sse import PING, JsonEncoder, TextEncoder
from relay_proto.ai import GenerateRequest
from tests.support.event_stream import DONE, comments, parse, texts
from tests.support.models import SECRET, Model, Step, Wire, fails

pytestmark = pytest.mark.trio(run=on_mock_clock)

HI = GenerateRequest(prompt="hi", session_id="s")
LIMITS = Limits(heartbeat=15.0, deadline=180.0, channel_size=8)
SHORT = replace(LIMITS, deadline=2.0)
IDLE = ConnectionStatistics(streams=0, waiting_for_slot=0, unsent_bytes=0)
FOREVER = float("inf")

#: HTTP/2's default window, which the channel keeps to, and the bounds of both outboxes.
WINDOW = 65_535
OUTBOX = 65_536
KIB = 1024


@dataclass
class Chunk:
    """What one ``next_chunk`` gave, and when."""

    time: float
    data: bytes


def relay_of(
    model: Channel,
    limits: Limits = LIMITS,
    encoder: Encoder | None = None,
    writer: "Writer | None" = None,
) -> "Opened":
    return Opened(model, limits, encoder or TextEncoder(), writer)


class Writer(ChunkWriter):
    """Writes to a browser that takes what it is told to at once, and the rest when it is asked."""

    def __init__(self) -> None:
        self.is_full = False
        #: What was written, and when.
        self.chunks: list[Chunk] = []
        self.waited = 0

    def write_nowait(self, data: bytes) -> bool:
        assert data
        self.chunks.append(Chunk(trio.current_time(), data))
        return not self.is_full

    async def write(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.waited += self.is_full
        self.is_full = False
        self.chunks.append(Chunk(trio.current_time(), data))

    @property
    def body(self) -> bytes:
        return b"".join(chunk.data for chunk in self.chunks)


class Opened:
    """A relay, read to its end or not."""

    def __init__(
        self, model: Channel, limits: Limits, encoder: Encoder, writer: Writer | None
    ) -> None:
        self._context = Relay(model, HI, encoder, limits)
        self._context.writer = writer
        self.chunks: list[Chunk] = []

    async def __aenter__(self) -> Self:
        self.relay: Relay = await self._context.__aenter__()
        return self

    async def __aexit__(self, *exception: object) -> None:
        details = cast("tuple[None, None, None]", exception)
        await self._context.__aexit__(*details)  # noqa: ASYNC102 - passes on what is under test

    async def read(self) -> bytes:
        """Take one chunk."""
        chunk = Chunk(trio.current_time(), b"")
        chunk.data = await self.relay.next_chunk()
        chunk.time = trio.current_time()
        self.chunks.append(chunk)
        return chunk.data

    async def read_all(self) -> bytes:
        """Take chunks until there are no more, and give the body."""
        try:
            while True:
                await self.read()
        except trio.EndOfChannel:
            return self.body

    @property
    def body(self) -> bytes:
        return b"".join(chunk.data for chunk in self.chunks)

    @property
    def pings(self) -> list[float]:
        """When each ping came."""
        return [chunk.time for chunk in self.chunks for _ in comments(chunk.data)]

    @property
    def cause(self) -> Cause:
        return self.relay.cause(otherwise=Cause.CLIENT_DISCONNECT)


async def ask(model: Channel, limits: Limits = LIMITS) -> bytes:
    """Read a whole answer."""
    async with relay_of(model, limits) as opened:
        return await opened.read_all()


def error_in(body: bytes) -> str:
    """Give the message of a body that ends with an error and holds no other end."""
    *events, last = parse(body)
    assert last.type == "error"
    assert {event.type for event in events} <= {"message"}
    return last.data


def running_tasks() -> set[str]:
    """Name all tasks of this run but for the server's, whose connection stays."""
    root = trio.lowlevel.current_root_task()
    assert root is not None
    tasks, names = [root], set[str]()
    while tasks:
        task = tasks.pop()
        tasks += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
        names.add(f"{task.name} {id(task)}")
    return names


async def tasks_when_idle(model: Channel) -> set[str]:
    """Make the connection, and name the tasks that are there without any request."""
    await ask(model)
    await wait_all_tasks_blocked()
    return running_tasks()


@asynccontextmanager
async def channel_to(
    model: Model, wire: Wire | None = None, server_config: Configuration | None = None
) -> AsyncGenerator[Channel]:
    """Serve a model, and check that no call is left on the channel to it."""
    wrap: Callable[[ByteStream], ByteStream] | None = wire.wrap if wire else None
    async with ChannelFor([model], server_config=server_config, wrap=wrap) as channel:
        yield channel
        await wait_all_tasks_blocked()
        assert channel.statistics() == IDLE


# -- what arrives ---------------------------------------------------------------------------------


async def test_route_is_that_of_the_generated_service() -> None:
    await trio.lowlevel.checkpoint()
    assert GENERATE in Model(()).__mapping__()


async def test_tokens_arrive_one_at_a_time_as_they_come() -> None:
    model = Model([0.5, "one ", 0.5, "two ", 0.5])
    async with channel_to(model) as channel, relay_of(channel) as opened:
        start = trio.current_time()
        body = await opened.read_all()
        relay = opened.relay
    assert texts(body) == ["one ", "two "]
    assert [chunk.time - start for chunk in opened.chunks] == pytest.approx([0.5, 1.0, 1.5])
    assert relay.first_token == pytest.approx(start + 0.5)
    assert (relay.tokens, opened.cause, model.reached_end) == (2, Cause.DONE, 1)


async def test_model_is_asked_what_the_browser_asked() -> None:
    model = Model(["x"])
    async with channel_to(model) as channel:
        await ask(channel)
    assert model.requests == [HI]


async def test_empty_answer_is_done() -> None:
    async with channel_to(Model([])) as channel:
        assert await ask(channel) == DONE_EVENT


async def test_tokens_that_wait_come_as_one_chunk() -> None:
    async with channel_to(Model("abcdef")) as channel, relay_of(channel) as opened:
        await wait_all_tasks_blocked()
        await opened.read_all()
    assert len(opened.chunks) == 1
    assert texts(opened.body) == list("abcdef")


async def test_chunk_holds_no_more_than_the_channel() -> None:
    """Three here, and what goes in while the first is taken out: one at the door, one behind it."""
    limits = replace(LIMITS, channel_size=3)
    async with channel_to(Model("abcdefgh")) as channel, relay_of(channel, limits) as opened:
        await wait_all_tasks_blocked()
        first = await opened.read()
        await opened.read_all()
    assert 3 <= len(parse(first)) <= 5
    assert texts(opened.body) == list("abcdefgh")


async def test_nothing_follows_the_last_event() -> None:
    """Not even a ping of the same moment, whichever of the two tasks runs first."""
    limits = Limits(heartbeat=0.5, deadline=60.0)
    async with channel_to(Model([0.5])) as channel:
        for _ in range(50):
            body = await ask(channel, limits)
            assert body in {DONE_EVENT, PING + DONE_EVENT}


async def test_after_the_last_chunk_there_is_none() -> None:
    """And that is known at once: no heartbeat is waited for."""
    async with channel_to(Model(["x"])) as channel, relay_of(channel) as opened:
        start = trio.current_time()
        await opened.read_all()
        assert trio.current_time() == start
        for _ in range(2):
            with pytest.raises(trio.EndOfChannel):
                await opened.relay.next_chunk()


# -- past the channel -----------------------------------------------------------------------------


async def write_all(opened: Opened, writer: Writer) -> None:
    """Do what the body does."""
    try:
        while True:
            await writer.write(await opened.read())
    except trio.EndOfChannel:
        pass


async def test_token_that_comes_alone_is_written_at_once() -> None:
    model, writer = Model([0.5, "one ", 0.5, "two ", 0.5]), Writer()
    async with channel_to(model) as channel, relay_of(channel, writer=writer) as opened:
        start = trio.current_time()
        await write_all(opened, writer)
    assert texts(writer.body) == ["one ", "two "]
    assert [chunk.time - start for chunk in writer.chunks] == pytest.approx([0.5, 1.0, 1.5])
    assert opened.chunks == [], "the body sleeps until the end"
    assert (opened.relay.tokens, opened.cause) == (2, Cause.DONE)


async def test_tokens_that_come_together_are_written_as_one_chunk() -> None:
    model, writer = Model([0.5, *"abcdef", 0.5]), Writer()
    async with channel_to(model) as channel, relay_of(channel, writer=writer) as opened:
        await write_all(opened, writer)
    *tokens, last = [chunk.data for chunk in writer.chunks]
    assert [[event.data for event in parse(chunk)] for chunk in tokens] == [list("abcdef")]
    assert last == DONE_EVENT


async def test_body_waits_for_a_browser_that_does_not_take_it_all_at_once() -> None:
    model, writer = Model([0.5, "one ", 0.5, "two ", 0.5, "three ", 0.5]), Writer()
    writer.is_full = True
    async with channel_to(model) as channel, relay_of(channel, writer=writer) as opened:
        await write_all(opened, writer)
    assert texts(writer.body) == ["one ", "two ", "three "]
    assert writer.waited == 1
    assert [chunk.data for chunk in opened.chunks] == [b""]


async def test_nothing_is_written_past_a_body_that_does_not_wait() -> None:
    model, writer = Model(["one ", 0.5, "two ", 0.5]), Writer()
    async with channel_to(model) as channel, relay_of(channel, writer=writer) as opened:
        await trio.sleep(0.75)
        assert writer.chunks == []
        assert [event.data for event in parse(await opened.read())] == ["one ", "two "]
        await wait_all_tasks_blocked()
        assert writer.chunks == []
        await opened.read_all()


async def test_nothing_overtakes_what_the_body_has_in_hand() -> None:
    """The reader gets room as the body takes a chunk, and runs before the body can write it."""
    limits, writer = replace(LIMITS, channel_size=3), Writer()
    async with (
        channel_to(Model("abcdefgh")) as channel,
        relay_of(channel, limits, writer=writer) as opened,
    ):
        await wait_all_tasks_blocked()
        await write_all(opened, writer)
    assert texts(writer.body) == list("abcdefgh")


async def test_pings_are_written_at_once_and_put_off_by_what_is() -> None:
    limits, writer = replace(LIMITS, heartbeat=1.0), Writer()
    script: list[Step] = [0.75, "x", 1.5, "y", 1.25]
    async with (
        channel_to(Model(script)) as channel,
        relay_of(channel, limits, writer=writer) as opened,
    ):
        start = trio.current_time()
        await write_all(opened, writer)
    times = [chunk.time - start for chunk in writer.chunks if comments(chunk.data)]
    assert times == [1.75, 3.25]
    assert opened.chunks == []


# -- the heartbeat --------------------------------------------------------------------------------


async def test_heartbeat_while_the_model_thinks() -> None:
    limits = replace(LIMITS, heartbeat=0.3)
    async with channel_to(Model([1.0, "x"])) as channel, relay_of(channel, limits) as opened:
        start = trio.current_time()
        await opened.read_all()
    assert [time - start for time in opened.pings] == pytest.approx([0.3, 0.6, 0.9])
    assert texts(opened.body) == ["x"]


async def test_no_heartbeat_while_tokens_come_faster() -> None:
    limits = replace(LIMITS, heartbeat=0.3)
    async with channel_to(Model(["x", 0.2] * 20)) as channel, relay_of(channel, limits) as opened:
        await opened.read_all()
    assert opened.pings == []


async def test_each_event_puts_the_heartbeat_off() -> None:
    limits = replace(LIMITS, heartbeat=1.0)
    script: list[Step] = [0.75, "x", 1.5, "y", 1.25]
    async with channel_to(Model(script)) as channel, relay_of(channel, limits) as opened:
        start = trio.current_time()
        await opened.read_all()
    assert [time - start for time in opened.pings] == [1.75, 3.25]


async def test_heartbeat_begins_with_the_request() -> None:
    """While there is no connection to the model, and so no answer of any kind from it."""
    limits = Limits(heartbeat=0.5, deadline=1.25)
    async with unreachable() as channel, relay_of(channel, limits) as opened:
        start = trio.current_time()
        await opened.read_all()
    assert [time - start for time in opened.pings] == [0.5, 1.0]
    assert opened.cause is Cause.DEADLINE


async def test_browser_that_does_not_read_gets_no_more_pings_than_fit() -> None:
    limits = replace(LIMITS, heartbeat=1.0, channel_size=3)
    async with channel_to(Model([60.5, "x"])) as channel, relay_of(channel, limits) as opened:
        await trio.sleep(60.25)
        assert await opened.read() == PING * 3
        await opened.read_all()
    assert texts(opened.body) == ["x"]


async def test_heartbeat_leaves_the_channel_to_tokens() -> None:
    """It is dropped where the channel is full: who has events to read needs none."""
    limits = replace(LIMITS, heartbeat=1.0, channel_size=3)
    async with channel_to(Model("abcdef")) as channel, relay_of(channel, limits) as opened:
        await trio.sleep(30)
        await opened.read_all()
    assert texts(opened.body) == list("abcdef")
    assert opened.pings == []


# -- the deadline ---------------------------------------------------------------------------------


@asynccontextmanager
async def unreachable() -> AsyncGenerator[Channel]:
    """Give a channel that goes on connecting."""

    async def connect() -> ByteStream:
        await trio.sleep_forever()
        raise AssertionError

    async with ChannelOver(connect) as channel:
        yield channel


def assert_late(opened: Opened, start: float) -> None:
    """See that an answer ended at the deadline, with an error, and for no other cause."""
    assert opened.chunks[-1].time - start == SHORT.deadline
    assert error_in(opened.body) == "The answer took too long and was stopped."
    assert opened.cause is Cause.DEADLINE


async def test_deadline_while_connecting() -> None:
    async with unreachable() as channel, relay_of(channel, SHORT) as opened:
        start = trio.current_time()
        await opened.read_all()
    assert_late(opened, start)


async def test_deadline_while_waiting_for_a_slot() -> None:
    model, wire = Model([FOREVER]), Wire()
    config = Configuration(max_concurrent_streams=1)
    async with channel_to(model, wire, config) as channel, relay_of(channel):
        await wait_all_tasks_blocked()
        start = trio.current_time()
        async with relay_of(channel, SHORT) as opened:
            await opened.read_all()
        assert channel.statistics() == replace(IDLE, streams=1)
        assert len(model.requests) == 1
        assert wire.resets == []
    assert_late(opened, start)


@pytest.mark.parametrize(
    "script", [[FOREVER], ["x", FOREVER], ["x", 0.3] * 20], ids=["thinking", "stuck", "streaming"]
)
async def test_deadline_resets_the_model(script: list[Step]) -> None:
    model, wire = Model(script), Wire()
    async with channel_to(model, wire) as channel:
        start = trio.current_time()
        async with relay_of(channel, SHORT) as opened:
            await opened.read_all()
            await wait_all_tasks_blocked()
            assert wire.resets == [(start + SHORT.deadline, ErrorCodes.CANCEL)]
            assert model.ended == [start + SHORT.deadline]
        assert wire.after_resets == []
    assert_late(opened, start)
    assert len(wire.resets) == 1


async def test_deadline_is_not_extended_by_pings() -> None:
    limits = replace(SHORT, heartbeat=0.25)
    async with channel_to(Model([FOREVER])) as channel, relay_of(channel, limits) as opened:
        start = trio.current_time()
        await opened.read_all()
    assert len(opened.pings) in {7, 8}  # the eighth and the end are of the same moment
    assert_late(opened, start)


async def test_deadline_while_the_browser_reads_nothing() -> None:
    model, wire = Model(lambda: repeat("x" * KIB)), Wire()
    async with channel_to(model, wire) as channel:
        start = trio.current_time()
        async with relay_of(channel, SHORT) as opened:
            await trio.sleep(60)
            assert wire.resets == [(start + SHORT.deadline, ErrorCodes.CANCEL)]
            assert model.ended == [start + SHORT.deadline]
            assert opened.cause is Cause.DEADLINE
            await opened.read_all()
        assert wire.after_resets == []
    *tokens, last = parse(opened.body)
    assert {token.data for token in tokens} == {"x" * KIB}
    assert last.type == "error"
    assert opened.cause is Cause.DEADLINE


async def test_model_is_told_the_deadline() -> None:
    model = Model([0.5, "x"])
    async with channel_to(model) as channel:
        start = trio.current_time()
        await ask(channel, SHORT)
    assert model.deadlines == [pytest.approx(start + SHORT.deadline)]


# -- leaving --------------------------------------------------------------------------------------


async def no_read(opened: Opened) -> None:
    """Take nothing."""
    assert opened.chunks == []
    await wait_all_tasks_blocked()


async def read_two(opened: Opened) -> None:
    """Take two tokens."""
    while opened.relay.tokens < 2:
        await opened.read()


FLOOD = repeat("x" * KIB)


@pytest.mark.parametrize(
    ("script", "until"),
    [
        ([FOREVER], no_read),
        (["x", 1.0] * 9, read_two),
        (FLOOD, no_read),
        (FLOOD, read_two),
    ],
    ids=["thinking", "mid-stream", "reading nothing", "reading too slowly"],
)
async def test_leaving_resets_the_model(
    script: Iterable[Step], until: Callable[[Opened], Awaitable[None]]
) -> None:
    model, wire = Model([], script, ["and on"]), Wire()
    async with channel_to(model, wire) as channel:
        idle = await tasks_when_idle(channel)
        async with relay_of(channel) as opened:
            await until(opened)
            await wait_all_tasks_blocked()
            left = trio.current_time()
        await wait_all_tasks_blocked()
        assert wire.resets == [(left, ErrorCodes.CANCEL)]
        assert model.ended[1:] == [left]
        assert running_tasks() == idle
        assert texts(await ask(channel)) == ["and on"]
    assert len(wire.connections) == len(wire.resets) == 1
    assert wire.after_resets == []
    assert opened.cause is Cause.CLIENT_DISCONNECT


@pytest.mark.parametrize("script", [[FOREVER], FLOOD], ids=["thinking", "reading nothing"])
async def test_model_is_reset_before_a_task_of_the_request_runs(script: Iterable[Step]) -> None:
    """By the plain call with which a server says that the browser has left; it may say so again."""
    model, wire = Model(script), Wire()
    async with channel_to(model, wire) as channel, relay_of(channel) as opened:
        await wait_all_tasks_blocked()
        opened.relay.disconnect()
        assert channel.statistics().streams == 0
        opened.relay.disconnect()
    assert [code for _, code in wire.resets] == [ErrorCodes.CANCEL]
    assert wire.after_resets == []
    assert opened.cause is Cause.CLIENT_DISCONNECT


async def test_ending_after_the_browser_has_left_does_not_count() -> None:
    async with unreachable() as channel, relay_of(channel, SHORT) as opened:
        await wait_all_tasks_blocked()
        opened.relay.disconnect()
        await opened.read_all()
        opened.relay.disconnect()  # a server may say so again
    assert opened.relay.outcome is not None
    assert opened.cause is Cause.CLIENT_DISCONNECT


async def test_ending_before_the_browser_has_left_counts() -> None:
    async with channel_to(Model([GRPCError(Status.INTERNAL)])) as channel:
        async with relay_of(channel) as opened:
            await wait_all_tasks_blocked()
            opened.relay.disconnect()
        assert opened.cause is Cause.MODEL_ERROR


async def test_leaving_at_once() -> None:
    """Before the relay's tasks have run for the first time."""
    model, wire = Model([], [FOREVER]), Wire()
    async with channel_to(model, wire) as channel:
        idle = await tasks_when_idle(channel)
        async with relay_of(channel):
            pass
        await wait_all_tasks_blocked()
        assert running_tasks() == idle
    assert len(model.requests) - 1 <= len(wire.resets) <= 1
    assert len(model.ended) == len(model.requests)


async def test_leaving_while_the_reader_is_between_two_tokens() -> None:
    with capture_logs() as logs:
        async with channel_to(Model(repeat("x"))) as channel, relay_of(channel) as opened:
            await wait_all_tasks_blocked()
            # The reader waits for room, gets it now, and does not run before the body is left.
            await opened.read()
    assert opened.cause is Cause.CLIENT_DISCONNECT
    assert logs == []


async def test_leaving_while_connecting() -> None:
    async with unreachable() as channel:
        async with relay_of(channel):
            await wait_all_tasks_blocked()
        assert channel.statistics() == IDLE


@pytest.mark.parametrize("steps", range(12))
async def test_cancelled_after_so_many_steps(steps: int) -> None:
    """Wherever the request is by then, the model is reset or was never asked."""
    model, wire = Model([], [FOREVER]), Wire()
    async with channel_to(model, wire) as channel:
        idle = await tasks_when_idle(channel)
        opened = relay_of(channel)
        with trio.CancelScope() as scope:
            async with opened:
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
                scope.cancel()
                await opened.read_all()
        await wait_all_tasks_blocked()
        assert scope.cancelled_caught
        assert len(model.requests) - 1 <= len(wire.resets) <= 1
        assert len(model.ended) == len(model.requests)
        assert running_tasks() == idle
        assert opened.cause is Cause.CLIENT_DISCONNECT


async def _fail_within(opened: Opened) -> None:
    async with opened:
        await wait_all_tasks_blocked()
        raise OSError


async def test_leaving_with_an_error_passes_it_on() -> None:
    model, wire = Model([FOREVER]), Wire()
    async with channel_to(model, wire) as channel:
        with pytest.RaisesGroup(OSError):
            await _fail_within(relay_of(channel))
    assert [code for _, code in wire.resets] == [ErrorCodes.CANCEL]


async def test_leaving_with_an_error_in_a_cancelled_scope_passes_it_on() -> None:
    """A checkpoint on the way out would raise `Cancelled` in its place."""
    async with channel_to(Model([FOREVER])) as channel:
        with pytest.RaisesGroup(OSError), trio.CancelScope() as scope:
            async with relay_of(channel):
                scope.cancel()
                raise OSError


async def test_done_is_not_recorded_before_the_last_event_is_taken() -> None:
    causes: list[Cause] = []
    async with channel_to(Model(["x"])) as channel, relay_of(channel) as opened:
        await wait_all_tasks_blocked()
        causes.append(opened.cause)
        await opened.read()
        assert opened.body.endswith(DONE_EVENT)
        causes.append(opened.cause)
        await opened.read_all()
        causes.append(opened.cause)
    assert causes == [Cause.CLIENT_DISCONNECT, Cause.CLIENT_DISCONNECT, Cause.DONE]


# -- when the model fails -------------------------------------------------------------------------

FAILURES = [status for status in Status if status is not Status.OK]


@pytest.mark.parametrize("status", FAILURES, ids=[status.name for status in FAILURES])
async def test_status_becomes_a_message_for_a_person(status: Status) -> None:
    model, wire = Model(["Half an ", fails(status)], ["whole"]), Wire()
    async with channel_to(model, wire) as channel:
        async with relay_of(channel) as opened:
            await opened.read_all()
        assert texts(await ask(channel)) == ["whole"]
    message = error_in(opened.body)
    assert [event.data for event in parse(opened.body)] == ["Half an ", message]
    assert message.endswith(".")
    assert status.name not in message
    assert SECRET not in opened.body.decode()
    ending = opened.relay.outcome
    assert ending is not None
    assert (ending.code, ending.detail) == (status.name, SECRET)
    causes = {
        Status.UNAVAILABLE: Cause.MODEL_UNAVAILABLE,
        Status.DEADLINE_EXCEEDED: Cause.DEADLINE,
    }
    assert opened.cause is causes.get(status, Cause.MODEL_ERROR)
    assert wire.resets == []


async def test_failure_in_json_has_code_and_cause() -> None:
    model = Model([fails(Status.RESOURCE_EXHAUSTED)])
    async with channel_to(model) as channel, relay_of(channel, encoder=JsonEncoder()) as opened:
        await opened.read_all()
    (event,) = parse(opened.body)
    assert event.type == "error"
    assert '"code": "RESOURCE_EXHAUSTED"' in event.data
    assert '"cause": "model_error"' in event.data
    assert SECRET not in event.data


async def test_failure_is_an_ending_even_if_nobody_takes_it() -> None:
    async with channel_to(Model([fails(Status.INTERNAL)])) as channel, relay_of(channel) as opened:
        await wait_all_tasks_blocked()
    assert opened.cause is Cause.MODEL_ERROR


async def test_answer_without_a_last_message_is_cut_short() -> None:
    model = Model(["Half an "], says_done=False)
    async with channel_to(model) as channel, relay_of(channel) as opened:
        await opened.read_all()
    assert [event.data for event in parse(opened.body)] == [
        "Half an ",
        "The answer was cut short. Please try again.",
    ]
    assert opened.cause is Cause.MODEL_ERROR


async def test_lost_connection_ends_the_answer_after_what_arrived() -> None:
    model, wire = Model(["one ", "two ", FOREVER], ["whole"]), Wire()
    async with channel_to(model, wire) as channel:
        async with relay_of(channel) as opened:
            await wait_all_tasks_blocked()
            cast("MemoryStream", wire.connections[0].stream).reset()
            await opened.read_all()
        assert texts(await ask(channel)) == ["whole"]
    events = parse(opened.body)
    assert [event.data for event in events[:-1]] == ["one ", "two "]
    assert error_in(opened.body).startswith("The model cannot be reached right now.")
    assert opened.cause is Cause.MODEL_UNAVAILABLE
    assert len(wire.connections) == 2


#: The gateway tries to connect for every request.
NO_PAUSE = Configuration(initial_backoff=0)


async def test_model_that_is_not_there_and_then_is() -> None:
    is_there = False

    def refuse(stream: ByteStream) -> ByteStream:
        if is_there:
            return stream
        cast("MemoryStream", stream).close()
        raise ConnectionRefusedError

    async with ChannelFor([Model(["whole"])], config=NO_PAUSE, wrap=refuse) as channel:
        async with relay_of(channel) as opened:
            await opened.read_all()
        assert opened.cause is Cause.MODEL_UNAVAILABLE
        assert error_in(opened.body).startswith("The model cannot be reached right now.")
        is_there = True
        assert texts(await ask(channel)) == ["whole"]


class BrokenEncoder(TextEncoder):
    """Has a bug."""

    def token(self, text: str) -> bytes:
        if text == "two":
            raise ZeroDivisionError(SECRET)
        return super().token(text)


async def test_bug_is_logged_and_ends_with_an_event() -> None:
    model, wire = Model(["one", 0.5, "two", "three", FOREVER], ["whole"]), Wire()
    async with channel_to(model, wire) as channel:
        with capture_logs() as logs:
            async with relay_of(channel, encoder=BrokenEncoder()) as opened:
                await opened.read_all()
        assert texts(await ask(channel)) == ["whole"]
    assert [event.data for event in parse(opened.body)] == [
        "one",
        "The model failed to answer. Please try again.",
    ]
    assert opened.cause is Cause.MODEL_ERROR
    assert [code for _, code in wire.resets] == [ErrorCodes.CANCEL]
    (line,) = logs
    assert line.pop("exception").splitlines()[-1] == f"ZeroDivisionError: {SECRET}"
    assert line == {"event": "relay failed", "log_level": "error"}


# -- back-pressure --------------------------------------------------------------------------------


async def test_model_is_held_up_by_a_browser_that_does_not_read() -> None:
    """Every buffer between the two is bounded: how far the model got is the sum of them."""
    model = Model(lambda: repeat("x" * KIB, 1000))
    async with channel_to(model) as channel, relay_of(channel) as opened:
        await trio.sleep(60)
        pulled = model.pulled
        assert opened.relay.tokens == LIMITS.channel_size + 1  # and one at the door
        assert pulled <= LIMITS.channel_size + 2 + (WINDOW + 2 * OUTBOX) // KIB
        await trio.sleep(60)
        assert model.pulled == pulled
        assert len(parse(await opened.read())) >= LIMITS.channel_size
        await wait_all_tasks_blocked()
        assert opened.relay.tokens > LIMITS.channel_size + 1
        await opened.read_all()
    assert texts(opened.body) == ["x" * KIB] * 1000


async def test_one_browser_that_does_not_read_holds_up_no_other() -> None:
    model = Model(FLOOD, ["whole"] * 500)
    async with channel_to(model) as channel, relay_of(channel):
        await wait_all_tasks_blocked()
        assert texts(await ask(channel)) == ["whole"] * 500


async def test_done_is_the_last_of_a_full_channel() -> None:
    limits = replace(LIMITS, channel_size=2)
    async with channel_to(Model("ab")) as channel, relay_of(channel, limits) as opened:
        await trio.sleep(60)
        await opened.read_all()
    assert parse(opened.body)[-1] == DONE
    assert texts(opened.body) == list("ab")


async def test_error_is_the_last_of_a_full_channel() -> None:
    limits = replace(LIMITS, channel_size=2)
    failing: list[Step] = ["a", "b", GRPCError(Status.INTERNAL)]
    async with channel_to(Model(failing)) as channel, relay_of(channel, limits) as opened:
        await trio.sleep(60)
        await opened.read_all()
    assert [event.data for event in parse(opened.body)][:2] == ["a", "b"]
    assert error_in(opened.body)
