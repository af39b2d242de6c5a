"""Calls as the peer sees them: cancellation, deadlines, and how a call ends."""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a task group may swallow what its body raises; a test would have failed.

import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import cast

import anyio
import pytest
from grpclib.client import StreamUnaryMethod, UnaryUnaryMethod
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError, StreamTerminatedError
from grpclib.metadata import Deadline
from h2.errors import ErrorCodes
from h2.events import RequestReceived, StreamReset
from hyperframe.frame import GoAwayFrame, WindowUpdateFrame
from trio.testing import MockClock

from grpclib_anyio._base.config import Configuration
from grpclib_anyio._base.errors import DeadlineExceededError, TerminatedError, again
from grpclib_anyio.client import Channel
from grpclib_anyio.testing import ChannelOver
from harness.ai import AiServiceStub, GenerateRequest, GenerateResponse
from harness.conversation import ConversationStub, Line
from harness.peer import (
    BOTH,
    NOTHING,
    UNARY,
    Call,
    Network,
    Raw,
    ScriptedPeer,
    channel_to,
    completes,
    fields_of,
    framed,
)
from harness.scheduling import ORDERS, in_order

CANCEL = [ErrorCodes.CANCEL]
KIB = 1024
STREAM_STREAM = Cardinality.STREAM_STREAM

# -- cancellation -------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_cancel_before_the_request_leaves_sends_nothing() -> None:
    """Cancelled in the first checkpoint of the call, while it waits for the connection."""
    network = Network()
    async with channel_to(network) as channel:
        call = Call(channel)
        call.scope.cancel()
        await call.run()
        await completes(network, channel)
    assert call.is_cancelled
    assert network.peer.resets(1) == []  # stream 1 is the one that completed


@pytest.mark.anyio
async def test_cancel_while_the_server_thinks() -> None:
    """The request is out, no header has come."""
    network = Network()
    async with channel_to(network) as channel:
        call = Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            peer, stream_id = await network.accept()
            call.scope.cancel()
            await peer.settle()
        assert peer.resets(stream_id) == CANCEL
        assert channel.statistics() == NOTHING
        await completes(network, channel)
    assert peer.resets(stream_id) == CANCEL


@pytest.mark.anyio
async def test_cancel_in_mid_stream() -> None:
    """Two messages have been received and the call waits for the third."""
    network = Network()
    async with channel_to(network) as channel:
        call = Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            peer, stream_id = await network.accept()
            await peer.respond(stream_id, b"one", b"two")
            await peer.settle()
            assert call.received == [b"one", b"two"]
            call.scope.cancel()
            await peer.settle()
        assert peer.resets(stream_id) == CANCEL
        assert channel.statistics() == NOTHING
        await completes(network, channel)


@pytest.mark.anyio
async def test_cancel_with_unread_data() -> None:
    """The call reads nothing; messages and half a message wait for it."""
    network = Network()
    async with channel_to(network) as channel:
        call = Call(channel, reads=False)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            peer, stream_id = await network.accept()
            await peer.respond(stream_id, b"x" * KIB)
            peer.queue_data(stream_id, framed(b"x" * KIB)[:100])
            await peer.settle()
            call.scope.cancel()
            await peer.settle()
        assert peer.resets(stream_id) == CANCEL
        assert channel.statistics() == NOTHING
        await completes(network, channel)


@pytest.mark.trio
async def test_thousand_calls_cancelled_with_unread_data_leave_the_connection_window() -> None:
    """Each leaves 10 KiB unread, 10 MiB in all: twice what the connection's window holds."""
    network = Network()
    config = Configuration(http2_connection_window_size=65_535)
    async with channel_to(network, config) as channel:
        for _ in range(1_000):
            call = Call(channel, reads=False)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call.run)
                peer, stream_id = await network.accept()
                peer.queue_headers(stream_id)
                await peer.send_all(stream_id, framed(b"x" * 10 * KIB))
                await peer.settle()
                call.scope.cancel()
                await peer.settle()
            assert peer.resets(stream_id) == CANCEL
        assert peer.h2.outbound_flow_control_window > 32 * KIB
        assert peer.h2.outbound_flow_control_window <= 65_535
        await completes(network, channel)


