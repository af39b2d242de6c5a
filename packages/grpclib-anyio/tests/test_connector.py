"""When a channel connects, and what its calls do until it has."""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a task group may swallow what its body raises; a test would have failed.

from collections.abc import Callable
from functools import partial

import anyio
import pytest
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError
from trio.testing import MockClock

from grpclib_anyio._base.config import Configuration
from grpclib_anyio._channel.backoff import Backoff
from grpclib_anyio._channel.connector import Connector
from grpclib_anyio._connection.connection import Connection
from grpclib_anyio._stream.stream import MessageStream
from grpclib_anyio.client import Channel
from grpclib_anyio.testing import ChannelOver
from harness.peer import Call, Network, channel_to, completes

UNARY_STREAM = Cardinality.UNARY_STREAM
READY = Configuration(wait_for_ready=True)


def middle(low: float, high: float) -> float:
    """Choose no jitter."""
    return (low + high) / 2


def lowest(low: float, _high: float) -> float:
    return low


def highest(_low: float, high: float) -> float:
    return high


class Unreachable:
    """A server that is down until it is said to be up; notes when it was tried."""

    def __init__(self, *, takes: float = 0) -> None:
        self.attempts: list[float] = []
        self.is_up = False
        self.network = Network(before_connect=self.refuse)
        self.takes = takes
        self._start = anyio.current_time()

    @property
    def time(self) -> float:
        """Seconds since the beginning; exact to what a float of the mock clock holds."""
        return round(anyio.current_time() - self._start, 6)

    async def refuse(self) -> None:
        self.attempts.append(self.time)
        await anyio.sleep(self.takes)
        if not self.is_up:
            raise ConnectionRefusedError(f"down for the {len(self.attempts)}. time")


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let channels pause without jitter."""
    monkeypatch.setattr(Backoff.__init__, "__defaults__", (middle,))


async def message_of(channel: Channel) -> str | None:
    """Make a call that fails with UNAVAILABLE, and return what it is told."""
    call = Call(channel)
    await call.run()
    assert call.error is not None
    assert call.status is Status.UNAVAILABLE
    return call.error.message


# -- the delays ---------------------------------------------------------------------------------


def test_delays_grow_up_to_the_limit() -> None:
    backoff = Backoff(1, 120, middle)
    delays = [round(backoff.next(), 3) for _ in range(13)]
    assert delays[:4] == [1, 1.6, 2.56, 4.096]
    assert delays[10:] == [109.951, 120, 120]


def test_success_resets_the_delays() -> None:
    backoff = Backoff(1, 120, middle)
    for _ in range(5):
        backoff.next()
    backoff.reset()
    assert backoff.next() == 1


@pytest.mark.parametrize(("choose", "factor"), [(lowest, 0.8), (highest, 1.2)])
def test_jitter_is_a_fifth_and_does_not_add_up(
    choose: Callable[[float, float], float], factor: float
) -> None:
    backoff = Backoff(1, 2, choose)
    expected = [factor, 1.6 * factor, 2 * factor, 2 * factor]
    assert [backoff.next() for _ in range(4)] == pytest.approx(expected)


def test_jitter_is_random() -> None:
    delays = {Backoff(1, 120).next() for _ in range(100)}
    assert len(delays) > 1
    assert all(0.8 <= delay <= 1.2 for delay in delays)


def test_limit_below_the_initial_delay_is_the_delay() -> None:
    backoff = Backoff(1, 0.5, middle)
    assert [backoff.next(), backoff.next()] == [0.5, 0.5]


def test_waiting_without_a_pause_is_refused() -> None:
    """It would try as fast as the machine can."""
    with pytest.raises(ValueError, match="wait_for_ready"):
        Configuration(wait_for_ready=True, initial_backoff=0)
    with pytest.raises(ValueError, match="wait_for_ready"):
        Configuration(wait_for_ready=True, max_backoff=0)
    with pytest.raises(ValueError, match="initial_backoff"):
        Configuration(initial_backoff=-1)


# -- calls that do not wait ---------------------------------------------------------------------


@pytest.mark.trio
@pytest.mark.usefixtures("steady")
async def test_calls_in_the_pause_fail_at_once_with_the_last_reason(
    autojump_clock: MockClock,
) -> None:
    """The pauses are 1 s, 1.6 s and so on from the start of each attempt, which takes 0.25 s."""
    del autojump_clock
    server = Unreachable(takes=0.25)
    first, second = (f"Cannot connect to memory:50051: down for the {n}. time" for n in (1, 2))
    async with channel_to(server.network) as channel:
        assert (await message_of(channel), server.time) == (first, 0.25)
        assert (await message_of(channel), server.time) == (first, 0.25)
        await anyio.sleep(0.7)
        assert (await message_of(channel), server.time) == (first, 0.95)
        await anyio.sleep(0.05)
        assert (await message_of(channel), server.time) == (second, 1.25)
        await anyio.sleep(1.3)
        assert (await message_of(channel), server.time) == (second, 2.55)
        assert server.attempts == [0, 1]
        await anyio.sleep(0.1)
        server.is_up, server.takes = True, 0
        await completes(server.network, channel)
        assert server.attempts == [0, 1, 2.65]


@pytest.mark.trio
@pytest.mark.usefixtures("steady")
async def test_success_is_followed_by_no_pause_and_resets_it(autojump_clock: MockClock) -> None:
    """Down twice, up, lost at once, down again: the pause is 1 s, not 2.56."""
    del autojump_clock
    server = Unreachable()
    async with channel_to(server.network) as channel:
        await message_of(channel)
        await anyio.sleep(1)
        await message_of(channel)
        await anyio.sleep(1.6)
        server.is_up = True
        await completes(server.network, channel)
        server.is_up = False
        server.network.peer.stream.reset()
        await anyio.wait_all_tasks_blocked()
        await message_of(channel)
        await anyio.sleep(1)
        await message_of(channel)
    assert server.attempts == [0, 1, 2.6, 2.6, 3.6]


@pytest.mark.trio
async def test_attempt_longer_than_the_pause_is_followed_by_none(
    autojump_clock: MockClock,
) -> None:
    """The pause is from the start of an attempt."""
    del autojump_clock
    server = Unreachable(takes=5)
    async with channel_to(server.network) as channel:
        for _ in range(2):
            await message_of(channel)
    assert server.attempts == [0, 5]


@pytest.mark.trio
async def test_without_backoff_every_call_tries(autojump_clock: MockClock) -> None:
    del autojump_clock
    server = Unreachable()
    config = Configuration(initial_backoff=0, max_backoff=0)
    async with channel_to(server.network, config) as channel:
        for _ in range(5):
            await message_of(channel)
    assert server.attempts == [0] * 5


@pytest.mark.trio
async def test_close_while_connecting_is_not_the_servers_failure(
    autojump_clock: MockClock,
) -> None:
    """`channel.close()` before the peer's SETTINGS; the next call connects at once."""
    del autojump_clock
    network = Network(speaks=False)
    async with channel_to(network) as channel:
        call = Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            await anyio.wait_all_tasks_blocked()
            channel.close()
        assert call.status is Status.UNAVAILABLE
        again = Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(again.run)
            await anyio.wait_all_tasks_blocked()
            await network.peer.start()
            peer, stream_id = await network.accept()
            await peer.respond(stream_id, b"one", end=True)
        assert again.received == [b"one"]


