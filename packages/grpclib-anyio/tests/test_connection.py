"""One connection and the next: slots, GOAWAY, loss, broken protocol, connecting, writes."""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a task group may swallow what its body raises; a test would have failed.

from contextlib import suppress
from pathlib import Path

import anyio
import pytest
from anyio.abc import ByteStream, SocketAttribute
from grpclib.const import Cardinality, Status
from h2.errors import ErrorCodes
from h2.events import RequestReceived
from h2.settings import SettingCodes
from hyperframe.frame import (
    DataFrame,
    ExtensionFrame,
    Frame,
    GoAwayFrame,
    PingFrame,
    SettingsFrame,
)
from trio.testing import MockClock

from grpclib_anyio._base.config import Configuration
from grpclib_anyio.client import Channel
from grpclib_anyio.server import Server, Stream
from grpclib_anyio.testing import (
    ChannelOver,
    memory_pair,
)
from harness.peer import (
    BOTH,
    Call,
    Methods,
    Network,
    Raw,
    ScriptedPeer,
    channel_to,
    completes,
    framed,
)

ONE_SLOT = {SettingCodes.MAX_CONCURRENT_STREAMS: 1}
CANCEL = [ErrorCodes.CANCEL]
STREAM_STREAM = Cardinality.STREAM_STREAM


async def echo(stream: Stream[bytes, bytes]) -> None:
    """Answer each message with itself."""
    async for message in stream:
        await stream.send_message(message)


async def next_request(peer: ScriptedPeer) -> bytes:
    """Wait for a request with its message; the message is the call's name."""
    event = await peer.expect(RequestReceived)
    while not peer.ends(event.stream_id):
        await peer.pump()
    return peer.data(event.stream_id)[5:]


# -- slots --------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_calls_get_slots_in_the_order_in_which_they_came() -> None:
    """One slot; calls b and c wait for it, in this order, while a has it."""
    network = Network(settings=ONE_SLOT)
    async with channel_to(network) as channel, anyio.create_task_group() as tasks:
        for name in (b"a", b"b", b"c"):
            tasks.start_soon(Call(channel, name).run)
            await anyio.wait_all_tasks_blocked()
        assert channel.statistics().waiting_for_slot == 2
        for stream_id, name in ((1, b"a"), (3, b"b"), (5, b"c")):
            assert await next_request(network.peer) == name
            await network.peer.settle()
            assert channel.statistics().streams == 1
            await network.peer.respond(stream_id, end=True)


@pytest.mark.anyio
async def test_cancelled_waiter_gives_up_its_place() -> None:
    """Of b and c, which wait, b is cancelled; c is next."""
    network = Network(settings=ONE_SLOT)
    async with channel_to(network) as channel, anyio.create_task_group() as tasks:
        calls = [Call(channel, name) for name in (b"a", b"b", b"c")]
        for call in calls:
            tasks.start_soon(call.run)
            await anyio.wait_all_tasks_blocked()
        calls[1].scope.cancel()
        await anyio.wait_all_tasks_blocked()
        assert channel.statistics().waiting_for_slot == 1
        assert await next_request(network.peer) == b"a"
        await network.peer.respond(1, end=True)
        assert await next_request(network.peer) == b"c"
        await network.peer.respond(3, end=True)


@pytest.mark.trio
@pytest.mark.parametrize("cancel_first", [True, False])
async def test_waiter_cancelled_as_it_is_admitted_passes_the_turn_on(
    cancel_first: bool,  # noqa: FBT001 - pytest's
) -> None:
    """The slot is freed and its next owner cancelled in one step of the scheduler."""
    network = Network(settings=ONE_SLOT)
    async with channel_to(network) as channel, anyio.create_task_group() as tasks:
        calls = [Call(channel, name) for name in (b"a", b"b", b"c")]
        for call in calls:
            tasks.start_soon(call.run)
            await anyio.wait_all_tasks_blocked()
        (connection,) = channel._connector.connections  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - to free the slot in place
        held = connection.streams.get(1)
        assert held is not None
        if cancel_first:
            calls[1].scope.cancel()
        held.release()
        if not cancel_first:
            calls[1].scope.cancel()
        calls[0].scope.cancel()
        peer = network.peer
        await peer.settle()
        assert peer.resets(1) == CANCEL
        last = max(frame.stream_id for frame in peer.frames)
        assert peer.data(last) == framed(b"c")
        await peer.respond(last, end=True)
        await anyio.wait_all_tasks_blocked()
        assert [call.is_cancelled for call in calls] == [True, True, False]
        assert calls[2].error is None


