"""betterproto2's generated stubs and service bases, unmodified, in each cardinality."""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a task group may swallow what its body raises; a test would have failed.

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, cast

import anyio
import betterproto2.grpclib
import pytest
from grpclib.const import Status
from h2.errors import ErrorCodes
from trio.testing import MockClock

from grpclib_anyio.client import Channel
from grpclib_anyio.errors import DeadlineExceededError, GRPCError
from grpclib_anyio.testing import ChannelFor
from harness.betterproto2_stubs.conversation import ConversationBase, ConversationStub, Line
from harness.peer import Network, channel_to

CANCEL = [ErrorCodes.CANCEL]


def line(text: str) -> Line:
    return Line(text=text)


class Conversation(ConversationBase):
    """Answers with what it hears, and notes which of its methods are over."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    async def ask(self, message: Line) -> Line:
        return message

    async def listen(self, message: Line) -> AsyncIterator[Line]:  # noqa: ASYNC900 - closed by the transport
        try:
            for word in message.text.split():
                yield line(word)
                if word == "wait":
                    await anyio.sleep_forever()
        finally:
            self.ended.append("listen")

    async def tell(self, messages: AsyncIterator[Line]) -> Line:
        return line(" ".join([message.text async for message in messages]))

    async def talk(self, messages: AsyncIterator[Line]) -> AsyncIterator[Line]:  # noqa: ASYNC900 - closed by the transport
        try:
            async for message in messages:
                if message.text == "fail":
                    raise GRPCError(Status.ABORTED, "enough")
                yield message
        finally:
            self.ended.append("talk")


def stub_on(channel: Channel, timeout: float | None = None) -> ConversationStub:
    return ConversationStub(cast("Any", channel), timeout=timeout)


async def texts_of(answer: AsyncIterable[Line]) -> list[str]:
    return [message.text async for message in answer]


class Requests:
    """Requests that go on until they are closed."""

    def __init__(self, *first: str) -> None:
        self.is_closed = False
        self._first = first

    async def __call__(self) -> AsyncGenerator[Line]:  # noqa: ASYNC900 - closed by the transport
        try:
            for text in self._first:
                yield line(text)
            await anyio.sleep_forever()
        finally:
            self.is_closed = True


# -- each cardinality -----------------------------------------------------------------------------


@pytest.mark.anyio
async def test_each_cardinality() -> None:
    async with ChannelFor([Conversation()]) as channel:
        stub = stub_on(channel)
        assert await stub.ask(line("one")) == line("one")
        assert await texts_of(stub.listen(line("a b c"))) == ["a", "b", "c"]
        assert await stub.tell([line("a"), line("b")]) == line("a b")
        assert await texts_of(stub.talk([line("a"), line("b")])) == ["a", "b"]


@pytest.mark.anyio
async def test_nothing_in_a_stream() -> None:
    async with ChannelFor([Conversation()]) as channel:
        stub = stub_on(channel)
        assert await texts_of(stub.listen(Line())) == []
        assert await stub.tell([]) == Line()
        assert await texts_of(stub.talk([])) == []


@pytest.mark.anyio
async def test_both_sides_in_turns() -> None:
    """Each request is made of the answer to the one before; left alone, it fails on trio."""
    send, receive = anyio.create_memory_object_stream[Line](1)
    async with ChannelFor([Conversation()]) as channel, send, receive:
        await send.send(line("0"))
        heard: list[str] = []
        answer = cast("AsyncGenerator[Line]", stub_on(channel).talk(receive))
        async with aclosing(answer):
            async for message in answer:
                heard.append(message.text)
                if len(heard) == 20:
                    break
                await send.send(line(str(len(heard))))
    assert heard == [str(number) for number in range(20)]


@pytest.mark.anyio
async def test_method_that_is_not_there() -> None:
    """The base answers UNIMPLEMENTED for each method."""
    async with ChannelFor([ConversationBase()]) as channel:
        for call in (stub_on(channel).ask(Line()), stub_on(channel).tell([])):
            with pytest.raises(GRPCError) as caught:
                await call
            assert caught.value.status is Status.UNIMPLEMENTED
        for answer in (stub_on(channel).listen(Line()), stub_on(channel).talk([])):
            with pytest.raises(GRPCError) as caught:
                await texts_of(answer)
            assert caught.value.status is Status.UNIMPLEMENTED


# -- how it ends ----------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_server_fails_a_conversation() -> None:
    requests = Requests("a", "fail")
    async with ChannelFor([Conversation()]) as channel:
        with pytest.raises(GRPCError, match="enough"):
            await texts_of(stub_on(channel).talk(requests()))
        await anyio.wait_all_tasks_blocked()
        assert requests.is_closed


def broken() -> Iterator[Line]:
    yield line("a")
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


@pytest.mark.trio
async def test_deadline_while_requests_do_not_come(autojump_clock: MockClock) -> None:
    del autojump_clock
    requests = Requests()
    async with ChannelFor([Conversation()]) as channel:
        start = anyio.current_time()
        with pytest.raises(DeadlineExceededError):
            await stub_on(channel, timeout=3).tell(requests())
        assert anyio.current_time() == start + 3
        await anyio.wait_all_tasks_blocked()
        assert requests.is_closed


# -- how it is left -------------------------------------------------------------------------------


def listen(stub: ConversationStub) -> AsyncIterator[Line]:
    return stub.listen(line("one"))


def talk(stub: ConversationStub) -> AsyncIterator[Line]:
    return stub.talk(Requests()())


streaming = pytest.mark.parametrize("method", [listen, talk])
Method = Callable[[ConversationStub], Any]


@asynccontextmanager
async def answered_once() -> AsyncGenerator[tuple[Channel, Network]]:
    """Give a channel whose peer answers the first call with one message, and goes on."""

    async def answer() -> None:
        peer, stream_id = await network.accept()
        await peer.respond(stream_id, bytes(line("one")))

    network = Network()
    async with channel_to(network) as channel, anyio.create_task_group() as tasks:
        tasks.start_soon(answer)
        yield channel, network


@streaming
@pytest.mark.anyio
async def test_left_by_break(method: Method) -> None:
    """The call is over in the statement after the loop."""
    async with answered_once() as (channel, network):
        async for message in method(stub_on(channel)):
            assert message == line("one")
            break
        assert channel.statistics().streams == 0
        await network.peer.settle()
        assert network.peer.resets(1) == CANCEL


@streaming
@pytest.mark.anyio
async def test_left_with_aclosing(method: Method) -> None:
    async with answered_once() as (channel, network):
        async with aclosing(method(stub_on(channel))) as answer:
            assert await anext(answer) == line("one")
        assert channel.statistics().streams == 0
        await network.peer.settle()
        assert network.peer.resets(1) == CANCEL


@streaming
@pytest.mark.anyio
async def test_cancelled_while_it_waits(method: Method) -> None:
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
    requests = Requests("a", "b")
    async with ChannelFor([Conversation()]) as channel:
        answer = cast("AsyncGenerator[Line]", stub_on(channel).talk(requests()))
        async with aclosing(answer):
            assert (await anext(answer)).text == "a"
        await anyio.wait_all_tasks_blocked()
        assert requests.is_closed


@pytest.mark.anyio
async def test_generator_of_a_handler_is_closed_when_the_client_leaves() -> None:
    """In its own task, and not by the garbage collector."""
    service = Conversation()
    async with ChannelFor([service]) as channel:
        async for message in stub_on(channel).listen(line("wait")):
            assert message == line("wait")
            break
        await anyio.wait_all_tasks_blocked()
        assert service.ended == ["listen"]
        async for _ in stub_on(channel).talk(Requests("a")()):
            break
        await anyio.wait_all_tasks_blocked()
        assert service.ended == ["listen", "talk"]


# -- whose code -----------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_only_the_object_is_changed() -> None:
    """The generated classes have what they had, and the library but for one constructor."""
    async with ChannelFor([Conversation()]) as channel:
        stub = stub_on(channel)
        assert isinstance(stub, ConversationStub)
        assert type(stub) is type(stub_on(channel))
        assert type(stub) is not ConversationStub
    modules = {
        function.__module__ for function in vars(ConversationStub).values() if callable(function)
    }
    assert modules == {ConversationStub.__module__}
    changed = [
        name
        for name, part in vars(betterproto2.grpclib.ServiceStub).items()
        if callable(part)
        and "grpclib_anyio" in getattr(getattr(part, "__code__", None), "co_filename", "")
    ]
    assert changed == ["__init__"]