# -- calls that wait ----------------------------------------------------------------------------


@pytest.mark.trio
@pytest.mark.usefixtures("steady")
async def test_calls_wait_for_the_attempt_that_succeeds(autojump_clock: MockClock) -> None:
    """Two calls wait through attempts at 0, 1, 2.6 and 5.16; the last one succeeds for both."""
    del autojump_clock
    server = Unreachable()
    async with channel_to(server.network, READY) as channel:
        calls = [Call(channel), Call(channel)]
        async with anyio.create_task_group() as tasks:
            for call in calls:
                tasks.start_soon(call.run)
            await anyio.sleep(3)
            server.is_up = True
            await anyio.sleep(3)
            for _ in calls:
                peer, stream_id = await server.network.accept()
                await peer.respond(stream_id, b"one", end=True)
        assert [(call.received, call.error) for call in calls] == [([b"one"], None)] * 2
    assert server.attempts == [0, 1, 2.6, 5.16]
    assert len(server.network.peers) == 1


@pytest.mark.trio
@pytest.mark.usefixtures("steady")
async def test_deadline_ends_the_wait(autojump_clock: MockClock) -> None:
    """Of two calls one has 2 s; nobody tries for the other than those who wait."""
    del autojump_clock
    server = Unreachable()
    async with channel_to(server.network, READY) as channel:
        call = Call(channel, timeout=2)
        await call.run()
        assert (call.status, server.time) == (Status.DEADLINE_EXCEEDED, 2)
        assert server.attempts == [0, 1]
        await anyio.sleep(100)
        assert server.attempts == [0, 1], "attempted for nobody"
        server.is_up = True
        await completes(server.network, channel)
    assert server.attempts == [0, 1, 102]


