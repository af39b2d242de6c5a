"""betterproto's generated stubs and service bases, unmodified, in each cardinality."""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a task group may swallow what its body raises; a test would have failed.

import gc
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

import anyio.to_thread
import grpclib.client
import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from h2.errors import ErrorCodes
from h2.events import RequestReceived, StreamEnded
from trio.testing import MockClock

from grpclib_anyio._base.errors import DeadlineExceededError
from grpclib_anyio.client import Channel
from grpclib_anyio.testing import ChannelFor
from harness.conversation import ConversationBase, ConversationStub, Line
from harness.peer import Network, channel_to, fields_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable

CANCEL = [ErrorCodes.CANCEL]
ONE, TWO = Line("one"), Line("two")


class Conversation(ConversationBase):
    """Answers with what it hears."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    async def ask(self, line: Line) -> Line:
        return line

    async def listen(self, line: Line) -> AsyncIterator[Line]:  # noqa: ASYNC900 - closed by the transport
        try:
            for word in line.text.split():
                yield Line(word)
        finally:
            self.ended.append("listen")

    async def tell(self, line_iterator: AsyncIterator[Line]) -> Line:
        return Line(" ".join([line.text async for line in line_iterator]))

    async def talk(self, line_iterator: AsyncIterator[Line]) -> AsyncIterator[Line]:  # noqa: ASYNC900 - closed by the transport
        async for line in line_iterator:
            if line.text == "bye":
                return
            if line.text == "fail":
                raise GRPCError(Status.ABORTED, "enough")
            yield line


def stub_on(channel: Channel, timeout: float | None = None) -> ConversationStub:
    return ConversationStub(cast("Any", channel), timeout=timeout)


def lines(*texts: str) -> list[Line]:
    return [Line(text) for text in texts]


class Requests:
    """Requests that go on until they are closed."""

    def __init__(self, *first: str) -> None:
        self.is_closed = False
        self._first = first

    async def __call__(self) -> AsyncGenerator[Line]:  # noqa: ASYNC900 - closed by the transport
        try:
            for text in self._first:
                yield Line(text)
            await anyio.sleep_forever()
        finally:
            self.is_closed = True


async def texts_of(answer: "AsyncIterable[Line]") -> list[str]:
    return [line.text async for line in answer]


# -- each cardinality -----------------------------------------------------------------------------


@pytest.mark.anyio
async def test_each_cardinality() -> None:
    async with ChannelFor([Conversation()]) as channel:
        stub = stub_on(channel)
        assert await stub.ask(ONE) == ONE
        assert await texts_of(stub.listen(Line("a b c"))) == ["a", "b", "c"]
        assert await stub.tell(lines("a", "b")) == Line("a b")
        assert await texts_of(stub.talk(lines("a", "b"))) == ["a", "b"]


@pytest.mark.anyio
async def test_nothing_in_a_stream() -> None:
    async with ChannelFor([Conversation()]) as channel:
        stub = stub_on(channel)
        assert await texts_of(stub.listen(Line())) == []
        assert await stub.tell([]) == Line()
        assert await texts_of(stub.talk([])) == []


@pytest.mark.anyio
async def test_requests_of_an_async_iterator() -> None:
    async def requests() -> AsyncGenerator[Line]:  # noqa: ASYNC124, ASYNC900 - closed by the transport
        for text in ("a", "b"):
            yield Line(text)

    async with ChannelFor([Conversation()]) as channel:
        stub = stub_on(channel)
        assert await stub.tell(requests()) == Line("a b")
        assert await texts_of(stub.talk(requests())) == ["a", "b"]


@pytest.mark.anyio
async def test_both_sides_in_turns() -> None:
    """Each request is made of the answer to the one before."""
    send, receive = anyio.create_memory_object_stream[Line](1)
    async with ChannelFor([Conversation()]) as channel, send, receive:
        await send.send(Line("0"))
        heard: list[str] = []
        async with aclosing(cast("AsyncGenerator[Line]", stub_on(channel).talk(receive))) as answer:
            async for line in answer:
                heard.append(line.text)
                await send.send(Line("bye" if line.text == "50" else str(int(line.text) + 1)))
    assert heard == [str(number) for number in range(51)]


@pytest.mark.anyio
async def test_options_of_the_stub_and_of_the_call() -> None:
    """A call's own deadline and metadata count more."""
    network = Network()
    async with channel_to(network) as channel:
        stub = ConversationStub(cast("Any", channel), timeout=50, metadata={"x-of": "stub"})
        for options, expected in (
            ({}, ("stub", 50)),
            ({"timeout": 5, "metadata": {"x-of": "call"}}, ("call", 5)),
        ):
            answer = cast("AsyncGenerator[Line]", stub.listen(ONE, **cast("Any", options)))
            async with aclosing(answer), anyio.create_task_group() as tasks:
                tasks.start_soon(anext, answer, None)
                await anyio.wait_all_tasks_blocked()
                fields = fields_of(await network.peer.expect(RequestReceived))
                assert fields["x-of"] == expected[0]
                assert expected[1] - 5 < int(fields["grpc-timeout"][:-1]) / 1e6 <= expected[1]
                tasks.cancel_scope.cancel()