@pytest.mark.anyio
async def test_frames_that_cross_our_reset_are_not_answered() -> None:
    """RST_STREAM is under way while the peer still sends on that stream."""
    network = Network()
    async with channel_to(network) as channel:
        call = Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            peer, stream_id = await network.accept()
            await peer.respond(stream_id, b"one")
            call.scope.cancel()
            # The peer has not read the reset yet: these cross it.
            peer.queue_data(stream_id, framed(b"x" * KIB))
            await peer.send_frames(WindowUpdateFrame(stream_id, window_increment=5))
            peer.queue_trailers(stream_id)
            await peer.flush()
            await peer.settle()
        assert peer.resets(stream_id) == CANCEL
        await completes(network, channel)
    await peer.read_to_end()
    assert peer.resets(stream_id) == CANCEL
    assert [code for code, _ in peer.goaways()] == [ErrorCodes.NO_ERROR]


@pytest.mark.anyio
async def test_data_that_crosses_our_reset_is_credited_to_the_connection() -> None:
    """Calls are cancelled one by one, each with 30 KiB under way to it."""
    network = Network()
    config = Configuration(http2_connection_window_size=65_535)
    async with channel_to(network, config) as channel:
        for _ in range(10):
            call = Call(channel)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call.run)
                peer, stream_id = await network.accept()
                peer.queue_headers(stream_id)
                await peer.settle()
                call.scope.cancel()
                peer.queue_data(stream_id, b"x" * 30 * KIB)
                await peer.settle()
            assert peer.resets(stream_id) == CANCEL
        assert peer.h2.outbound_flow_control_window > 32 * KIB - 1
        await completes(network, channel)


@pytest.mark.trio
async def test_cancelling_around_a_channel_resets_its_calls_and_says_goaway(
    autojump_clock: MockClock,
) -> None:
    """Three calls wait for the peer when the scope around the channel is cancelled."""
    del autojump_clock
    network = Network()
    start = anyio.current_time()
    with anyio.CancelScope() as scope:
        async with channel_to(network) as channel, anyio.create_task_group() as tasks:
            calls = [Call(channel) for _ in range(3)]
            for call in calls:
                tasks.start_soon(call.run)
            peer, first = await network.accept()
            await peer.settle()
            scope.cancel()
    assert scope.cancelled_caught
    assert anyio.current_time() == start
    await peer.read_to_end()
    assert [peer.resets(stream_id) for stream_id in (first, first + 2, first + 4)] == [CANCEL] * 3
    assert peer.goaways() == [(ErrorCodes.NO_ERROR, b"")]
    assert isinstance(peer.frames[-1], GoAwayFrame)
    assert not peer.is_torn


@pytest.mark.trio
async def test_leaving_is_bounded_when_the_peer_does_not_read(autojump_clock: MockClock) -> None:
    """The wire holds 100 bytes and the peer takes none, so the GOAWAY cannot leave."""
    del autojump_clock
    network = Network(buffer_size=100)
    start = anyio.current_time()
    with anyio.CancelScope() as scope:
        config = Configuration(close_timeout=3)
        async with channel_to(network, config) as channel, anyio.create_task_group() as tasks:
            tasks.start_soon(Call(channel).run)
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
    assert anyio.current_time() == start + 3
    assert network.streams[0].statistics().is_closed


@pytest.mark.anyio
async def test_call_cancelled_by_its_user_is_reset_once() -> None:
    """`stream.cancel()`, then the block is left."""
    network = Network()
    async with channel_to(network) as channel:
        async with Call(channel).open() as stream:
            await stream.send_message(b"request")
            await stream.cancel()
            with pytest.raises(TerminatedError):
                await stream.recv_message()
        await network.peer.settle()
        assert network.peer.resets(1) == CANCEL


@pytest.mark.anyio
async def test_block_left_by_an_exception_resets_the_call() -> None:
    """An error of the caller's own, with the response incomplete."""
    network = Network()
    async with channel_to(network) as channel:
        with pytest.raises(ValueError, match="mine"):  # noqa: PT012 - the block is under test
            async with Call(channel).open() as stream:
                await stream.send_message(b"request")
                raise ValueError("mine")
        await network.peer.settle()
        assert network.peer.resets(1) == CANCEL


# -- generators ---------------------------------------------------------------------------------


TOKEN = GenerateResponse("token")


