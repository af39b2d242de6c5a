"""Calls that the peer did not process, made again unseen; and those that are not."""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a task group may swallow what its body raises; a test would have failed.

from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from grpclib.const import Cardinality, Status
from grpclib.events import RecvInitialMetadata, SendMessage, SendRequest, listen
from h2.errors import ErrorCodes
from h2.events import RequestReceived
from h2.settings import SettingCodes
from hyperframe.frame import GoAwayFrame
from trio.testing import MockClock

from grpclib_anyio._base.config import Configuration
from grpclib_anyio._base.errors import TerminatedError, UnprocessedError
from grpclib_anyio.client import Channel
from grpclib_anyio.testing import ChannelOver
from harness.peer import (
    BOTH,
    NOTHING,
    Call,
    Network,
    Raw,
    ScriptedPeer,
    channel_to,
    completes,
    fields_of,
    framed,
)

KIB = 1024
REFUSED = ErrorCodes.REFUSED_STREAM
STREAM_STREAM = Cardinality.STREAM_STREAM
CANCEL = [ErrorCodes.CANCEL]


async def goaway(peer: ScriptedPeer, last_stream_id: int = 0) -> None:
    """Say that the streams above a number have not been processed and will not be."""
    await peer.send_frames(GoAwayFrame(last_stream_id=last_stream_id, additional_data=b"bye"))


# -- what is made again -------------------------------------------------------------------------


@pytest.mark.anyio
async def test_refused_stream_is_made_again_on_the_same_connection() -> None:
    """The caller sees the second answer and nothing of the first."""
    network = Network()
    async with channel_to(network) as channel:
        call = Call(channel, b"hello")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            peer, first = await network.accept()
            await peer.reset(first, REFUSED)
            peer, second = await network.accept()
            await peer.settle()
            assert (peer.data(second), peer.ends(second)) == (framed(b"hello"), True)
            await peer.respond(second, b"one", end=True)
        assert (call.received, call.error) == ([b"one"], None)
        assert (first, second, len(network.peers)) == (1, 3, 1)
        assert peer.resets(first) == []
        await completes(network, channel)


@pytest.mark.anyio
async def test_stream_above_the_last_of_a_goaway_is_made_again_on_the_next_connection() -> None:
    """The old connection closes as soon as the call has let go of it."""
    network = Network()
    async with channel_to(network) as channel:
        call = Call(channel, b"hello")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            first, _ = await network.accept()
            await goaway(first)
            second, stream_id = await network.accept()
            assert second is not first
            await second.settle()
            assert second.data(stream_id) == framed(b"hello")
            await second.respond(stream_id, b"one", end=True)
        assert (call.received, call.error) == ([b"one"], None)
        assert network.streams[0].statistics().is_closed


@pytest.mark.anyio
async def test_second_step_of_a_graceful_goaway() -> None:
    """First everything goes on; then the server says that it has not taken the second call."""
    network = Network()
    async with channel_to(network) as channel:
        taken, late = Call(channel, b"taken"), Call(channel, b"late")
        async with anyio.create_task_group() as tasks:
            for call in (taken, late):
                tasks.start_soon(call.run)
                await anyio.wait_all_tasks_blocked()
            first, _ = await network.accept()
            await goaway(first, 2**31 - 1)
            await anyio.wait_all_tasks_blocked()
            assert len(network.peers) == 1
            await goaway(first, 1)
            second, stream_id = await network.accept()
            await second.respond(stream_id, b"second", end=True)
            await first.respond(1, b"first", end=True)
        assert (taken.received, taken.error) == ([b"first"], None)
        assert (late.received, late.error) == ([b"second"], None)