# -- how it ends ----------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_server_ends_a_conversation() -> None:
    """The client would go on: its requests are closed, the answer is complete."""
    requests = Requests("a", "bye")
    async with ChannelFor([Conversation()]) as channel:
        assert await texts_of(stub_on(channel).talk(requests())) == ["a"]
        await anyio.wait_all_tasks_blocked()
        assert requests.is_closed


@pytest.mark.anyio
async def test_server_fails_a_conversation() -> None:
    requests = Requests("a", "fail")
    heard: list[str] = []
    async with ChannelFor([Conversation()]) as channel:
        with pytest.raises(GRPCError, match="enough"):
            await hear(stub_on(channel).talk(requests()), heard)
        await anyio.wait_all_tasks_blocked()
        assert requests.is_closed
    assert heard == ["a"]


async def hear(answer: "AsyncIterable[Line]", heard: list[str]) -> None:
    async for line in answer:
        heard.append(line.text)  # noqa: PERF401 - what was heard before it fails counts


def broken() -> Iterator[Line]:
    yield ONE
    raise LookupError("mine")


@pytest.mark.anyio
async def test_error_of_the_requests_is_raised_from_the_answer() -> None:
    network = Network()
    async with channel_to(network) as channel:
        with pytest.raises(LookupError, match="mine"):
            await texts_of(stub_on(channel).talk(broken()))
        with pytest.raises(LookupError, match="mine"):
            await stub_on(channel).tell(broken())
        await network.peer.settle()
        assert [network.peer.resets(number) for number in (1, 3)] == [CANCEL, CANCEL]


@pytest.mark.anyio
async def test_answer_that_is_exhausted_stays_so() -> None:
    async with ChannelFor([Conversation()]) as channel:
        answer = cast("AsyncGenerator[Line]", stub_on(channel).talk(lines("a")))
        assert await texts_of(answer) == ["a"]
        assert await texts_of(answer) == []
        await answer.aclose()


@pytest.mark.trio
async def test_deadline_while_requests_do_not_come(autojump_clock: MockClock) -> None:
    """No request, no answer, and a deadline: betterproto's own helper would wait for ever."""
    del autojump_clock
    requests = Requests()
    async with ChannelFor([Conversation()]) as channel:
        start = anyio.current_time()
        with pytest.raises(DeadlineExceededError):
            await stub_on(channel, timeout=3).tell(requests())
        assert anyio.current_time() == start + 3
        await anyio.wait_all_tasks_blocked()
        assert requests.is_closed


@pytest.mark.anyio
async def test_answer_without_a_message() -> None:
    """A peer that says OK to a call that has one answer, and gives none."""
    network = Network()
    async with channel_to(network) as channel, anyio.create_task_group() as tasks:

        async def call() -> None:
            with pytest.raises(GRPCError) as caught:
                await stub_on(channel).tell([])
            assert caught.value.status is Status.UNIMPLEMENTED

        tasks.start_soon(call)
        peer, stream_id = await network.accept()
        await peer.expect(StreamEnded)
        await peer.respond(stream_id, end=True)


# -- how it is left -------------------------------------------------------------------------------


def listen(stub: ConversationStub) -> AsyncIterator[Line]:
    return stub.listen(ONE)


def talk(stub: ConversationStub) -> AsyncIterator[Line]:
    return stub.talk(Requests()())


streaming = pytest.mark.parametrize("method", [listen, talk])


async def answer_one(network: Network) -> None:
    peer, stream_id = await network.accept()
    await peer.respond(stream_id, bytes(ONE))


@streaming
@pytest.mark.anyio
async def test_left_with_aclosing(method: "Callable[[ConversationStub], Any]") -> None:
    """The reset is queued when the block has been left, with no other task run in between."""
    network = Network()
    async with channel_to(network) as channel, anyio.create_task_group() as tasks:
        tasks.start_soon(answer_one, network)
        async with aclosing(method(stub_on(channel))) as answer:
            assert await anext(answer) == ONE
        assert channel.statistics().streams == 0
        await network.peer.settle()
        assert network.peer.resets(1) == CANCEL


