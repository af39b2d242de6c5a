"""Windows in both directions: arithmetic, back-pressure, and one stream beside another."""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a task group may swallow what its body raises; a test would have failed.

import anyio
import pytest
from grpclib.const import Cardinality
from h2.events import DataReceived
from h2.settings import SettingCodes
from hyperframe.frame import DataFrame, SettingsFrame, WindowUpdateFrame
from hypothesis import given, settings
from hypothesis import strategies as st

from grpclib_anyio._base.config import Configuration
from grpclib_anyio._stream.flow_control import ReceiveWindow
from grpclib_anyio.server import Stream
from harness.peer import (
    BOTH,
    NOTHING,
    STREAM,
    Call,
    Network,
    channel_to,
    completes,
    framed,
    served,
)

KIB = 1024
WINDOW = 65_535
STREAM_STREAM = Cardinality.STREAM_STREAM

# -- arithmetic ---------------------------------------------------------------------------------


@given(st.integers(1, 200_000), st.lists(st.integers(0, 70_000)))
def test_every_byte_is_credited_once(size: int, parts: list[int]) -> None:
    window = ReceiveWindow(size)
    credited = sum(map(window.credit, parts))
    assert credited + window.owed == sum(parts)


@given(st.integers(1, 200_000), st.lists(st.integers(0, 70_000)))
def test_no_more_than_half_of_the_window_is_owed(size: int, parts: list[int]) -> None:
    window = ReceiveWindow(size)
    for part in parts:
        window.credit(part)
        assert window.owed <= size // 2


@given(st.integers(1, 200_000), st.lists(st.integers(0, 70_000)))
def test_credit_comes_in_parts_worth_a_frame(size: int, parts: list[int]) -> None:
    window = ReceiveWindow(size)
    assert all(credit == 0 or 2 * credit >= size for credit in map(window.credit, parts))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 20_000), st.integers(0, 255)), max_size=40)
)
def test_both_ends_agree_on_the_windows(frames: list[tuple[int, int, int]]) -> None:
    """Padded DATA on three streams; in the end the peer's windows hold all but what is owed."""
    anyio.run(_padded_data_is_credited, frames, backend="trio")


async def _padded_data_is_credited(frames: list[tuple[int, int, int]]) -> None:
    network = Network()
    config = Configuration(http2_connection_window_size=WINDOW)
    async with channel_to(network, config) as channel, anyio.create_task_group() as tasks:
        calls = [Call(channel) for _ in range(3)]
        for call in calls:
            tasks.start_soon(call.run)
        peer, _ = await network.accept()
        await peer.settle()
        for stream_id in (1, 3, 5):
            peer.queue_headers(stream_id)
        for number, size, padding in frames:
            stream_id = 1 + 2 * number
            data = framed(b"x" * max(0, min(size, 16_000)))
            peer.h2.send_data(stream_id, data, pad_length=padding)
            await peer.settle()
        for stream_id in (1, 3, 5):
            assert WINDOW // 2 <= peer.h2.local_flow_control_window(stream_id) <= WINDOW
            peer.queue_trailers(stream_id)
        await peer.flush()
    assert WINDOW // 2 <= peer.h2.outbound_flow_control_window <= WINDOW
    received = sum(len(call.received) for call in calls)
    assert received == len(frames)


# -- receiving ----------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_message_larger_than_the_window_arrives() -> None:
    """1 MiB through windows of 64 KiB: the bytes of half a message are credited too."""
    network = Network()
    config = Configuration(http2_connection_window_size=WINDOW)
    async with channel_to(network, config) as channel:
        call = Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            peer, stream_id = await network.accept()
            peer.queue_headers(stream_id)
            await peer.send_all(stream_id, framed(b"x" * KIB * KIB, b"next"))
            peer.queue_trailers(stream_id)
            await peer.flush()
        assert call.received == [b"x" * KIB * KIB, b"next"]
        await completes(network, channel)