@pytest.mark.anyio
async def test_limit_raised_by_settings_admits() -> None:
    """No slot at all at first, then two for three calls."""
    network = Network(settings={SettingCodes.MAX_CONCURRENT_STREAMS: 0})
    async with channel_to(network) as channel, anyio.create_task_group() as tasks:
        for name in (b"a", b"b", b"c"):
            tasks.start_soon(Call(channel, name).run)
            await anyio.wait_all_tasks_blocked()
        peer = network.peer
        await peer.settle()
        assert channel.statistics().waiting_for_slot == 3
        peer.h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 2})
        await peer.settle()
        assert (channel.statistics().streams, channel.statistics().waiting_for_slot) == (2, 1)
        assert {await next_request(peer), await next_request(peer)} == {b"a", b"b"}
        await peer.respond(1, end=True)
        assert await next_request(peer) == b"c"
        await peer.respond(3, end=True)
        await peer.respond(5, end=True)


@pytest.mark.anyio
async def test_slot_of_a_reset_call_is_free_at_once() -> None:
    """A is cancelled while b waits."""
    network = Network(settings=ONE_SLOT)
    async with channel_to(network) as channel, anyio.create_task_group() as tasks:
        calls = [Call(channel, name) for name in (b"a", b"b")]
        for call in calls:
            tasks.start_soon(call.run)
            await anyio.wait_all_tasks_blocked()
        calls[0].scope.cancel()
        assert await next_request(network.peer) == b"a"
        assert await next_request(network.peer) == b"b"
        await network.peer.respond(3, end=True)


@pytest.mark.anyio
async def test_slot_of_a_call_that_is_cancelled_and_left_is_given_back_once() -> None:
    """A is cancelled by its user and then left: of b and c, one is admitted."""
    network = Network(settings=ONE_SLOT)
    async with channel_to(network) as channel, anyio.create_task_group() as tasks:
        async with Call(channel).open() as stream:
            await stream.send_message(b"a")
            assert await next_request(network.peer) == b"a"
            await stream.cancel()
        for name in (b"b", b"c"):
            tasks.start_soon(Call(channel, name).run)
            await anyio.wait_all_tasks_blocked()
        assert (channel.statistics().streams, channel.statistics().waiting_for_slot) == (1, 1)
        for stream_id, name in ((3, b"b"), (5, b"c")):
            assert await next_request(network.peer) == name
            await network.peer.respond(stream_id, end=True)


@pytest.mark.trio
async def test_deadline_while_waiting_for_a_slot(autojump_clock: MockClock) -> None:
    """The slot is never free."""
    del autojump_clock
    network = Network(settings={SettingCodes.MAX_CONCURRENT_STREAMS: 0})
    async with channel_to(network) as channel:
        call = Call(channel, timeout=3)
        start = anyio.current_time()
        await call.run()
        assert (call.status, anyio.current_time()) == (Status.DEADLINE_EXCEEDED, start + 3)


@pytest.mark.anyio
async def test_waiters_go_to_the_next_connection() -> None:
    """The connection says GOAWAY while b waits for the slot that a has."""
    network = Network(settings=ONE_SLOT)
    async with channel_to(network) as channel, anyio.create_task_group() as tasks:
        for name in (b"a", b"b"):
            tasks.start_soon(Call(channel, name).run)
            await anyio.wait_all_tasks_blocked()
        first, _ = await network.accept()
        await first.send_frames(GoAwayFrame(last_stream_id=1))
        await anyio.wait_all_tasks_blocked()
        assert len(network.peers) == 2
        assert await next_request(network.peer) == b"b"
        await network.peer.respond(1, end=True)
        await first.respond(1, end=True)


