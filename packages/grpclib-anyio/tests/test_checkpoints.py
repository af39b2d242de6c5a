"""A call that is ended at each of its checkpoints, at the client: nothing is torn, lost or left.

See `harness/every_checkpoint.py`. After each, one more call is made, on the same connection unless
that is what has ended. Servers admit one call at a time, so it needs the slot of the other.
"""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a task group may swallow what its body raises; a test would have failed.

import gc
import random
from collections.abc import Callable, Coroutine
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import anyio
import pytest
from anyio.abc import ByteStream, TaskGroup
from anyio.lowlevel import checkpoint as step
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError
from h2.exceptions import StreamClosedError
from hyperframe.frame import GoAwayFrame

from grpclib_anyio._base.config import Configuration
from grpclib_anyio._base.errors import TerminatedError
from grpclib_anyio.client import Channel
from grpclib_anyio.testing import ChannelFor, ChannelOver
from harness.clock import jump, on_mock_clock
from harness.conversation import ConversationStub, Line
from harness.every_checkpoint import AtEachCheckpoint, Checkpoint, settled
from harness.handlers import Handlers
from harness.leaks.registry import CONNECTIONS
from harness.peer import BOTH, NOTHING, Call, Methods, Network, Raw, ScriptedPeer
from harness.wires import Wires, check_resets

STREAM_STREAM = Cardinality.STREAM_STREAM
#: So that a little is enough to fill everything that can be full.
SMALL = Configuration(http2_stream_window_size=1_000, max_outbox_size=1_000, initial_backoff=0)
ONE_AT_A_TIME = replace(SMALL, max_concurrent_streams=1)
#: More than all of that holds.
LARGE = b"x" * 2_100
TIMEOUT = 60.0

Use = Callable[[Channel], Coroutine[Any, Any, None]]


# -- what a client does ---------------------------------------------------------------------------


def calls(*messages: bytes, **options: Any) -> Use:
    """Make a call and see it through."""

    async def use(channel: Channel) -> None:
        call = Call(channel, *messages, **options)
        await call.run()
        if call.error is not None:
            raise call.error

    return use


async def read_late(channel: Channel) -> None:
    """Let the server wait for the window, and then read it all."""
    async with Call(channel).open() as stream:
        await stream.send_message(LARGE)
        await settled()
        while await stream.recv_message() is not None:  # noqa: ASYNC110 - a turn for the others
            await step()


async def close_a_stub(channel: Channel) -> None:
    stub = ConversationStub(cast("Any", channel))
    async with aclosing(cast("Any", stub.listen(Line("one two three")))) as answer:
        assert [line.text async for line in answer] == ["one", "two", "three"]


async def break_out_of_a_stub(channel: Channel) -> None:
    async for line in ConversationStub(cast("Any", channel)).listen(Line("one two three")):
        if line.text == "two":
            break
    await step()


@dataclass(frozen=True)
class Client:
    """What is under test, and a call that goes on beside it."""

    use: Use
    before: Use | None = None
    after: Use | None = None
    #: Orders drawn by lot, beside the two that all have.
    seeds: int = 0


ANOTHER = calls(LARGE)
CLIENTS = {
    "unary-stream": Client(calls(b"small")),
    "unary-stream with a deadline": Client(calls(b"small", timeout=TIMEOUT)),
    "unary-stream read late": Client(read_late),
    "stream-stream": Client(calls(LARGE, b"small", LARGE, path=BOTH, cardinality=STREAM_STREAM)),
    "waiting for another call's slot": Client(calls(b"small"), before=ANOTHER, seeds=2),
    "connecting for another call too": Client(calls(b"small", timeout=TIMEOUT), after=ANOTHER),
    "stub with aclosing": Client(close_a_stub),
    "stub with a break": Client(break_out_of_a_stub),
}


class Conversation:
    """A client under test, its channel, and a server in the same process."""

    def __init__(self, client: Client) -> None:
        self.handlers = Handlers()
        self.wires = Wires()
        self.scope = anyio.CancelScope()
        self.error: GRPCError | None = None
        self._client = client

    async def run(self, checkpoint: Checkpoint, end: Callable[["Conversation"], None]) -> None:
        """See the client through, which is ended at the checkpoint; see that nothing is left."""
        async with ChannelFor(
            self.handlers.services,
            Raw(),
            config=SMALL,
            server_config=ONE_AT_A_TIME,
            wrap=self.wires.wrap,
        ) as channel:
            with checkpoint.watched(lambda: end(self)):
                await self._use(channel)
            await self._check_idle(channel)
            await calls(b"again")(channel)
            await self._check_idle(channel)
            self.wires.check_frames()
            if len(self.wires.recorders) == 1:
                self.wires.check_windows()

    async def _use(self, channel: Channel) -> None:
        client = self._client
        async with anyio.create_task_group() as tasks:
            if client.before is not None:
                tasks.start_soon(client.before, channel)
                await step()
            if client.after is not None:
                tasks.start_soon(client.after, channel)
            with self.scope:
                try:
                    await client.use(channel)
                except GRPCError as error:
                    self.error = error

    async def _check_idle(self, channel: Channel) -> None:
        await settled()
        assert self.handlers.running == 0
        assert channel.statistics() == NOTHING


# -- that is cancelled ----------------------------------------------------------------------------


def cancel(conversation: Conversation) -> None:
    conversation.scope.cancel()


async def _cancelled(client: Client, checkpoint: Checkpoint) -> None:
    conversation = Conversation(client)
    await conversation.run(checkpoint, cancel)
    assert conversation.error is None
    assert len(conversation.wires.resets) <= 1
    assert len(conversation.wires.recorders) == 1