@pytest.mark.anyio
async def test_large_message_and_the_end_in_one_read() -> None:
    """h2 closes the stream before the message is credited: no WINDOW_UPDATE for a closed stream."""
    network = Network()
    async with channel_to(network) as channel:
        call = Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            peer, stream_id = await network.accept()
            peer.queue_headers(stream_id)
            peer.queue_data(stream_id, framed(b"x" * 60_000))
            peer.queue_trailers(stream_id)
            await peer.flush()
        assert call.received == [b"x" * 60_000]
        await completes(network, channel)


@pytest.mark.anyio
async def test_large_message_and_a_reset_in_one_read() -> None:
    """As before, with RST_STREAM in the place of the trailers."""
    network = Network()
    async with channel_to(network) as channel:
        call = Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            peer, stream_id = await network.accept()
            peer.queue_headers(stream_id)
            peer.queue_data(stream_id, framed(b"x" * 100_000)[:60_000])
            peer.h2.reset_stream(stream_id, 2)
            await peer.flush()
        assert call.received == []
        await completes(network, channel)


@pytest.mark.anyio
async def test_stalled_consumers_stop_only_their_own_senders() -> None:
    """Eight calls with full windows of 64 KiB, which nobody reads, beside one that is read."""
    network = Network()
    config = Configuration(http2_connection_window_size=4 * WINDOW)
    async with channel_to(network, config) as channel, anyio.create_task_group() as tasks:
        calls = [Call(channel, reads=False) for _ in range(8)]
        for call in calls:
            tasks.start_soon(call.run)
        for _ in calls:
            peer, _ = await network.accept()
        for stream_id in range(1, 16, 2):
            peer.queue_headers(stream_id)
            peer.queue_data(stream_id, framed(b"x" * (WINDOW - 5)))
            await peer.settle()
            assert peer.h2.local_flow_control_window(stream_id) == 0
        await completes(network, channel)
        assert peer.h2.outbound_flow_control_window >= 2 * WINDOW
        tasks.cancel_scope.cancel()
    assert all(not call.received for call in calls)


@pytest.mark.trio
async def test_padding_is_credited_although_nobody_reads() -> None:
    """More padding than the window holds, around a message that comes one byte at a time."""
    network = Network()
    gate = anyio.Event()
    message = framed(b"x" * 600)
    received: list[bytes | None] = []

    async def read_later() -> None:
        async with Call(channel).open() as stream:
            await stream.send_message(b"request")
            await gate.wait()
            received.extend([await stream.recv_message(), await stream.recv_message()])

    async with channel_to(network) as channel, anyio.create_task_group() as tasks:
        tasks.start_soon(read_later)
        peer, stream_id = await network.accept()
        peer.queue_headers(stream_id)
        for byte in message:
            await peer.settle()
            peer.h2.send_data(stream_id, bytes([byte]), pad_length=255)
        await peer.settle()
        gate.set()
        peer.queue_trailers(stream_id)
        await peer.flush()
    assert received == [b"x" * 600, None]


@pytest.mark.anyio
async def test_data_on_finished_and_on_reset_streams_leaves_the_connection_window() -> None:
    """Half of the connection's window is lost on streams that we reset, half arrives on others."""
    network = Network()
    config = Configuration(http2_connection_window_size=WINDOW)
    async with channel_to(network, config) as channel:
        for round_number in range(20):
            call = Call(channel, reads=round_number % 2 == 0)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call.run)
                peer, stream_id = await network.accept()
                peer.queue_headers(stream_id)
                await peer.settle()
                if round_number % 2:
                    call.scope.cancel()
                await peer.send_all(stream_id, framed(b"x" * 25_000))
                if not round_number % 2:
                    peer.queue_trailers(stream_id)
                await peer.settle()
        await completes(network, channel)
        assert peer.h2.outbound_flow_control_window >= WINDOW // 2


# -- sending ------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_large_request_waits_for_the_window_and_arrives() -> None:
    """1 MiB to a peer with windows of 64 KiB."""
    network = Network()
    message = b"x" * KIB * KIB
    async with channel_to(network) as channel:
        call = Call(channel, message, b"next", path=BOTH, cardinality=STREAM_STREAM)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            peer, stream_id = await network.accept()
            while not peer.ends(stream_id):
                await peer.pump()
            await peer.respond(stream_id, b"ok", end=True)
        assert call.received == [b"ok"]
    assert peer.data(stream_id) == framed(message, b"next")