@pytest.mark.anyio
async def test_waiters_go_to_the_next_connection_after_a_loss() -> None:
    """The connection breaks: a, which had been sent, fails; b, which had not, goes elsewhere."""
    network = Network(settings=ONE_SLOT)
    async with channel_to(network) as channel, anyio.create_task_group() as tasks:
        calls = [Call(channel, name) for name in (b"a", b"b")]
        for call in calls:
            tasks.start_soon(call.run)
            await anyio.wait_all_tasks_blocked()
        network.peer.stream.reset()
        await anyio.wait_all_tasks_blocked()
        assert calls[0].status is Status.UNAVAILABLE
        assert await next_request(network.peer) == b"b"
        await network.peer.respond(1, end=True)


# -- GOAWAY -------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_goaway_lets_calls_finish_and_the_next_one_goes_elsewhere() -> None:
    """Streams 1 and 3 are open; GOAWAY says that 3 was not processed: it goes elsewhere, too."""
    network = Network()
    async with channel_to(network) as channel, anyio.create_task_group() as tasks:
        kept, again, later = (Call(channel, name) for name in (b"kept", b"again", b"later"))
        for call in (kept, again):
            tasks.start_soon(call.run)
            await anyio.wait_all_tasks_blocked()
        first, _ = await network.accept()
        await first.settle()
        await first.respond(1, b"one")
        await first.send_frames(GoAwayFrame(last_stream_id=1, additional_data=b"bye"))
        await anyio.wait_all_tasks_blocked()
        second, stream_id = await network.accept()
        assert second is not first
        await second.respond(stream_id, b"after all", end=True)
        tasks.start_soon(later.run)
        same, stream_id = await network.accept()
        assert same is second
        await second.respond(stream_id, b"other", end=True)
        assert not network.streams[0].statistics().is_closed
        first.queue_messages(1, b"two")
        first.queue_trailers(1)
        await first.read_to_end()
        assert network.streams[0].statistics().is_closed
    assert (kept.received, kept.error) == ([b"one", b"two"], None)
    assert (again.received, again.error) == ([b"after all"], None)
    assert (later.received, later.error) == ([b"other"], None)


@pytest.mark.anyio
async def test_goaway_in_two_steps() -> None:
    """First with the highest number, as a graceful server does, then with the last one it took."""
    network = Network()
    async with channel_to(network) as channel, anyio.create_task_group() as tasks:
        call = Call(channel)
        tasks.start_soon(call.run)
        peer, stream_id = await network.accept()
        await peer.send_frames(GoAwayFrame(last_stream_id=2**31 - 1))
        await peer.settle()
        await peer.send_frames(GoAwayFrame(last_stream_id=stream_id))
        await peer.respond(stream_id, b"one", end=True)
        await peer.read_to_end()
    assert (call.received, call.error) == ([b"one"], None)


@pytest.mark.anyio
async def test_goaway_on_an_idle_connection_closes_it() -> None:
    """No call is open; the next one connects again."""
    network = Network()
    async with channel_to(network) as channel:
        await completes(network, channel)
        await network.peer.send_frames(GoAwayFrame(last_stream_id=1))
        await network.peer.read_to_end()
        assert network.streams[0].statistics().is_closed
        call = Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            peer, stream_id = await network.accept()
            await peer.respond(stream_id, end=True)
        assert (call.error, len(network.peers)) == (None, 2)


@pytest.mark.anyio
async def test_channel_close_resets_calls_and_connects_again() -> None:
    """`channel.close()` within `async with`."""
    network = Network()
    async with channel_to(network) as channel:
        call = Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            peer, stream_id = await network.accept()
            channel.close()
            await peer.read_to_end()
        assert call.status is Status.UNAVAILABLE
        assert peer.resets(stream_id) == CANCEL
        assert peer.goaways() == [(ErrorCodes.NO_ERROR, b"")]
        second = Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(second.run)
            peer, stream_id = await network.accept()
            await peer.respond(stream_id, end=True)
        assert (second.error, len(network.peers)) == (None, 2)