def generate(channel: Channel, timeout: float | None = None) -> AsyncGenerator[GenerateResponse]:
    """Call the generated stub, which is written against grpclib's channel."""
    answer = AiServiceStub(channel).generate(GenerateRequest("hi"), timeout=timeout)
    return cast("AsyncGenerator[GenerateResponse]", answer)


async def answer(network: Network, *messages: bytes) -> None:
    """Answer the next request and leave the response open."""
    peer, stream_id = await network.accept()
    await peer.respond(stream_id, *messages)


@pytest.mark.anyio
async def test_break_out_of_a_stub_with_aclosing() -> None:
    """The generator is closed in the task that used it."""
    network = Network()
    async with channel_to(network) as channel:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer, network, bytes(TOKEN))
            async with aclosing(generate(channel)) as tokens:
                async for token in tokens:
                    assert token == TOKEN
                    break
        await network.peer.expect(StreamReset)
        assert network.peer.resets(1) == CANCEL
        await completes(network, channel)


@pytest.mark.anyio
async def test_break_out_of_a_stub_without_aclosing() -> None:
    """The generator is garbage, which the event loop closes in a task of its own."""
    network = Network()
    async with channel_to(network) as channel:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer, network, bytes(TOKEN))
            async for token in generate(channel):
                assert token == TOKEN
                break
        await network.peer.expect(StreamReset)
        assert network.peer.resets(1) == CANCEL
        await completes(network, channel)


@pytest.mark.trio
async def test_deadline_passes_while_the_generator_is_suspended(autojump_clock: MockClock) -> None:
    """A consumer that takes 5 s a token, a deadline of 2 s, and tokens that wait unread."""
    del autojump_clock
    network = Network()
    slept = 0
    async with channel_to(network) as channel, anyio.create_task_group() as tasks:
        tasks.start_soon(answer, network, bytes(TOKEN), bytes(TOKEN))
        start = anyio.current_time()
        with pytest.raises(DeadlineExceededError):  # noqa: PT012 - the loop is under test
            async for _ in generate(channel, timeout=2):
                tasks.start_soon(reset_comes_at, network.peer, 1, start + 2)
                await anyio.sleep(5)
                slept += 1
        assert anyio.current_time() == start + 5
        await completes(network, channel)
    assert slept == 1


async def reset_comes_at(peer: ScriptedPeer, stream_id: int, time: float) -> None:
    event = await peer.expect(StreamReset)
    assert (event.stream_id, anyio.current_time()) == (stream_id, time)
    assert peer.resets(stream_id) == CANCEL


@pytest.mark.trio
async def test_break_after_the_deadline_passed_within_the_loop(autojump_clock: MockClock) -> None:
    """The consumer leaves a generator whose call is over already: nothing is left to corrupt."""
    del autojump_clock
    network = Network()
    async with channel_to(network) as channel:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer, network, bytes(TOKEN))
            async with aclosing(generate(channel, timeout=2)) as tokens:
                async for _ in tokens:
                    await anyio.sleep(5)
                    break
        await network.peer.settle()
        assert network.peer.resets(1) == CANCEL


# -- deadlines ----------------------------------------------------------------------------------


@pytest.mark.trio
async def test_deadline_while_the_server_thinks(autojump_clock: MockClock) -> None:
    """RST_STREAM leaves at exactly the deadline."""
    del autojump_clock
    network = Network()
    start = anyio.current_time()
    async with channel_to(network) as channel:
        call = Call(channel, timeout=3)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            peer, stream_id = await network.accept()
            await reset_comes_at(peer, stream_id, start + 3)
        assert call.status is Status.DEADLINE_EXCEEDED
        await completes(network, channel)


@pytest.mark.trio
async def test_deadline_while_connecting(autojump_clock: MockClock) -> None:
    """The attempt to connect goes on for others; this call is over at its deadline."""
    del autojump_clock
    network = Network(before_connect=lambda: anyio.sleep(7))
    start = anyio.current_time()
    async with channel_to(network) as channel:
        call = Call(channel, timeout=3)
        await call.run()
        assert anyio.current_time() == start + 3
        assert call.status is Status.DEADLINE_EXCEEDED
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(completes_soon := Call(channel).run)
            await anyio.sleep(5)
            peer, stream_id = await network.accept()
            assert stream_id == 1
            await peer.respond(stream_id, end=True)
        del completes_soon
    assert len(network.peers) == 1