async def count(stream: Stream[bytes, bytes]) -> None:
    """Answer with many small messages and one that is larger than any window."""
    await stream.recv_message()
    for number in range(1_000):
        await stream.send_message(str(number).encode())
    await stream.send_message(b"x" * 300 * KIB)


@pytest.mark.anyio
async def test_large_response_waits_for_the_window_and_arrives() -> None:
    """The handler has returned long before the last of it is sent."""
    async with served(stream=count) as peer:
        stream_id = await peer.request(STREAM, b"request")
        while not peer.ends(stream_id):
            await peer.pump()
        small = [str(number).encode() for number in range(1_000)]
        assert peer.data(stream_id) == framed(*small, b"x" * 300 * KIB)


@pytest.mark.anyio
async def test_full_outbox_makes_send_wait() -> None:
    """The peer opens no window: 64 KiB on the wire, 64 KiB in the outbox, and no more."""
    sent: list[int] = []

    async def handler(stream: Stream[bytes, bytes]) -> None:
        await stream.recv_message()
        for number in range(100):
            await stream.send_message(b"x" * 8 * KIB)
            sent.append(number)

    async with served(stream=handler, reads=False) as peer:
        stream_id = await peer.request(STREAM, b"request")
        await peer.settle()
        assert len(peer.data(stream_id)) == WINDOW
        stopped_at = len(sent)
        assert 16 <= stopped_at <= 17
        # One message's worth of window makes room for one more.
        peer.h2.increment_flow_control_window(100 * 8 * KIB + 5 * 100, stream_id)
        peer.h2.increment_flow_control_window(100 * 8 * KIB + 5 * 100)
        await peer.settle()
        assert len(sent) == 100
        assert peer.data(stream_id) == framed(*[b"x" * 8 * KIB] * 100)


@pytest.mark.anyio
async def test_those_who_wait_for_the_connections_window_go_on_in_their_order() -> None:
    """The first answer takes all of it; eight others wait for more."""
    async with served(stream=answer_of_size, reads=False) as peer:
        await peer.request(STREAM, str(WINDOW - len(framed(b""))).encode())
        await peer.settle()
        waiting: list[int] = []
        for _ in range(8):
            waiting.append(await peer.request(STREAM, b"10"))
            await peer.settle()
        assert not any(peer.data(stream_id) for stream_id in waiting)
        peer.h2.increment_flow_control_window(WINDOW)
        await peer.settle()
        order = [frame.stream_id for frame in peer.frames if isinstance(frame, DataFrame)]
        assert order[-len(waiting) :] == waiting


async def answer_of_size(stream: Stream[bytes, bytes]) -> None:
    """Send as many bytes as it is asked for."""
    await stream.send_message(b"x" * int(await stream.recv_message() or b""))


@pytest.mark.anyio
async def test_sender_cancelled_while_it_waits_leaves_no_part_of_its_message() -> None:
    """The second message waits for room, is given up, and a third one follows."""
    network = Network(reads=False)
    async with channel_to(network) as channel, anyio.create_task_group() as tasks:
        first = b"x" * 3 * WINDOW

        async def send() -> None:
            async with Call(channel, path=BOTH, cardinality=STREAM_STREAM).open() as stream:
                await stream.send_message(first)
                with anyio.CancelScope() as scope:
                    tasks.start_soon(cancel_when_blocked, scope)
                    await stream.send_message(b"given up")
                assert scope.cancelled_caught
                await stream.send_message(b"third")
                await stream.end()

        async def cancel_when_blocked(scope: anyio.CancelScope) -> None:
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
            peer = network.peer
            await peer.settle()
            peer.reads = True
            for stream_id in (None, 1):
                peer.h2.increment_flow_control_window(WINDOW, stream_id)
            while not peer.ends(1):
                await peer.pump()
            await peer.respond(1, end=True)

        await send()
    assert network.peer.data(1) == framed(first, b"third")