# -- loss ---------------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize(
    "preface",
    [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"\x00" * 100, b"PRI * "],
    ids=["http1", "tls", "zeros", "half"],
)
async def test_server_and_a_client_of_another_kind(preface: bytes) -> None:
    """Something else than HTTP/2 connects, and then its end of the connection is closed."""
    near, far = memory_pair()
    server = Server([Methods(stream=echo)], codec=Raw())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve_connection, near)
        await far.send(preface)
        await anyio.wait_all_tasks_blocked()
        await far.aclose()
    assert near.statistics().is_closed


def _unknown(stream_id: int) -> Frame:
    frame = ExtensionFrame(0xBE, stream_id, body=b"grease")
    frame.body_len = len(frame.body)
    return frame


@pytest.mark.anyio
@pytest.mark.parametrize(
    "frames",
    [
        [_unknown(stream_id=1)],
        [_unknown(stream_id=0)],
        [DataFrame(1, b"") for _ in range(50)],
        [SettingsFrame(settings={0x9999: 1})],
        [PingFrame(0, b"12345678")],
    ],
    ids=["extension-on-a-stream", "extension", "empty-data", "unknown-setting", "ping"],
)
async def test_frames_that_are_odd_but_allowed(frames: list[Frame]) -> None:
    """In the middle of a response that then goes on."""
    network = Network()
    async with channel_to(network) as channel:
        call = Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            peer, stream_id = await network.accept()
            await peer.respond(stream_id, b"one")
            await peer.send_frames(*frames)
            await peer.settle()
            peer.queue_messages(stream_id, b"two")
            peer.queue_trailers(stream_id)
            await peer.flush()
        assert call.received == [b"one", b"two"]


@pytest.mark.anyio
async def test_non_ascii_metadata_is_received() -> None:
    """Bytes above 127 in a header, which RFC 9110 calls opaque."""
    network = Network()
    async with channel_to(network) as channel, anyio.create_task_group() as tasks:

        async def call() -> None:
            async with Call(channel).open() as stream:
                await stream.send_message(b"request")
                await stream.recv_initial_metadata()
                assert stream.initial_metadata is not None
                assert stream.initial_metadata["key"] == "\xe9"

        tasks.start_soon(call)
        peer, stream_id = await network.accept()
        headers = [(b":status", b"200"), (b"content-type", b"application/grpc"), (b"key", b"\xe9")]
        peer.h2.send_headers(stream_id, headers)
        peer.queue_trailers(stream_id)
        await peer.flush()