@pytest.mark.anyio
async def test_headers_that_never_left_a_lost_connection() -> None:
    """The peer reads nothing, so the first call's frames fill the wire and the second's wait."""
    network = Network(buffer_size=1_000)
    async with channel_to(network) as channel:
        sent, unsent = Call(channel, b"x" * 10 * KIB), Call(channel, b"hello")
        async with anyio.create_task_group() as tasks:
            for call in (sent, unsent):
                tasks.start_soon(call.run)
                await anyio.wait_all_tasks_blocked()
            network.peer.stream.reset()
            await anyio.wait_all_tasks_blocked()
            assert sent.status is Status.UNAVAILABLE
            assert not isinstance(sent.error, UnprocessedError)
            peer, stream_id = await network.accept()
            await peer.respond(stream_id, b"one", end=True)
        assert (unsent.received, unsent.error) == ([b"one"], None)


@pytest.mark.anyio
async def test_metadata_goes_again_and_no_attempt_is_counted() -> None:
    """`grpc-previous-rpc-attempts` is for retries that a policy asks for."""
    network = Network()
    headers: list[dict[str, str]] = []
    async with channel_to(network) as channel, anyio.create_task_group() as tasks:

        async def call() -> None:
            metadata: dict[str, str | bytes] = {"key": "value", "key-bin": b"\xff"}
            stream = channel.request(BOTH, STREAM_STREAM, bytes, bytes, metadata=metadata)
            async with stream:
                await stream.send_message(b"hello", end=True)
                assert await stream.recv_message() is None

        tasks.start_soon(call)
        for _ in range(2):
            await anyio.wait_all_tasks_blocked()
            event = await network.peer.expect(RequestReceived)
            headers.append(fields_of(event))
            if event.stream_id == 1:
                await network.peer.reset(event.stream_id, REFUSED)
        await network.peer.respond(3, end=True)
    assert headers[0] == headers[1]
    assert (headers[0]["key"], headers[0]["key-bin"]) == ("value", "/w")
    assert "grpc-previous-rpc-attempts" not in headers[1]


@pytest.mark.anyio
async def test_events_are_dispatched_once() -> None:
    """Listeners of grpclib's events see one call."""
    seen: list[str] = []
    network = Network()

    async def note(event: Any) -> None:
        await checkpoint()
        seen.append(type(event).__name__)

    async with channel_to(network) as channel:
        for kind in (SendRequest, SendMessage, RecvInitialMetadata):
            listen(channel, kind, note)
        call = Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            peer, first = await network.accept()
            await peer.reset(first, REFUSED)
            peer, second = await network.accept()
            await peer.respond(second, b"one", end=True)
    assert seen == ["SendRequest", "SendMessage", "RecvInitialMetadata"]


@pytest.mark.anyio
async def test_streaming_request_is_made_again_and_goes_on() -> None:
    """Two messages were sent before, one is sent after, by a task that does not receive."""
    network = Network()
    async with channel_to(network) as channel, anyio.create_task_group() as tasks:
        call = Call(channel, path=BOTH, cardinality=STREAM_STREAM).open()
        received: list[bytes | None] = []

        async def receive() -> None:
            received.extend([await call.recv_message(), await call.recv_message()])

        async with call:
            await call.send_message(b"one")
            await call.send_message(b"two")
            tasks.start_soon(receive)
            first, _ = await network.accept()
            await goaway(first)
            second, stream_id = await network.accept()
            await call.send_message(b"three")
            await call.end()
            await second.settle()
            assert second.data(stream_id) == framed(b"one", b"two", b"three")
            assert second.ends(stream_id)
            await second.respond(stream_id, b"answer", end=True)
            await anyio.wait_all_tasks_blocked()
            assert received == [b"answer", None]


@pytest.mark.anyio
async def test_sender_that_finds_it_out_makes_the_call_again() -> None:
    """Nobody receives when the next message is sent."""
    network = Network()
    async with channel_to(network) as channel, anyio.create_task_group() as tasks:
        call = Call(channel, path=BOTH, cardinality=STREAM_STREAM).open()
        async with call:
            await call.send_message(b"one")
            peer, first = await network.accept()
            await peer.reset(first, REFUSED)
            await peer.settle()
            await call.send_message(b"two", end=True)
            peer, second = await network.accept()
            await peer.settle()
            assert peer.data(second) == framed(b"one", b"two")
            tasks.start_soon(peer.respond, second, b"answer")
            assert await call.recv_message() == b"answer"
            peer.queue_trailers(second)
            await peer.flush()