@streaming
@pytest.mark.anyio
async def test_left_by_break(method: "Callable[[ConversationStub], Any]") -> None:
    """The reset is queued before the statement after the loop; no garbage is left."""
    network = Network()
    async with channel_to(network) as channel, anyio.create_task_group() as tasks:
        tasks.start_soon(answer_one, network)
        async for line in method(stub_on(channel)):
            assert line == ONE
            break
        assert channel.statistics().streams == 0
        await network.peer.settle()
        assert network.peer.resets(1) == CANCEL


@streaming
@pytest.mark.anyio
async def test_left_by_an_exception(method: "Callable[[ConversationStub], Any]") -> None:
    network = Network()
    async with channel_to(network) as channel, anyio.create_task_group() as tasks:
        tasks.start_soon(answer_one, network)
        with pytest.raises(LookupError, match="mine"):  # noqa: PT012 - the loop is under test
            async for _ in method(stub_on(channel)):
                raise LookupError("mine")
        assert channel.statistics().streams == 0
        await network.peer.settle()
        assert network.peer.resets(1) == CANCEL


@streaming
@pytest.mark.anyio
async def test_cancelled_while_it_waits(method: "Callable[[ConversationStub], Any]") -> None:
    network = Network()
    async with channel_to(network) as channel:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(texts_of, method(stub_on(channel)))
            await network.accept()
            tasks.cancel_scope.cancel()
        assert channel.statistics().streams == 0
        await network.peer.settle()
        assert network.peer.resets(1) == CANCEL


@pytest.mark.anyio
async def test_requests_are_closed_when_the_answer_is() -> None:
    """In a task of the channel's, at its next turn."""
    requests = Requests("a", "b")
    async with ChannelFor([Conversation()]) as channel:
        answer = cast("AsyncGenerator[Line]", stub_on(channel).talk(requests()))
        async with aclosing(answer):
            assert (await anext(answer)).text == "a"
        await anyio.wait_all_tasks_blocked()
        assert requests.is_closed


@streaming
@pytest.mark.anyio
async def test_never_begun(method: "Callable[[ConversationStub], Any]") -> None:
    """Dropped or closed before the first message was asked for: nothing is sent."""
    network = Network()
    async with channel_to(network) as channel:
        method(stub_on(channel))
        async with aclosing(method(stub_on(channel))):
            pass
    assert network.peers == []


@pytest.mark.anyio
async def test_one_message_of_an_answer_that_nobody_holds() -> None:
    """It lives until the message is there."""
    async with ChannelFor([Conversation()]) as channel:
        assert await anext(stub_on(channel).listen(Line("a b"))) == Line("a")
        assert channel.statistics().streams == 0


#: The collector finalises a cycle in any order. When it comes to the generator first, trio warns.
in_a_cycle = pytest.mark.filterwarnings(
    "ignore:Async generator .* was garbage collected:ResourceWarning"
)


@in_a_cycle
@pytest.mark.may_leak("a stub's generator in a cycle, on purpose")
@pytest.mark.anyio
async def test_garbage_of_a_cycle() -> None:
    """The collector runs in this thread, and the call ends there and then."""
    network = Network()
    async with channel_to(network) as channel, anyio.create_task_group() as tasks:
        tasks.start_soon(answer_one, network)
        cycle: list[Any] = [stub_on(channel).listen(ONE)]
        cycle.append(cycle)
        assert await anext(cycle[0]) == ONE
        del cycle
        gc.collect()
        assert channel.statistics().streams == 0
        await network.peer.settle()
        assert network.peer.resets(1) == CANCEL


@in_a_cycle
@pytest.mark.may_leak("a stub's generator in a cycle, on purpose")
@pytest.mark.anyio
async def test_garbage_of_a_cycle_that_is_found_in_another_thread() -> None:
    """The call ends in its own thread, soon."""
    network = Network()
    async with channel_to(network) as channel, anyio.create_task_group() as tasks:
        tasks.start_soon(answer_one, network)
        gc.disable()
        try:
            cycle: list[Any] = [stub_on(channel).listen(ONE)]
            cycle.append(cycle)
            assert await anext(cycle[0]) == ONE
            del cycle
            await anyio.to_thread.run_sync(gc.collect)
        finally:
            gc.enable()
        await network.peer.settle()
        assert channel.statistics().streams == 0
        assert network.peer.resets(1) == CANCEL


# -- whose stubs ----------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_stub_is_still_the_generated_one() -> None:
    async with ChannelFor([Conversation()]) as channel:
        stub = stub_on(channel)
        assert isinstance(stub, ConversationStub)
        assert type(stub) is type(stub_on(channel))
        assert repr(type(stub)) == repr(ConversationStub)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.anyio
async def test_stub_on_another_channel_is_left_alone() -> None:  # noqa: ASYNC124 - on both loops, as all here
    channel = grpclib.client.Channel()
    stub = ConversationStub(channel)
    assert type(stub) is ConversationStub
    channel.close()