@pytest.mark.trio
async def test_deadline_that_has_passed_already(autojump_clock: MockClock) -> None:
    """A timeout of zero: nothing is sent, nobody connects."""
    del autojump_clock
    network = Network()
    async with channel_to(network) as channel:
        call = Call(channel, timeout=0)
        await call.run()
    assert call.status is Status.DEADLINE_EXCEEDED
    assert network.peers == []


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("seconds", "header"),
    [
        (math.inf, None),
        (1e300, None),
        (10**400, None),
        (99_999_999 * 3_600 + 1, None),
        (99_999_999 * 3_600, "99999999H"),
        (1e9, "16666667M"),
    ],
    ids=["inf", "1e300", "too large for a float", "a second too much", "the longest", "1e9"],
)
async def test_timeouts_beyond_what_can_be_said(seconds: float, header: str | None) -> None:
    """A timeout that the header has no digits for is no deadline, for the server nor for us."""
    network = Network()
    async with channel_to(network) as channel:
        call = Call(channel, timeout=seconds)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            await anyio.wait_all_tasks_blocked()
            event = await network.peer.expect(RequestReceived)
            assert fields_of(event).get("grpc-timeout") == header
            await network.peer.respond(event.stream_id, b"one", end=True)
        assert (call.received, call.error) == ([b"one"], None)


@pytest.mark.anyio
async def test_the_sooner_of_an_endless_timeout_and_a_deadline_counts() -> None:
    network = Network()
    async with channel_to(network) as channel:
        call = channel.request(
            UNARY, STREAM_STREAM, bytes, bytes, timeout=math.inf, deadline=Deadline.from_timeout(-1)
        )
        with pytest.raises(DeadlineExceededError):
            async with call:
                await call.send_message(b"request")
    assert network.peers == []


@pytest.mark.anyio
@pytest.mark.parametrize(
    "seconds", [-1, -1e300, -math.inf, -(10**400)], ids=["-1", "-1e300", "-inf", "large"]
)
async def test_negative_timeouts_have_passed_already(seconds: float) -> None:
    network = Network()
    async with channel_to(network) as channel:
        call = Call(channel, timeout=seconds)
        await call.run()
    assert call.status is Status.DEADLINE_EXCEEDED
    assert network.peers == []


@pytest.mark.anyio
async def test_timeout_that_is_not_a_number_is_refused() -> None:
    """By words, where the caller has written it: such a deadline would neither pass nor not."""
    network = Network()
    async with channel_to(network) as channel:
        with pytest.raises(ValueError, match="timeout is not a number"):
            Call(channel, timeout=math.nan).open()
    assert network.peers == []


@pytest.mark.trio
@pytest.mark.parametrize("order", ORDERS)
async def test_deadline_and_reset_at_one_instant(mock_clock: MockClock, order: str) -> None:
    """The server keeps the same deadline: our timer and its RST_STREAM(CANCEL) wake two tasks."""
    network = Network()
    async with channel_to(network) as channel:
        call = Call(channel, timeout=3)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            peer, stream_id = await network.accept()
            await peer.respond(stream_id, b"one")
            await peer.settle()
            with in_order(ORDERS[order]):
                peer.h2.reset_stream(stream_id, ErrorCodes.CANCEL)
                peer.flush_nowait()
                mock_clock.jump(3)
                await peer.settle()
        assert call.status is Status.DEADLINE_EXCEEDED
        assert isinstance(call.error, DeadlineExceededError)


@pytest.mark.trio
async def test_cancelled_by_the_server_before_the_deadline(autojump_clock: MockClock) -> None:
    """The same RST_STREAM(CANCEL), a moment earlier, is what it says."""
    del autojump_clock
    network = Network()
    async with channel_to(network) as channel:
        call = Call(channel, timeout=3)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            peer, stream_id = await network.accept()
            await anyio.sleep(2.999)
            await peer.reset(stream_id)
        assert call.status is Status.CANCELLED
        assert isinstance(call.error, StreamTerminatedError)


@pytest.mark.trio
async def test_grpc_timeout_is_what_is_left(autojump_clock: MockClock) -> None:
    """Of 10 s, connecting takes 4."""
    del autojump_clock
    network = Network(before_connect=lambda: anyio.sleep(4))
    async with channel_to(network) as channel, anyio.create_task_group() as tasks:
        call = Call(channel, timeout=10)
        tasks.start_soon(call.run)
        await anyio.sleep(4)
        await anyio.wait_all_tasks_blocked()
        event = await network.peer.expect(RequestReceived)
        assert fields_of(event)["grpc-timeout"] == "6000000u"
        call.scope.cancel()