@pytest.mark.trio
@pytest.mark.usefixtures("no_garbage")
@pytest.mark.parametrize("name", CLIENTS)
async def test_client_call_is_cancelled(name: str, at_each_checkpoint: AtEachCheckpoint) -> None:
    client = CLIENTS[name]
    scenario = partial(_cancelled, client)
    await at_each_checkpoint("client's call cancelled", scenario, seeds=client.seeds)


@pytest.mark.anyio
@pytest.mark.usefixtures("no_garbage")
@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_client_call_is_cancelled_on_asyncio(
    name: str, at_each_checkpoint: AtEachCheckpoint
) -> None:
    scenario = partial(_cancelled, CLIENTS[name])
    await at_each_checkpoint("client's call cancelled, on asyncio", scenario)


# -- that is ended in another way -----------------------------------------------------------------


def server_resets(_: Conversation) -> None:
    for connection in CONNECTIONS.on_the_servers_side:
        for stream in connection.streams:
            stream.abort(TerminatedError(Status.CANCELLED, "reset"))


def server_closes(_: Conversation) -> None:
    for connection in CONNECTIONS.on_the_servers_side:
        connection.close()


def connection_is_lost(conversation: Conversation) -> None:
    for stream in conversation.wires.streams:
        stream.reset()


def deadline_passes(_: Conversation) -> None:
    jump(TIMEOUT)


#: With the status that the client is told, unless the call was over.
ENDS: dict[Callable[[Conversation], None], Status] = {
    server_resets: Status.CANCELLED,
    server_closes: Status.UNAVAILABLE,
    connection_is_lost: Status.UNAVAILABLE,
    deadline_passes: Status.DEADLINE_EXCEEDED,
}


async def _ended(end: Callable[[Conversation], None], checkpoint: Checkpoint) -> None:
    use = calls(LARGE, b"small", path=BOTH, cardinality=STREAM_STREAM, timeout=TIMEOUT)
    conversation = Conversation(Client(use))
    await conversation.run(checkpoint, end)
    assert conversation.error is None or conversation.error.status is ENDS[end]


@pytest.mark.trio(run=on_mock_clock)
@pytest.mark.usefixtures("no_garbage")
@pytest.mark.parametrize("end", ENDS)
async def test_client_call_is_ended(
    end: Callable[[Conversation], None], at_each_checkpoint: AtEachCheckpoint
) -> None:
    await at_each_checkpoint("client's call ended otherwise", partial(_ended, end))


# -- that is made again ---------------------------------------------------------------------------


class Refusing(Network):
    """Of its peers the first takes no call, and says so when there is one; the others answer."""

    def __init__(self, tasks: TaskGroup) -> None:
        super().__init__()
        self._tasks = tasks

    async def connect(self) -> ByteStream:
        stream = await super().connect()
        self._tasks.start_soon(_answer if len(self.peers) > 1 else _refuse, self.peer)
        return stream


async def _refuse(peer: ScriptedPeer) -> None:
    if await peer.next_request():
        await peer.send_frames(GoAwayFrame(last_stream_id=0))
        await peer.read_to_end()


async def _answer(peer: ScriptedPeer) -> None:
    while stream_id := await peer.next_request():
        with suppress(StreamClosedError):  # reset already
            await peer.respond(stream_id, b"one", end=True)


async def _refused(checkpoint: Checkpoint) -> None:
    scope = anyio.CancelScope()
    async with anyio.create_task_group() as tasks:
        network = Refusing(tasks)
        async with ChannelOver(network.connect, codec=Raw(), config=SMALL) as channel:
            with checkpoint.watched(scope.cancel), scope:
                await calls(b"small", timeout=TIMEOUT)(channel)
            await settled()
            assert channel.statistics() == NOTHING
            await calls(b"again")(channel)
            await settled()
            assert channel.statistics() == NOTHING
    assert len(network.peers) == 2
    for peer in network.peers:
        check_resets(peer.frames)


@pytest.mark.trio
async def test_call_that_is_made_again_is_cancelled(at_each_checkpoint: AtEachCheckpoint) -> None:
    """On a new connection, unseen by the caller."""
    await at_each_checkpoint("client's call cancelled", _refused)


# -- many ---------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_thousand_calls_cancelled_at_random_leave_nothing() -> None:
    """Neither tasks nor objects: the last 900 calls leave what the first 100 left."""
    rng = random.Random(1)  # noqa: S311 - moments to cancel at
    async with ChannelFor([Methods(both=Handlers().echo)], Raw()) as channel:
        before = (0, 0)
        for number in range(1_000):
            if number == 100:
                before = await _population()
            await _cancelled_at_random(channel, rng)
        objects, tasks = await _population()
        assert channel.statistics() == NOTHING
        assert tasks == before[1]
        assert objects < before[0] + 300, "a leak of one object in three calls, or more"


async def _cancelled_at_random(channel: Channel, rng: random.Random) -> None:
    messages = b"one", b"x" * rng.choice((0, 10_000, 100_000))
    call = Call(channel, *messages, path=BOTH, cardinality=STREAM_STREAM)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call.run)
        for _ in range(rng.randrange(30)):
            await step()
        call.scope.cancel()


async def _population() -> tuple[int, int]:
    """Count the objects that the garbage collector knows, and the tasks."""
    await anyio.wait_all_tasks_blocked()
    gc.collect()
    return len(gc.get_objects()), len(anyio.get_running_tasks())
