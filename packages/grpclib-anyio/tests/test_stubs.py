"""Generated stubs and service bases, unmodified, in each cardinality, of either library.

Each test gets the module that one of the libraries has generated as ``generated``.
"""

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
from harness import conversation
from harness.betterproto2_stubs import conversation as conversation2
from harness.peer import Network, channel_to, fields_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable
    from types import ModuleType

CANCEL = [ErrorCodes.CANCEL]


@pytest.fixture(params=[conversation, conversation2], ids=["betterproto", "betterproto2"])
def generated(request: pytest.FixtureRequest) -> "ModuleType":
    """Give what a library generates: `Line`, `ConversationStub` and `ConversationBase`."""
    module: ModuleType = request.param
    return module


class Conversation:
    """Answers with what it hears, and notes which of its methods are over."""

    line_type: Any

    def __init__(self) -> None:
        self.ended: list[str] = []

    async def ask(self, line: Any) -> Any:
        return line

    async def listen(self, line: Any) -> AsyncIterator[Any]:  # noqa: ASYNC900 - closed by the transport
        try:
            for word in line.text.split():
                yield self.line_type(text=word)
                if word == "wait":
                    await anyio.sleep_forever()
        finally:
            self.ended.append("listen")

    async def tell(self, lines: AsyncIterator[Any]) -> Any:
        return self.line_type(text=" ".join([line.text async for line in lines]))

    async def talk(self, lines: AsyncIterator[Any]) -> AsyncIterator[Any]:  # noqa: ASYNC900 - closed by the transport
        try:
            async for line in lines:
                if line.text == "bye":
                    return
                if line.text == "fail":
                    raise GRPCError(Status.ABORTED, "enough")
                yield line
        finally:
            self.ended.append("talk")


def conversation_of(generated: Any) -> Any:
    """Make a `Conversation` on a library's generated base."""
    bases = (Conversation, generated.ConversationBase)
    return type("Conversation", bases, {"line_type": generated.Line})()


def stub_on(channel: Channel, generated: Any, timeout: float | None = None) -> Any:
    return generated.ConversationStub(cast("Any", channel), timeout=timeout)


def lines(generated: Any, *texts: str) -> list[Any]:
    return [generated.Line(text=text) for text in texts]


class Requests:
    """Requests that go on until they are closed."""

    def __init__(self, generated: Any, *first: str) -> None:
        self.is_closed = False
        self._first = lines(generated, *first)

    async def __call__(self) -> AsyncGenerator[Any]:  # noqa: ASYNC900 - closed by the transport
        try:
            for line in self._first:
                yield line
            await anyio.sleep_forever()
        finally:
            self.is_closed = True


async def texts_of(answer: "AsyncIterable[Any]") -> list[str]:
    return [line.text async for line in answer]


# -- each cardinality -----------------------------------------------------------------------------


@pytest.mark.anyio
async def test_each_cardinality(generated: Any) -> None:
    async with ChannelFor([conversation_of(generated)]) as channel:
        stub = stub_on(channel, generated)
        assert await stub.ask(generated.Line(text="one")) == generated.Line(text="one")
        assert await texts_of(stub.listen(generated.Line(text="a b c"))) == ["a", "b", "c"]
        assert await stub.tell(lines(generated, "a", "b")) == generated.Line(text="a b")
        assert await texts_of(stub.talk(lines(generated, "a", "b"))) == ["a", "b"]


@pytest.mark.anyio
async def test_nothing_in_a_stream(generated: Any) -> None:
    async with ChannelFor([conversation_of(generated)]) as channel:
        stub = stub_on(channel, generated)
        assert await texts_of(stub.listen(generated.Line())) == []
        assert await stub.tell([]) == generated.Line()
        assert await texts_of(stub.talk([])) == []


@pytest.mark.anyio
async def test_requests_of_an_async_iterator(generated: Any) -> None:
    async def requests() -> AsyncGenerator[Any]:  # noqa: ASYNC124, ASYNC900 - closed by the transport
        for text in ("a", "b"):
            yield generated.Line(text=text)

    async with ChannelFor([conversation_of(generated)]) as channel:
        stub = stub_on(channel, generated)
        assert await stub.tell(requests()) == generated.Line(text="a b")
        assert await texts_of(stub.talk(requests())) == ["a", "b"]