@pytest.mark.anyio
async def test_large_message_does_not_delay_a_small_one() -> None:
    """1 MiB on one stream; a small message on another goes out after one more frame of it."""
    small = anyio.Event()

    async def large(stream: Stream[bytes, bytes]) -> None:
        await stream.recv_message()
        await stream.send_message(b"x" * KIB * KIB)

    async def little(stream: Stream[bytes, bytes]) -> None:
        await stream.recv_message()
        await small.wait()
        await stream.send_message(b"small")

    async with served(stream=large, both=little) as peer:
        for stream_id in (None,):
            peer.h2.increment_flow_control_window(4 * KIB * KIB, stream_id)
        big = await peer.request(STREAM, b"request")
        peer.h2.increment_flow_control_window(4 * KIB * KIB, big)
        await peer.flush()
        other = await peer.request(BOTH, b"request")
        # The wire is full now: the writer waits for us to read.
        await anyio.wait_all_tasks_blocked()
        small.set()
        await anyio.wait_all_tasks_blocked()
        before = peer.stream.statistics().unread_bytes
        while not peer.ends(other):
            await peer.pump()
        position = next(i for i, f in enumerate(peer.frames) if f.stream_id == other)
        ahead = sum(f.body_len for f in peer.frames[:position] if isinstance(f, DataFrame))
        # What was written already, the frame that the writer held, and one frame.
        assert ahead <= before + 2 * 16_384
        while not peer.ends(big):
            await peer.pump()


@pytest.mark.anyio
async def test_end_of_a_stream_whose_window_is_negative() -> None:
    """The peer shrinks its windows below what is under way; then the request ends."""
    network = Network(reads=False)
    go = anyio.Event()
    async with channel_to(network) as channel, anyio.create_task_group() as tasks:

        async def send() -> None:
            async with Call(channel, path=BOTH, cardinality=STREAM_STREAM).open() as stream:
                await stream.send_message(b"x" * 50_000)
                await go.wait()
                await stream.end()
                assert await stream.recv_message() is None

        tasks.start_soon(send)
        peer, stream_id = await network.accept()
        await peer.settle()
        # Past h2, which allows its own user no negative window.
        shrink = SettingsFrame(settings={SettingCodes.INITIAL_WINDOW_SIZE: 1_000})
        await peer.send_frames(shrink)
        await peer.settle()
        go.set()
        await peer.settle()
        assert not peer.ends(stream_id)
        await peer.send_frames(WindowUpdateFrame(stream_id, window_increment=60_000))
        await peer.settle()
        assert peer.ends(stream_id)
        await peer.respond(stream_id, end=True)


@pytest.mark.anyio
async def test_window_that_a_setting_opens() -> None:
    """INITIAL_WINDOW_SIZE of zero, raised when the request waits for it."""
    network = Network(settings={SettingCodes.INITIAL_WINDOW_SIZE: 0})
    async with channel_to(network) as channel, anyio.create_task_group() as tasks:
        call = Call(channel)
        tasks.start_soon(call.run)
        peer, stream_id = await network.accept()
        await peer.settle()
        assert peer.data(stream_id) == b""
        peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1_000})
        await peer.expect(DataReceived)
        assert peer.data(stream_id) == framed(b"request")
        await peer.respond(stream_id, end=True)


@pytest.mark.anyio
async def test_call_cancelled_while_the_window_is_closed() -> None:
    """Its bytes are dropped, the reset is sent, and other calls go on."""
    network = Network(settings={SettingCodes.INITIAL_WINDOW_SIZE: 0})
    async with channel_to(network) as channel:
        call = Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            peer, stream_id = await network.accept()
            await peer.settle()
            call.scope.cancel()
            await peer.settle()
        assert peer.resets(stream_id) == [8]
        assert channel.statistics() == NOTHING
        peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1_000})
        await completes(network, channel)


@pytest.mark.anyio
async def test_window_overflow_on_a_stream_ends_that_call_or_the_connection() -> None:
    """The peer opens a window past 2^31-1: a flow-control error, told to the caller."""
    network = Network()
    async with channel_to(network) as channel:
        call = Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            peer, stream_id = await network.accept()
            await peer.send_frames(WindowUpdateFrame(stream_id, window_increment=2**31 - 1))
            await peer.settle()
        assert call.error is not None
        next_call = Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(next_call.run)
            peer, stream_id = await network.accept()
            await peer.respond(stream_id, end=True)
        assert next_call.error is None