@pytest.mark.trio
@pytest.mark.usefixtures("steady")
async def test_cancelled_in_the_pause_leaves_the_attempts_to_the_others(
    autojump_clock: MockClock,
) -> None:
    """The call that made the first attempt is cancelled; the other one goes on."""
    del autojump_clock
    server = Unreachable()
    async with channel_to(server.network, READY) as channel:
        calls = [Call(channel), Call(channel)]
        async with anyio.create_task_group() as tasks:
            for call in calls:
                tasks.start_soon(call.run)
                await anyio.wait_all_tasks_blocked()
            calls[0].scope.cancel()
            await anyio.wait_all_tasks_blocked()
            assert (calls[0].is_cancelled, server.time) == (True, 0)
            server.is_up = True
            await anyio.sleep(1)
            peer, stream_id = await server.network.accept()
            await peer.respond(stream_id, b"one", end=True)
        assert calls[1].received == [b"one"]
    assert server.attempts == [0, 1]


@pytest.mark.anyio
async def test_cancelled_in_the_pause_on_both_loops() -> None:
    """And one that is not cancelled, but whose channel is left."""

    async def refuse() -> None:
        await checkpoint()
        raise ConnectionRefusedError("down")

    network = Network(before_connect=refuse)
    async with anyio.create_task_group() as tasks, channel_to(network, READY) as channel:
        cancelled, left = Call(channel), Call(channel)
        for call in (cancelled, left):
            tasks.start_soon(call.run)
        await anyio.wait_all_tasks_blocked()
        cancelled.scope.cancel()
        await anyio.wait_all_tasks_blocked()
        assert cancelled.is_cancelled
        assert not left.is_over
    assert left.error is not None
    assert (left.status, left.error.message) == (Status.UNAVAILABLE, "The channel is closed")


@pytest.mark.trio
async def test_peer_without_settings_is_a_failed_attempt(autojump_clock: MockClock) -> None:
    """It accepts and says nothing for 20 s; calls in the pause are told so at once."""
    del autojump_clock
    network = Network(speaks=False)
    config = Configuration(initial_backoff=30, connect_timeout=20)
    async with channel_to(network, config) as channel:
        expected = "Cannot connect to memory:50051: the peer sends no SETTINGS"
        for _ in range(2):
            assert await message_of(channel) == expected
    assert len(network.peers) == 1


# -- the connector alone ------------------------------------------------------------------------


@pytest.mark.trio
async def test_connector_takes_a_backoff_of_the_tests(autojump_clock: MockClock) -> None:
    """One with the most jitter there is: 1.2 s, then 1.92."""
    del autojump_clock
    server = Unreachable()
    backoff = Backoff(1, 120, highest)
    connector = Connector(READY, server.network.connect, "it", backoff)

    async def open_stream() -> tuple[Connection, MessageStream]:
        return await connector.open_stream(list)

    async with connector:
        with anyio.move_on_after(4):
            await open_stream()
    assert server.attempts == [0, 1.2, 3.12]
    with pytest.raises(RuntimeError, match="async with channel"):
        await open_stream()