@pytest.mark.anyio
async def test_both_sides_in_turns(generated: Any) -> None:
    """Each request is made of the answer to the one before; betterproto2 alone fails on trio."""
    send, receive = anyio.create_memory_object_stream[Any](1)
    async with ChannelFor([conversation_of(generated)]) as channel, send, receive:
        await send.send(generated.Line(text="0"))
        heard: list[str] = []
        async with aclosing(
            cast("AsyncGenerator[Any]", stub_on(channel, generated).talk(receive))
        ) as answer:
            async for line in answer:
                heard.append(line.text)
                await send.send(
                    generated.Line(text="bye" if line.text == "50" else str(int(line.text) + 1))
                )
    assert heard == [str(number) for number in range(51)]


@pytest.mark.anyio
async def test_options_of_the_stub_and_of_the_call(generated: Any) -> None:
    """A call's own deadline and metadata count more."""
    network = Network()
    async with channel_to(network) as channel:
        stub = generated.ConversationStub(
            cast("Any", channel), timeout=50, metadata={"x-of": "stub"}
        )
        for options, expected in (
            ({}, ("stub", 50)),
            ({"timeout": 5, "metadata": {"x-of": "call"}}, ("call", 5)),
        ):
            answer = cast(
                "AsyncGenerator[Any]",
                stub.listen(generated.Line(text="one"), **cast("Any", options)),
            )
            async with aclosing(answer), anyio.create_task_group() as tasks:
                tasks.start_soon(anext, answer, None)
                await anyio.wait_all_tasks_blocked()
                fields = fields_of(await network.peer.expect(RequestReceived))
                assert fields["x-of"] == expected[0]
                assert expected[1] - 5 < int(fields["grpc-timeout"][:-1]) / 1e6 <= expected[1]
                tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_method_that_is_not_there(generated: Any) -> None:
    """The base answers UNIMPLEMENTED for each method."""
    async with ChannelFor([generated.ConversationBase()]) as channel:
        stub = stub_on(channel, generated)
        for call in (stub.ask(generated.Line()), stub.tell([])):
            with pytest.raises(GRPCError) as caught:
                await call
            assert caught.value.status is Status.UNIMPLEMENTED
        for answer in (stub.listen(generated.Line()), stub.talk([])):
            with pytest.raises(GRPCError) as caught:
                await texts_of(answer)
            assert caught.value.status is Status.UNIMPLEMENTED


# -- how it ends ----------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_server_ends_a_conversation(generated: Any) -> None:
    """The client would go on: its requests are closed, the answer is complete."""
    requests = Requests(generated, "a", "bye")
    async with ChannelFor([conversation_of(generated)]) as channel:
        assert await texts_of(stub_on(channel, generated).talk(requests())) == ["a"]
        await anyio.wait_all_tasks_blocked()
        assert requests.is_closed


@pytest.mark.anyio
async def test_server_fails_a_conversation(generated: Any) -> None:
    requests = Requests(generated, "a", "fail")
    heard: list[str] = []
    async with ChannelFor([conversation_of(generated)]) as channel:
        with pytest.raises(GRPCError, match="enough"):
            await hear(stub_on(channel, generated).talk(requests()), heard)
        await anyio.wait_all_tasks_blocked()
        assert requests.is_closed
    assert heard == ["a"]


async def hear(answer: "AsyncIterable[Any]", heard: list[str]) -> None:
    async for line in answer:
        heard.append(line.text)  # noqa: PERF401 - what was heard before it fails counts


def broken(generated: Any) -> Iterator[Any]:
    yield generated.Line(text="one")
    raise LookupError("mine")


@pytest.mark.anyio
async def test_error_of_the_requests_is_raised_from_the_answer(generated: Any) -> None:
    network = Network()
    async with channel_to(network) as channel:
        with pytest.raises(LookupError, match="mine"):
            await texts_of(stub_on(channel, generated).talk(broken(generated)))
        with pytest.raises(LookupError, match="mine"):
            await stub_on(channel, generated).tell(broken(generated))
        await network.peer.settle()
        assert [network.peer.resets(number) for number in (1, 3)] == [CANCEL, CANCEL]


@pytest.mark.anyio
async def test_answer_that_is_exhausted_stays_so(generated: Any) -> None:
    async with ChannelFor([conversation_of(generated)]) as channel:
        answer = cast(
            "AsyncGenerator[Any]", stub_on(channel, generated).talk(lines(generated, "a"))
        )
        assert await texts_of(answer) == ["a"]
        assert await texts_of(answer) == []
        await answer.aclose()