@pytest.mark.anyio
async def test_sender_and_receiver_make_it_again_together_once() -> None:
    """One waits for room in the outbox, the other for headers, when the peer goes away."""
    network = Network(settings={SettingCodes.INITIAL_WINDOW_SIZE: 0})
    config = Configuration(max_outbox_size=10)
    async with channel_to(network, config) as channel, anyio.create_task_group() as tasks:
        call = Call(channel, path=BOTH, cardinality=STREAM_STREAM).open()
        async with call:
            await call.send_message(b"x" * 20)
            sent: list[bool] = []

            async def send() -> None:
                await call.send_message(b"more", end=True)
                sent.append(True)

            tasks.start_soon(send)
            tasks.start_soon(call.recv_initial_metadata)
            first, _ = await network.accept()
            assert not sent
            network.settings = None
            await goaway(first)
            second, stream_id = await network.accept()
            await second.settle()
            assert sent
            assert second.data(stream_id) == framed(b"x" * 20, b"more")
            assert second.frames_of(stream_id + 2) == []
            assert len(network.peers) == 2
            await second.respond(stream_id, end=True)
            await anyio.wait_all_tasks_blocked()


@pytest.mark.anyio
async def test_call_that_ended_its_request_ends_it_again() -> None:
    """`end()` between the failure and the new stream, or before both."""
    network = Network()
    async with channel_to(network) as channel:
        for ends_before in (True, False):
            call = Call(channel, path=BOTH, cardinality=STREAM_STREAM).open()
            async with call, anyio.create_task_group() as tasks:
                await call.send_message(b"one")
                if ends_before:
                    await call.end()
                peer, first = await network.accept()
                await peer.reset(first, REFUSED)
                await peer.settle()
                if not ends_before:
                    await call.end()
                tasks.start_soon(call.recv_initial_metadata)
                peer, second = await network.accept()
                await peer.settle()
                assert (peer.data(second), peer.ends(second)) == (framed(b"one"), True)
                await peer.respond(second, end=True)


# -- the deadline and cancellation --------------------------------------------------------------


@pytest.mark.trio
async def test_deadline_stands_and_what_is_left_is_sent(autojump_clock: MockClock) -> None:
    """Of 10 s, 4 pass before the call is refused; it expires 10 s after its beginning."""
    del autojump_clock
    network = Network()
    start = anyio.current_time()
    async with channel_to(network) as channel:
        call = Call(channel, timeout=10)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            peer, first = await network.accept()
            await anyio.sleep(4)
            await peer.reset(first, REFUSED)
            await anyio.wait_all_tasks_blocked()
            event = await peer.expect(RequestReceived)
            assert fields_of(event)["grpc-timeout"] == "6000000u"
        assert (call.status, anyio.current_time()) == (Status.DEADLINE_EXCEEDED, start + 10)
        await peer.settle()
        assert peer.resets(event.stream_id) == CANCEL


@pytest.mark.trio
async def test_deadline_passes_while_the_call_is_made_again(autojump_clock: MockClock) -> None:
    """The next connection takes 100 s."""
    del autojump_clock
    delays = [0.0, 100.0]

    async def connect_slowly() -> None:
        await anyio.sleep(delays.pop(0))

    network = Network(before_connect=connect_slowly)
    start = anyio.current_time()
    async with channel_to(network) as channel:
        call = Call(channel, timeout=3)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            await checkpoint()
            peer, _ = await network.accept()
            await goaway(peer)
        assert (call.status, anyio.current_time()) == (Status.DEADLINE_EXCEEDED, start + 3)