# -- how a call ends ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What the peer does to end a call, and what the caller is told."""

    act: Callable[[ScriptedPeer, int], object]
    status: Status
    message: str | None


def trailers_only(*headers: tuple[str, str]) -> Callable[[ScriptedPeer, int], object]:
    return lambda peer, stream_id: peer.h2.send_headers(stream_id, headers, end_stream=True)


GRPC = ("content-type", "application/grpc")
ENDINGS = {
    "trailers-only": Outcome(
        trailers_only((":status", "200"), GRPC, ("grpc-status", "5"), ("grpc-message", "no%20x")),
        Status.NOT_FOUND,
        "no x",
    ),
    "trailers-only-without-content-type": Outcome(
        trailers_only((":status", "200"), ("grpc-status", "12")), Status.UNIMPLEMENTED, None
    ),
    "status-beside-another-http-status": Outcome(
        trailers_only((":status", "415"), ("grpc-status", "2"), ("grpc-message", "odd")),
        Status.UNKNOWN,
        "odd",
    ),
    "a-proxy's-answer": Outcome(
        trailers_only((":status", "503"), ("content-type", "text/html")),
        Status.UNAVAILABLE,
        "The peer answered with HTTP status '503'",
    ),
    "another-content-type": Outcome(
        trailers_only((":status", "200"), ("content-type", "text/html")),
        Status.UNKNOWN,
        "The peer answered with content type 'text/html'",
    ),
    "long-http-status": Outcome(
        trailers_only((":status", "9" * 5_000), GRPC),
        Status.UNKNOWN,
        f"The peer answered with HTTP status '{'9' * 100}…'",
    ),
    "long-content-type": Outcome(
        trailers_only((":status", "200"), ("content-type", "x" * 60_000)),
        Status.UNKNOWN,
        f"The peer answered with content type '{'x' * 100}…'",
    ),
    "long-encoding": Outcome(
        trailers_only((":status", "200"), GRPC, ("grpc-encoding", "x" * 60_000)),
        Status.INTERNAL,
        f"The peer compresses with '{'x' * 100}…', not offered",
    ),
    "no-status": Outcome(
        trailers_only((":status", "200"), GRPC), Status.UNKNOWN, "The peer sent no grpc-status"
    ),
    "unknown-status": Outcome(
        trailers_only((":status", "200"), GRPC, ("grpc-status", "77")),
        Status.UNKNOWN,
        "The peer sent no valid grpc-status, but '77'",
    ),
    "malformed-status": Outcome(
        trailers_only((":status", "200"), GRPC, ("grpc-status", "\xb2")),
        Status.UNKNOWN,
        "The peer sent no valid grpc-status, but 'Â²'",
    ),
    "malformed-metadata": Outcome(
        trailers_only((":status", "200"), GRPC, ("grpc-status", "0"), ("x-bin", "a")),
        Status.INTERNAL,
        "The peer sent malformed metadata",
    ),
    "non-ascii-binary-metadata": Outcome(
        trailers_only((":status", "200"), GRPC, ("grpc-status", "0"), ("x-bin", "\xe9")),
        Status.INTERNAL,
        "The peer sent malformed metadata",
    ),
    "unknown-code": Outcome(
        lambda peer, stream_id: peer.h2.reset_stream(stream_id, 0x99),
        Status.UNKNOWN,
        "Stream reset by the peer: 0x99",
    ),
}


@pytest.mark.anyio
@pytest.mark.parametrize("name", ENDINGS)
async def test_ending_of_a_call(name: str) -> None:
    """The peer answers with this one frame."""
    ending = ENDINGS[name]
    network = Network()
    async with channel_to(network) as channel:
        call = Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            peer, stream_id = await network.accept()
            ending.act(peer, stream_id)
            await peer.flush()
        assert call.error is not None
        assert (call.error.status, call.error.message) == (ending.status, ending.message)
        await completes(network, channel)


def unary(channel: Channel) -> Awaitable[object]:
    return UnaryUnaryMethod(channel, UNARY, bytes, bytes)(b"request")


def client_streaming(channel: Channel) -> Awaitable[object]:
    return StreamUnaryMethod(channel, UNARY, bytes, bytes)([b"one", b"two"])