# -- addresses that cannot be -------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("channel", "name"),
    [
        (partial(Channel, "127.0.0.1", 70_000), "127.0.0.1:70000"),
        (partial(Channel, "127.0.0.1", -1), "127.0.0.1:-1"),
        (partial(Channel, "127.0.0.1", 2**70), f"127.0.0.1:{2**70}"),
        (partial(Channel, "\ud800", 1), "\\ud800:1"),
        (partial(Channel, "a\0b", 1), "a\0b:1"),
        (partial(Channel, "x" * 64 + ".example", 1), "x" * 64 + ".example:1"),
        (partial(Channel, path="a\0b"), "a\0b"),
        (partial(Channel, path="/\ud800"), "/\\ud800"),
        (partial(Channel, path="/" + "x" * 200), "/" + "x" * 200),
    ],
    ids=["70000", "-1", "2**70", "surrogate", "nul", "label", "path", "path-half", "long path"],
)
async def test_address_that_cannot_be_fails_the_call(
    channel: Callable[[], Channel], name: str
) -> None:
    """With a status and the target's name; leaving the channel raises nothing."""
    async with channel() as entered:
        for _ in range(2):
            message = await message_of(entered)
            assert message is not None
            assert message.startswith(f"Cannot connect to {name}: ")
            assert message.isascii()


@pytest.mark.anyio
@pytest.mark.parametrize("tls_name", [".example", "\ud800", "a\0b"], ids=ascii)
async def test_tls_name_that_cannot_be_fails_the_call(tls_name: str) -> None:
    """Found out when there is a connection already, which is closed."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        config = Configuration(ssl_target_name_override=tls_name)
        async with Channel("127.0.0.1", port, ssl=True, config=config) as channel:
            message = await message_of(channel)
    assert message is not None
    assert message.startswith(f"Cannot connect to 127.0.0.1:{port}: ")


@pytest.mark.anyio
async def test_connect_of_a_subclass_that_fails_in_its_own_way() -> None:
    """The next call tries again: it is a failed attempt like any other."""

    async def fail() -> None:
        await checkpoint()
        if len(network.peers) < 1 and not failed:
            failed.append(True)
            raise LookupError("no such entry")

    failed: list[bool] = []
    network = Network(before_connect=fail)
    async with channel_to(network, Configuration(initial_backoff=0)) as channel:
        message = await message_of(channel)
        assert message == "Cannot connect to memory:50051: LookupError: no such entry"
        await completes(network, channel)


# -- one channel in several event loops ------------------------------------------------------------


@pytest.mark.parametrize("first", ["trio", "asyncio"])
@pytest.mark.parametrize("second", ["trio", "asyncio"])
def test_a_channel_of_another_loop_connects_at_once(first: str, second: str) -> None:
    """What the first loop's clock said of a pause means nothing to the second one."""
    channel = Channel("127.0.0.1", 1, config=Configuration(initial_backoff=100, max_backoff=100))

    async def ask() -> GRPCError:
        async with channel:
            with pytest.raises(GRPCError) as raised:
                async with channel.request("/x/Y", UNARY_STREAM, bytes, bytes) as call:
                    await call.send_message(b"")
            return raised.value

    for loop in (first, second):
        error = anyio.run(ask, backend=loop)
        assert error.status is Status.UNAVAILABLE
        assert "refused" in str(error.message).lower() or "connect" in str(error.message).lower()


@pytest.mark.parametrize("loop", ["trio", "asyncio"])
def test_a_channel_tries_again_in_each_loop(loop: str) -> None:
    attempts = 0

    async def refuse() -> ByteStream:
        nonlocal attempts
        attempts += 1
        await checkpoint()
        raise ConnectionRefusedError

    channel = ChannelOver(refuse, config=Configuration(initial_backoff=100, max_backoff=100))

    async def ask() -> None:
        async with channel:
            for _ in range(2):  # the second one falls into the pause after the first
                with pytest.raises(GRPCError):
                    async with channel.request("/x/Y", UNARY_STREAM, bytes, bytes) as call:
                        await call.send_message(b"")

    for count in (1, 2, 3):
        anyio.run(ask, backend=loop)
        assert attempts == count