# -- connecting ---------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_refused_connection_names_the_target() -> None:
    """Nobody listens on the port."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)
    await listener.aclose()
    async with Channel("127.0.0.1", port, codec=Raw()) as channel:
        for _ in range(2):
            call = Call(channel)
            await call.run()
            assert call.error is not None
            assert call.status is Status.UNAVAILABLE
            assert f"127.0.0.1:{port}" in str(call.error.message)


@pytest.mark.anyio
async def test_missing_unix_socket_names_the_target(tmp_path: Path) -> None:
    """No such path, and one that is too long for a socket."""
    for path in (str(tmp_path / "none"), str(tmp_path / ("x" * 200))):
        async with Channel(path=path, codec=Raw()) as channel:
            call = Call(channel)
            await call.run()
            assert call.error is not None
            assert call.status is Status.UNAVAILABLE
            assert path in str(call.error.message)


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["a..b", "x" * 70 + ".invalid"])
async def test_impossible_host_name(host: str) -> None:
    """A name that cannot even be encoded for DNS."""
    async with Channel(host, 1, codec=Raw()) as channel:
        call = Call(channel)
        await call.run()
        assert call.status is Status.UNAVAILABLE


@pytest.mark.anyio
async def test_tls_handshake_with_a_peer_that_hangs_up() -> None:
    """The peer closes the connection when it sees the ClientHello."""

    async def hang_up(stream: ByteStream) -> None:
        async with stream:
            await stream.receive()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, hang_up)
        async with Channel("127.0.0.1", port, ssl=True, codec=Raw()) as channel:
            call = Call(channel)
            await call.run()
            assert call.status is Status.UNAVAILABLE
        tasks.cancel_scope.cancel()


@pytest.mark.trio
async def test_attempt_is_shared_and_a_cancelled_waiter_leaves_it_to_the_others(
    autojump_clock: MockClock,
) -> None:
    """Two calls wait 5 s for one connection; the one that began it is cancelled."""
    del autojump_clock
    network = Network(before_connect=lambda: anyio.sleep(5))
    start = anyio.current_time()
    async with channel_to(network) as channel, anyio.create_task_group() as tasks:
        calls = [Call(channel), Call(channel)]
        for call in calls:
            tasks.start_soon(call.run)
        await anyio.sleep(1)
        calls[0].scope.cancel()
        await anyio.sleep(4)
        peer, stream_id = await network.accept()
        assert anyio.current_time() == start + 5
        assert stream_id == 1
        await peer.respond(stream_id, b"one", end=True)
        await anyio.wait_all_tasks_blocked()
        assert calls[0].is_cancelled
        assert calls[1].received == [b"one"]
    assert len(network.peers) == 1


@pytest.mark.trio
async def test_peer_that_accepts_and_says_nothing(autojump_clock: MockClock) -> None:
    """No SETTINGS: UNAVAILABLE at exactly connect_timeout, for all who wait."""
    del autojump_clock
    network = Network(speaks=False)
    start = anyio.current_time()
    async with channel_to(network, Configuration(connect_timeout=7)) as channel:
        calls = [Call(channel), Call(channel)]
        async with anyio.create_task_group() as tasks:
            for call in calls:
                tasks.start_soon(call.run)
        assert anyio.current_time() == start + 7
        for call in calls:
            assert call.error is not None
            assert call.status is Status.UNAVAILABLE
            assert "memory:50051" in str(call.error.message)
    assert len(network.peers) == 1


@pytest.mark.trio
async def test_connecting_that_takes_too_long(autojump_clock: MockClock) -> None:
    """The socket is not even open at connect_timeout."""
    del autojump_clock
    network = Network(before_connect=lambda: anyio.sleep(1000))
    start = anyio.current_time()
    async with channel_to(network, Configuration(connect_timeout=7)) as channel:
        call = Call(channel)
        await call.run()
        assert (call.status, anyio.current_time()) == (Status.UNAVAILABLE, start + 7)


@pytest.mark.trio
@pytest.mark.parametrize("speaks", [True, False])
async def test_leaving_the_channel_while_it_connects(
    autojump_clock: MockClock,
    speaks: bool,  # noqa: FBT001 - pytest's
) -> None:
    """Cancelled around the channel before the socket is open, or before SETTINGS came."""
    del autojump_clock
    network = Network(speaks=False, before_connect=(lambda: anyio.sleep(1000)) if speaks else None)
    start = anyio.current_time()
    with anyio.CancelScope() as scope:
        async with channel_to(network) as channel, anyio.create_task_group() as tasks:
            tasks.start_soon(Call(channel).run)
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
    assert anyio.current_time() == start
    assert all(stream.statistics().is_closed for stream in network.streams)


@pytest.mark.anyio
async def test_failed_attempt_is_followed_by_another() -> None:
    """The server is down, then up; no pause is configured between attempts."""
    failures = [ConnectionRefusedError("down"), ConnectionRefusedError("down")]

    async def refuse() -> None:  # noqa: ASYNC124 - Network awaits it
        if failures:
            raise failures.pop()

    network = Network(before_connect=refuse)
    async with channel_to(network, Configuration(initial_backoff=0)) as channel:
        for _ in range(2):
            call = Call(channel)
            await call.run()
            assert call.error is not None
            assert call.error.message == "Cannot connect to memory:50051: down"
        await completes(network, channel)


# -- writes -------------------------------------------------------------------------------------


@pytest.mark.trio
async def test_stream_of_small_writes_is_parsed_byte_by_byte() -> None:
    """Every read and every write is of one byte."""
    near, far = memory_pair(buffer_size=1)
    server = Server([Methods(both=echo)], codec=Raw())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve_connection, near)

        async def connect() -> ByteStream:  # noqa: ASYNC124 - ChannelOver awaits it
            return far

        async with ChannelOver(connect, codec=Raw()) as channel:
            call = Call(channel, b"one", b"", b"three", path=BOTH, cardinality=STREAM_STREAM)
            await call.run()
    assert call.received == [b"one", b"", b"three"]


@pytest.mark.anyio
async def test_peer_that_sends_pings_and_does_not_read_is_dropped() -> None:
    """Answers to pings pile up past max_write_buffer_size."""
    config = Configuration(max_write_buffer_size=100_000)
    near, far = memory_pair()
    server = Server([Methods(both=echo)], codec=Raw(), config=config)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve_connection, near)
        peer = ScriptedPeer(far, client_side=True)
        await peer.start()
        flood = b"".join(PingFrame(0, b"12345678").serialize() for _ in range(1_000))
        flood += SettingsFrame(0).serialize() * 1_000
        with suppress(anyio.BrokenResourceError):
            for _ in range(100):
                await far.send(flood)
    assert near.statistics().is_closed


# -- stream numbers -----------------------------------------------------------------------------

LAST_STREAM_ID = 2**31 - 1


def use_up(channel: Channel, *, left: int) -> None:
    """Have a connection that has numbers for ``left`` more streams."""
    (connection,) = channel._connector.connections  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - 2**30 calls take days
    connection._h2.highest_outbound_stream_id = LAST_STREAM_ID - 2 * left  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - as before


async def make_call(network: Network, channel: Channel) -> tuple[int, int]:
    """Make a call that succeeds; return which connection it was on, and its stream's number."""
    call = Call(channel)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call.run)
        peer, stream_id = await network.accept()
        await peer.respond(stream_id, b"one", end=True)
    assert (call.received, call.error) == ([b"one"], None)
    return len(network.peers), stream_id