def betterproto_unary(channel: Channel) -> Awaitable[object]:
    return ConversationStub(channel).ask(Line("hi"))


def betterproto_client_streaming(channel: Channel) -> Awaitable[object]:
    return ConversationStub(channel).tell([Line("hi")])


async def unary_in_batches(channel: Channel) -> None:
    async with channel.request(UNARY, Cardinality.UNARY_UNARY, bytes, bytes) as stream:
        await stream.send_message(b"request")
        while await stream.recv_messages():
            pass


async def unary_without_a_look(channel: Channel) -> None:
    async with channel.request(UNARY, Cardinality.UNARY_UNARY, bytes, bytes) as stream:
        await stream.send_message(b"request")


UNARY_CALLS = [
    unary,
    client_streaming,
    betterproto_unary,
    betterproto_client_streaming,
    unary_in_batches,
    unary_without_a_look,
]


def answer_with(*messages: bytes, status: int = 0) -> Callable[[ScriptedPeer, int], object]:
    def act(peer: ScriptedPeer, stream_id: int) -> None:
        peer.queue_headers(stream_id)
        peer.queue_messages(stream_id, *messages)
        peer.queue_trailers(stream_id, status)

    return act


@pytest.mark.anyio
@pytest.mark.parametrize("make_call", UNARY_CALLS)
@pytest.mark.parametrize(
    ("act", "status", "message"),
    [
        (answer_with(), Status.UNIMPLEMENTED, "The peer answered with no message where one is due"),
        (
            trailers_only((":status", "200"), GRPC, ("grpc-status", "0")),
            Status.UNIMPLEMENTED,
            "The peer answered with no message where one is due",
        ),
        (
            answer_with(b"", b""),
            Status.UNIMPLEMENTED,
            "The peer answered with several messages where one is due",
        ),
        (answer_with(status=5), Status.NOT_FOUND, None),
        (answer_with(b"", status=5), Status.NOT_FOUND, None),
    ],
    ids=["none", "trailers-only", "two", "none-and-an-error", "one-and-an-error"],
)
async def test_unary_answer_that_is_not_one_message(
    make_call: Callable[[Channel], Awaitable[object]],
    act: Callable[[ScriptedPeer, int], object],
    status: Status,
    message: str | None,
) -> None:
    """By gRPC's document of status codes, and never an error that is not gRPC's."""
    network = Network()
    async with channel_to(network) as channel:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer_next, network, act)
            with pytest.raises(GRPCError) as raised:
                await make_call(channel)
        assert (raised.value.status, raised.value.message) == (status, message)
        await completes(network, channel)


async def answer_next(network: Network, act: Callable[[ScriptedPeer, int], object]) -> None:
    peer, stream_id = await network.accept()
    act(peer, stream_id)
    await peer.flush()


@pytest.mark.anyio
async def test_unary_answer_without_an_end_is_not_read_to_its_end() -> None:
    """The second message ends the call, and the peer is told to stop."""
    network = Network()
    async with channel_to(network) as channel:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer, network, b"one", b"two")
            with pytest.raises(GRPCError, match="several messages"):
                await unary_without_a_look(channel)
        await network.peer.settle()
        assert network.peer.resets(1) == CANCEL


@pytest.mark.anyio
async def test_messages_before_a_failure_are_received() -> None:
    """Messages, then an error status, in one write."""
    network = Network()
    async with channel_to(network) as channel:
        call = Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            peer, stream_id = await network.accept()
            peer.queue_headers(stream_id)
            peer.queue_messages(stream_id, b"one", b"two")
            peer.queue_trailers(stream_id, 14, ("grpc-message", "gone"))
            await peer.flush()
        assert call.received == [b"one", b"two"]
        assert (call.status, call.error and call.error.message) == (Status.UNAVAILABLE, "gone")