@pytest.mark.trio
async def test_refusal_and_deadline_at_one_instant(mock_clock: MockClock) -> None:
    """Nothing is sent after the deadline."""
    network = Network()
    async with channel_to(network) as channel:
        call = Call(channel, timeout=3)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            peer, first = await network.accept()
            await peer.settle()
            peer.h2.reset_stream(first, REFUSED)
            peer.flush_nowait()
            mock_clock.jump(3)
            await peer.settle()
        assert call.status is Status.DEADLINE_EXCEEDED
        assert peer.frames_of(3) == []


@pytest.mark.trio
async def test_cancelled_while_it_is_made_again(autojump_clock: MockClock) -> None:
    """Nothing is left; the connection that is being made serves the next call."""
    del autojump_clock
    delays = [0.0, 5.0]

    async def connect_slowly() -> None:
        await anyio.sleep(delays.pop(0))

    network = Network(before_connect=connect_slowly)
    async with channel_to(network) as channel:
        call = Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            await checkpoint()
            peer, _ = await network.accept()
            await goaway(peer)
            await anyio.wait_all_tasks_blocked()
            call.scope.cancel()
        assert call.is_cancelled
        assert channel.statistics() == NOTHING
        await anyio.sleep(5)
        again = Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(again.run)
            peer, stream_id = await network.accept()
            assert stream_id == 1
            await peer.respond(stream_id, end=True)
        assert again.error is None


@pytest.mark.trio
@pytest.mark.parametrize("delay", [0, 5])
async def test_call_cancelled_by_its_user_is_not_made_again(
    autojump_clock: MockClock, delay: float
) -> None:
    """`stream.cancel()` right after GOAWAY, and while the next connection is being made."""
    del autojump_clock
    delays = [0.0, 10.0]

    async def connect_slowly() -> None:
        await anyio.sleep(delays.pop(0))

    network = Network(before_connect=connect_slowly)
    async with channel_to(network) as channel, anyio.create_task_group() as tasks:
        async with Call(channel).open() as call:
            await call.send_message(b"one")

            async def cancel() -> None:
                await goaway(network.peer)
                await anyio.sleep(delay)
                await call.cancel()

            tasks.start_soon(cancel)
            start = anyio.current_time()
            with pytest.raises(TerminatedError):
                await call.recv_message()
            assert anyio.current_time() == start + delay
        await anyio.sleep(20)
        assert all(peer.frames_of(1) == [] for peer in network.peers[1:])


@pytest.mark.anyio
async def test_call_that_was_made_again_leaves_no_timer() -> None:
    """It has one from its beginning to its end."""
    network = Network()
    async with channel_to(network) as channel:
        call = Call(channel, timeout=100)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            peer, first = await network.accept()
            await peer.reset(first, REFUSED)
            peer, second = await network.accept()
            assert timers(channel) == 1
            await peer.respond(second, end=True)
        assert call.error is None
        await anyio.wait_all_tasks_blocked()
        assert timers(channel) == 0


def timers(channel: Channel) -> int:
    return len(channel._connector.timers)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - nothing else tells


# -- what is not made again ---------------------------------------------------------------------


@pytest.mark.anyio
async def test_once_is_enough() -> None:
    """Refused, made again, refused."""
    network = Network()
    async with channel_to(network) as channel:
        call = Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            for _ in range(2):
                peer, stream_id = await network.accept()
                await peer.reset(stream_id, REFUSED)
        assert isinstance(call.error, UnprocessedError)
        assert call.status is Status.UNAVAILABLE
        assert call.error.message == "Stream reset by the peer: REFUSED_STREAM"
        await completes(network, channel)


@pytest.mark.anyio
async def test_peers_that_all_go_away_end_it_with_their_reason() -> None:
    """Two servers in a row say GOAWAY."""
    network = Network()
    async with channel_to(network) as channel:
        call = Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            for _ in range(2):
                peer, _ = await network.accept()
                await goaway(peer)
        assert isinstance(call.error, UnprocessedError)
        assert call.error.message == "The peer closed the connection: NO_ERROR (bye)"
    assert len(network.peers) == 2