@pytest.mark.trio
async def test_deadline_while_requests_do_not_come(
    generated: Any, autojump_clock: MockClock
) -> None:
    """No request, no answer, and a deadline: betterproto's own helper would wait for ever."""
    del autojump_clock
    requests = Requests(generated)
    async with ChannelFor([conversation_of(generated)]) as channel:
        start = anyio.current_time()
        with pytest.raises(DeadlineExceededError):
            await stub_on(channel, generated, timeout=3).tell(requests())
        assert anyio.current_time() == start + 3
        await anyio.wait_all_tasks_blocked()
        assert requests.is_closed


@pytest.mark.anyio
async def test_answer_without_a_message(generated: Any) -> None:
    """A peer that says OK to a call that has one answer, and gives none."""
    network = Network()
    async with channel_to(network) as channel, anyio.create_task_group() as tasks:

        async def call() -> None:
            with pytest.raises(GRPCError) as caught:
                await stub_on(channel, generated).tell([])
            assert caught.value.status is Status.UNIMPLEMENTED

        tasks.start_soon(call)
        peer, stream_id = await network.accept()
        await peer.expect(StreamEnded)
        await peer.respond(stream_id, end=True)


# -- how it is left -------------------------------------------------------------------------------


def listen(stub: Any, generated: Any) -> Any:
    return stub.listen(generated.Line(text="one"))


def talk(stub: Any, generated: Any) -> Any:
    return stub.talk(Requests(generated)())


streaming = pytest.mark.parametrize("method", [listen, talk])


async def answer_one(network: Network, generated: Any) -> None:
    peer, stream_id = await network.accept()
    await peer.respond(stream_id, bytes(generated.Line(text="one")))


@streaming
@pytest.mark.anyio
async def test_left_with_aclosing(generated: Any, method: "Callable[[Any, Any], Any]") -> None:
    """The reset is queued when the block has been left, with no other task run in between."""
    network = Network()
    async with channel_to(network) as channel, anyio.create_task_group() as tasks:
        tasks.start_soon(answer_one, network, generated)
        async with aclosing(method(stub_on(channel, generated), generated)) as answer:
            assert await anext(answer) == generated.Line(text="one")
        assert channel.statistics().streams == 0
        await network.peer.settle()
        assert network.peer.resets(1) == CANCEL


@streaming
@pytest.mark.anyio
async def test_left_by_break(generated: Any, method: "Callable[[Any, Any], Any]") -> None:
    """The reset is queued before the statement after the loop; no garbage is left."""
    network = Network()
    async with channel_to(network) as channel, anyio.create_task_group() as tasks:
        tasks.start_soon(answer_one, network, generated)
        async for line in method(stub_on(channel, generated), generated):
            assert line == generated.Line(text="one")
            break
        assert channel.statistics().streams == 0
        await network.peer.settle()
        assert network.peer.resets(1) == CANCEL


@streaming
@pytest.mark.anyio
async def test_left_by_an_exception(generated: Any, method: "Callable[[Any, Any], Any]") -> None:
    network = Network()
    async with channel_to(network) as channel, anyio.create_task_group() as tasks:
        tasks.start_soon(answer_one, network, generated)
        with pytest.raises(LookupError, match="mine"):  # noqa: PT012 - the loop is under test
            async for _ in method(stub_on(channel, generated), generated):
                raise LookupError("mine")
        assert channel.statistics().streams == 0
        await network.peer.settle()
        assert network.peer.resets(1) == CANCEL


@streaming
@pytest.mark.anyio
async def test_cancelled_while_it_waits(
    generated: Any, method: "Callable[[Any, Any], Any]"
) -> None:
    network = Network()
    async with channel_to(network) as channel:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(texts_of, method(stub_on(channel, generated), generated))
            await network.accept()
            tasks.cancel_scope.cancel()
        assert channel.statistics().streams == 0
        await network.peer.settle()
        assert network.peer.resets(1) == CANCEL


@pytest.mark.anyio
async def test_requests_are_closed_when_the_answer_is(generated: Any) -> None:
    """In a task of the channel's, at its next turn."""
    requests = Requests(generated, "a", "b")
    async with ChannelFor([conversation_of(generated)]) as channel:
        answer = cast("AsyncGenerator[Any]", stub_on(channel, generated).talk(requests()))
        async with aclosing(answer):
            assert (await anext(answer)).text == "a"
        await anyio.wait_all_tasks_blocked()
        assert requests.is_closed