@pytest.mark.anyio
async def test_call_after_the_last_stream_number_is_made_on_a_new_connection() -> None:
    """Unseen by the caller; the old connection is closed in order."""
    network = Network()
    async with channel_to(network) as channel:
        assert await make_call(network, channel) == (1, 1)
        use_up(channel, left=2)
        assert await make_call(network, channel) == (1, LAST_STREAM_ID - 2)
        assert await make_call(network, channel) == (1, LAST_STREAM_ID)
        assert await make_call(network, channel) == (2, 1)
        await network.peers[0].read_to_end()
        assert network.peers[0].goaways() == [(ErrorCodes.NO_ERROR, b"")]
        assert await make_call(network, channel) == (2, 3)


@pytest.mark.anyio
async def test_calls_go_on_when_the_stream_numbers_are_used_up() -> None:
    """The call that has the last one ends as if nothing had happened."""
    network = Network()
    async with channel_to(network) as channel:
        await make_call(network, channel)
        use_up(channel, left=1)
        last = Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(last.run)
            peer, stream_id = await network.accept()
            assert stream_id == LAST_STREAM_ID
            assert await make_call(network, channel) == (2, 1)
            await peer.respond(stream_id, b"last", end=True)
        assert (last.received, last.error) == ([b"last"], None)


@pytest.mark.anyio
async def test_caller_that_waits_for_a_slot_when_the_stream_numbers_are_used_up() -> None:
    """It goes to the new connection as soon as it has its turn."""
    network = Network(settings={SettingCodes.MAX_CONCURRENT_STREAMS: 1})
    async with channel_to(network) as channel:
        await make_call(network, channel)
        use_up(channel, left=1)
        calls = [Call(channel) for _ in range(2)]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(calls[0].run)
            peer, stream_id = await network.accept()
            tasks.start_soon(calls[1].run)
            await anyio.wait_all_tasks_blocked()
            await peer.respond(stream_id, b"one", end=True)
            peer, stream_id = await network.accept()
            assert (len(network.peers), stream_id) == (2, 1)
            await peer.respond(stream_id, b"two", end=True)
        assert [call.received for call in calls] == [[b"one"], [b"two"]]