@pytest.mark.anyio
async def test_stream_that_the_peer_may_have_processed() -> None:
    """The connection is lost, or the stream is reset with another code."""
    network = Network()
    async with channel_to(network) as channel:
        for is_reset in (True, False):
            call = Call(channel)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call.run)
                peer, stream_id = await network.accept()
                if is_reset:
                    await peer.reset(stream_id, ErrorCodes.INTERNAL_ERROR)
                else:
                    await peer.stream.aclose()
            assert call.error is not None
            assert not isinstance(call.error, UnprocessedError)
    assert len(network.peers) == 1


@pytest.mark.anyio
async def test_response_that_has_begun_is_not_begun_again() -> None:
    """A peer that answers, and then claims to have done nothing."""
    network = Network()
    async with channel_to(network) as channel:
        call = Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            peer, stream_id = await network.accept()
            await peer.respond(stream_id, b"one")
            await peer.settle()
            await peer.reset(stream_id, REFUSED)
        assert (call.received, call.status) == ([b"one"], Status.UNAVAILABLE)
        await peer.settle()
        assert peer.frames_of(3) == []


@pytest.mark.anyio
async def test_response_that_nobody_has_looked_at_counts() -> None:
    """Its headers came, nobody received them, and the stream was refused; then a message goes."""
    network = Network()
    async with channel_to(network) as channel:
        async with Call(channel, path=BOTH, cardinality=STREAM_STREAM).open() as call:
            await call.send_message(b"one")
            peer, stream_id = await network.accept()
            await peer.respond(stream_id)
            await peer.reset(stream_id, REFUSED)
            await peer.settle()
            with pytest.raises(UnprocessedError):
                await call.send_message(b"two")
            await call.cancel()
        await peer.settle()
        assert peer.frames_of(3) == []


@pytest.mark.anyio
@pytest.mark.parametrize(("size", "attempts"), [(100, 2), (101, 1)])
async def test_request_too_large_to_be_held(size: int, attempts: int) -> None:
    """What is held is bounded by `max_retry_buffer_size`; past it the call fails."""
    network = Network()
    async with channel_to(network, Configuration(max_retry_buffer_size=100)) as channel:
        call = Call(channel, b"x" * 50, b"x" * (size - 50), path=BOTH, cardinality=STREAM_STREAM)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            for _ in range(attempts):
                peer, stream_id = await network.accept()
                await peer.reset(stream_id, REFUSED)
        assert isinstance(call.error, UnprocessedError)
        await peer.settle()
        assert peer.frames_of(1 + 2 * attempts) == []


@pytest.mark.anyio
async def test_closing_the_channel_is_no_reason_to_make_a_call_again() -> None:
    """`channel.close()` when the call's headers have not left, as the peer does not read."""
    network = Network(buffer_size=1_000)
    async with channel_to(network, Configuration(close_timeout=0.01)) as channel:
        calls = [Call(channel, b"x" * 10 * KIB), Call(channel)]
        async with anyio.create_task_group() as tasks:
            for call in calls:
                tasks.start_soon(call.run)
                await anyio.wait_all_tasks_blocked()
            channel.close()
        assert [call.status for call in calls] == [Status.UNAVAILABLE] * 2
        await anyio.wait_all_tasks_blocked()
    assert len(network.peers) == 1


@pytest.mark.anyio
async def test_leaving_the_channel_ends_a_call_that_would_be_made_again() -> None:
    """The call notices its refusal only after the channel is gone."""
    network = Network()
    async with ChannelOver(network.connect, codec=Raw()) as channel:
        call = Call(channel).open()
        await call.send_message(b"one")
        peer, first = await network.accept()
        await peer.reset(first, REFUSED)
        await peer.settle()
    with pytest.raises(UnprocessedError):
        await call.recv_message()
    call.release()