@pytest.mark.anyio
async def test_generator_of_a_handler_is_closed_when_the_client_leaves(generated: Any) -> None:
    """In its own task, and not by the garbage collector."""
    service = conversation_of(generated)
    async with ChannelFor([service]) as channel:
        stub = stub_on(channel, generated)
        async for line in stub.listen(generated.Line(text="wait")):
            assert line == generated.Line(text="wait")
            break
        await anyio.wait_all_tasks_blocked()
        assert service.ended == ["listen"]
        async for _ in stub.talk(Requests(generated, "a")()):
            break
        await anyio.wait_all_tasks_blocked()
        assert service.ended == ["listen", "talk"]


@streaming
@pytest.mark.anyio
async def test_never_begun(generated: Any, method: "Callable[[Any, Any], Any]") -> None:
    """Dropped or closed before the first message was asked for: nothing is sent."""
    network = Network()
    async with channel_to(network) as channel:
        method(stub_on(channel, generated), generated)
        async with aclosing(method(stub_on(channel, generated), generated)):
            pass
    assert network.peers == []


@pytest.mark.anyio
async def test_one_message_of_an_answer_that_nobody_holds(generated: Any) -> None:
    """It lives until the message is there."""
    async with ChannelFor([conversation_of(generated)]) as channel:
        assert await anext(
            stub_on(channel, generated).listen(generated.Line(text="a b"))
        ) == generated.Line(text="a")
        assert channel.statistics().streams == 0


#: The collector finalises a cycle in any order. When it comes to the generator first, trio warns.
in_a_cycle = pytest.mark.filterwarnings(
    "ignore:Async generator .* was garbage collected:ResourceWarning"
)


@in_a_cycle
@pytest.mark.may_leak("a stub's generator in a cycle, on purpose")
@pytest.mark.anyio
async def test_garbage_of_a_cycle(generated: Any) -> None:
    """The collector runs in this thread, and the call ends there and then."""
    network = Network()
    async with channel_to(network) as channel, anyio.create_task_group() as tasks:
        tasks.start_soon(answer_one, network, generated)
        cycle: list[Any] = [stub_on(channel, generated).listen(generated.Line(text="one"))]
        cycle.append(cycle)
        assert await anext(cycle[0]) == generated.Line(text="one")
        del cycle
        gc.collect()
        assert channel.statistics().streams == 0
        await network.peer.settle()
        assert network.peer.resets(1) == CANCEL


@in_a_cycle
@pytest.mark.may_leak("a stub's generator in a cycle, on purpose")
@pytest.mark.anyio
async def test_garbage_of_a_cycle_that_is_found_in_another_thread(generated: Any) -> None:
    """The call ends in its own thread, soon."""
    network = Network()
    async with channel_to(network) as channel, anyio.create_task_group() as tasks:
        tasks.start_soon(answer_one, network, generated)
        gc.disable()
        try:
            cycle: list[Any] = [stub_on(channel, generated).listen(generated.Line(text="one"))]
            cycle.append(cycle)
            assert await anext(cycle[0]) == generated.Line(text="one")
            del cycle
            await anyio.to_thread.run_sync(gc.collect)
        finally:
            gc.enable()
        await network.peer.settle()
        assert channel.statistics().streams == 0
        assert network.peer.resets(1) == CANCEL


# -- whose stubs ----------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_stub_is_still_the_generated_one(generated: Any) -> None:
    stub_type: type = generated.ConversationStub
    async with ChannelFor([conversation_of(generated)]) as channel:
        stub: object = stub_on(channel, generated)
        assert isinstance(stub, stub_type)
        assert type(stub) is type(stub_on(channel, generated))
        assert repr(type(stub)) == repr(stub_type)


@pytest.mark.anyio
async def test_only_the_object_is_changed(generated: Any) -> None:
    """The generated classes have what they had, and the library but for one constructor."""
    stub_type: type = generated.ConversationStub
    async with ChannelFor([conversation_of(generated)]) as channel:
        assert type(stub_on(channel, generated)) is not stub_type
    modules = {part.__module__ for part in vars(stub_type).values() if callable(part)}
    assert modules == {stub_type.__module__}
    (service_stub,) = stub_type.__bases__
    changed = [
        name
        for name, part in vars(service_stub).items()
        if callable(part)
        and "grpclib_anyio" in getattr(getattr(part, "__code__", None), "co_filename", "")
    ]
    assert changed == ["__init__"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.anyio
async def test_stub_on_another_channel_is_left_alone(generated: Any) -> None:  # noqa: ASYNC124 - on both loops, as all here
    channel = grpclib.client.Channel()
    stub = generated.ConversationStub(channel)
    assert type(stub) is generated.ConversationStub
    channel.close()