@pytest.mark.anyio
@pytest.mark.parametrize("in_batches", [False, True], ids=["one by one", "in batches"])
@pytest.mark.parametrize(
    ("early", "late", "expected"),
    [
        ("0", "13", (Status.INTERNAL, "late")),
        ("13", "0", None),
        ("5", "13", (Status.INTERNAL, "late")),
        ("0", None, (Status.UNKNOWN, "The peer sent no grpc-status")),
        ("5", None, (Status.UNKNOWN, "The peer sent no grpc-status")),
    ],
)
async def test_status_in_headers_that_do_not_end_the_stream_is_none(
    early: str,
    late: str | None,
    expected: tuple[Status, str] | None,
    in_batches: bool,  # noqa: FBT001 - a parameter of pytest's
) -> None:
    """The status is the trailers', and the messages before it are received."""
    network = Network()
    received: list[bytes] = []
    error: GRPCError | None = None

    async def call(channel: Channel) -> None:
        async with Call(channel).open() as stream:
            await stream.send_message(b"request")
            if in_batches:
                while messages := await stream.recv_messages():
                    received.extend(messages)
            else:
                while (message := await stream.recv_message()) is not None:
                    received.append(message)

    async with channel_to(network) as channel:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer_next, network, odd_status(early, late))
            try:
                await call(channel)
            except GRPCError as raised:
                error = again(raised)
        assert received == [b"one", b"two"]
        assert (error and (error.status, error.message)) == expected
        await completes(network, channel)


def odd_status(early: str, late: str | None) -> Callable[[ScriptedPeer, int], object]:
    def act(peer: ScriptedPeer, stream_id: int) -> None:
        peer.queue_headers(stream_id, ("grpc-status", early), ("grpc-message", "early"))
        peer.queue_messages(stream_id, b"one", b"two")
        if late is None:
            peer.h2.end_stream(stream_id)
        else:
            peer.queue_trailers(stream_id, int(late), ("grpc-message", "late"))

    return act


@pytest.mark.anyio
async def test_status_in_headers_is_not_the_reason_of_a_reset() -> None:
    """The peer ends the stream before its trailers: that is all that is known."""
    network = Network()
    async with channel_to(network) as channel:
        call = Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            peer, stream_id = await network.accept()
            peer.queue_headers(stream_id, ("grpc-status", "5"))
            peer.h2.reset_stream(stream_id, ErrorCodes.INTERNAL_ERROR)
            await peer.flush()
        assert call.status is Status.INTERNAL


@pytest.mark.anyio
async def test_early_status_counts_more_than_the_reset_after_it() -> None:
    """A server that has heard enough: trailers and RST_STREAM(NO_ERROR), in one write."""
    network = Network()
    async with channel_to(network) as channel:
        call = Call(channel, b"x" * 100_000, b"more", path=BOTH, cardinality=STREAM_STREAM)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            peer, stream_id = await network.accept()
            trailers_only((":status", "200"), GRPC, ("grpc-status", "8"))(peer, stream_id)
            peer.h2.reset_stream(stream_id, ErrorCodes.NO_ERROR)
            await peer.flush()
        assert call.status is Status.RESOURCE_EXHAUSTED
        await completes(network, channel)


@pytest.mark.anyio
async def test_success_leaves_without_a_reset() -> None:
    """A call that runs to its end."""
    network = Network()
    async with channel_to(network) as channel:
        await completes(network, channel)
        await network.peer.settle()
        assert network.peer.resets(1) == []
        assert network.peer.ends(1)


@pytest.mark.anyio
async def test_error_in_one_call_leaves_another_alone() -> None:
    """Two calls; the peer resets the first and completes the second."""
    network = Network()
    async with channel_to(network) as channel:
        calls = [Call(channel), Call(channel)]
        async with anyio.create_task_group() as tasks:
            for call in calls:
                tasks.start_soon(call.run)
            peer, first = await network.accept()
            second = (await peer.expect(RequestReceived)).stream_id
            await peer.reset(first, ErrorCodes.INTERNAL_ERROR)
            await peer.respond(second, b"one", end=True)
        assert sorted(str(call.status) for call in calls) == ["None", "Status.INTERNAL"]


@pytest.mark.anyio
async def test_channel_outside_async_with_says_so() -> None:
    """Used before it is entered, twice, and after it is left."""
    network = Network()
    channel = ChannelOver(network.connect, codec=Raw())
    for _ in range(2):
        with pytest.raises(RuntimeError, match="async with channel"):
            await Call(channel).run()
    async with channel:
        await completes_first(network, channel)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="async with channel"):
            await Call(channel).run()


async def completes_first(network: Network, channel: Channel) -> None:
    call = Call(channel)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call.run)
        peer, stream_id = await network.accept()
        await peer.respond(stream_id, b"one", end=True)
    assert call.received == [b"one"]
