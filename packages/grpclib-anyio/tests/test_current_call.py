"""What a handler that is given only a message learns of its call, and says with its answer."""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a task group may swallow what its body raises; a test would have failed.

from collections.abc import AsyncIterator
from typing import Any, cast

import anyio
import pytest
from grpclib.events import RecvRequest, SendInitialMetadata, SendTrailingMetadata, listen
from grpclib.exceptions import ProtocolError
from h2.errors import ErrorCodes
from h2.events import ResponseReceived, TrailersReceived
from trio.testing import MockClock

from grpclib_anyio.client import Channel
from grpclib_anyio.errors import GRPCError, Status
from grpclib_anyio.server import Server, Stream, current_call
from grpclib_anyio.testing import ChannelFor, memory_pair
from harness.conversation import ConversationBase, ConversationStub, Line
from harness.peer import STREAM, Methods, Raw, ScriptedPeer, fields_of, served

ASK, LISTEN = "/conversation.Conversation/Ask", "/conversation.Conversation/Listen"
HELLO = Line("hello")


def stub_on(channel: Channel, **options: Any) -> ConversationStub:
    return ConversationStub(cast("Any", channel), **options)


class Conversation(ConversationBase):
    """Sets metadata and answers with what it was told beside the message."""

    async def ask(self, line: Line) -> Line:
        call = current_call()
        call.set_initial_metadata({"x-initial": "one"})
        call.set_trailing_metadata([("x-trailing", "two"), ("x-bytes-bin", b"\0")])
        if line.text == "fail":
            raise GRPCError(Status.ABORTED, "enough")
        if line.text == "break":
            raise ValueError("mine")
        if line.text == "wait":
            await anyio.sleep_forever()
        return Line(str(call.metadata.get("x-name")))

    async def listen(self, line: Line) -> AsyncIterator[Line]:  # noqa: ASYNC900 - closed by the transport
        current_call().set_trailing_metadata([("x-trailing", "two")])
        yield line
        current_call().set_trailing_metadata([("x-trailing", "three")])


# -- what is read ---------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_metadata_of_the_caller() -> None:
    async with ChannelFor([Conversation()]) as channel:
        stub = stub_on(channel, metadata={"x-name": "me"})
        assert await stub.ask(HELLO) == Line("me")
        assert await stub.ask(HELLO, metadata={"x-name": "you"}) == Line("you")


@pytest.mark.trio
async def test_deadline_and_user_agent_and_peer(autojump_clock: MockClock) -> None:
    del autojump_clock
    seen: list[Any] = []

    class Service(ConversationBase):
        async def ask(self, line: Line) -> Line:
            call = current_call()
            assert call.deadline is not None
            seen.extend([call.deadline.time_remaining(), call.user_agent, call.peer.addr()])
            return line

    async with anyio.create_task_group() as tasks:
        ((host, port),) = await tasks.start(Server([Service()]).serve, "127.0.0.1", 0)
        async with Channel(host, port) as channel:
            await stub_on(channel, timeout=50).ask(HELLO)
        tasks.cancel_scope.cancel()
    remaining, agent, peer = seen
    assert 45 < remaining <= 50
    assert agent.startswith("grpc-python-grpclib/")
    assert peer[0] == "127.0.0.1"


@pytest.mark.anyio
async def test_calls_at_one_time_have_each_their_own() -> None:
    everyone_is_here, here = anyio.Event(), 0

    class Service(ConversationBase):
        async def ask(self, line: Line) -> Line:
            nonlocal here
            here += 1
            if here == 3:
                everyone_is_here.set()
            await everyone_is_here.wait()
            assert line == HELLO
            return Line(str(current_call().metadata.get("x-name")))

    heard: set[str] = set()

    async def ask(name: str) -> None:
        heard.add((await stub_on(channel, metadata={"x-name": name}).ask(HELLO)).text)

    async with ChannelFor([Service()]) as channel, anyio.create_task_group() as tasks:
        for name in ("a", "b", "c"):
            tasks.start_soon(ask, name)
    assert heard == {"a", "b", "c"}


@pytest.mark.anyio
async def test_tasks_of_a_handler_see_its_call() -> None:
    seen: list[Stream[Any, Any]] = []

    class Service(ConversationBase):
        async def ask(self, line: Line) -> Line:
            async def look() -> None:  # noqa: ASYNC124 - a task of its own is the point
                seen.append(current_call())

            async with anyio.create_task_group() as tasks:  # noqa: ASYNC112 - a task of its own is the point
                tasks.start_soon(look)
            seen.append(current_call())
            return line

    async with ChannelFor([Service()]) as channel:
        await stub_on(channel).ask(HELLO)
    assert seen[0] is seen[1]
    seen.clear()


@pytest.mark.anyio
async def test_handler_that_is_given_the_call_is_given_this_one() -> None:
    same: list[bool] = []

    async def handler(stream: Any) -> None:
        same.append(stream is current_call())
        await stream.send_message(await stream.recv_message())

    async with served(stream=handler) as peer:
        await peer.request(STREAM, b"request")
        await peer.expect(TrailersReceived)
    assert same == [True]


@pytest.mark.anyio
async def test_call_within_a_handler_does_not_hide_it() -> None:
    """The handler of the inner call has its own, and the outer one its own again."""
    names: list[str] = []

    class Service(ConversationBase):
        async def ask(self, line: Line) -> Line:
            if line.text == "outer":
                async with ChannelFor([self]) as inner:
                    await stub_on(inner, metadata={"x-name": "inner"}).ask(Line("inner"))
            names.append(str(current_call().metadata["x-name"]))
            return line

    async with ChannelFor([Service()]) as channel:
        await stub_on(channel, metadata={"x-name": "outer"}).ask(Line("outer"))
    assert names == ["inner", "outer"]


@pytest.mark.anyio
async def test_listener_to_a_request_sees_its_call() -> None:
    async def mark(_event: RecvRequest) -> None:  # noqa: ASYNC124 - grpclib's
        current_call().set_trailing_metadata({"x-by": "listener"})

    near, far = memory_pair()
    server = Server([Methods(stream=echo)], codec=Raw())
    listen(server, RecvRequest, mark)
    peer = ScriptedPeer(far, client_side=True)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve_connection, near)
        await peer.start()
        await peer.request(STREAM, b"request")
        assert fields_of(await peer.expect(TrailersReceived))["x-by"] == "listener"
        far.close()


@pytest.mark.anyio
async def test_no_call_outside_of_a_handler() -> None:  # noqa: ASYNC124 - on both loops, as all here
    with pytest.raises(LookupError, match="No gRPC call is handled here"):
        current_call()


# -- what is set ----------------------------------------------------------------------------------


async def echo(stream: Any) -> None:
    await stream.send_message(await stream.recv_message())


async def answer_to(
    peer: ScriptedPeer, path: str, line: Line, **more: str
) -> tuple[dict[str, str], dict[str, str]]:
    """Make a call, and return the headers and the trailers of its answer."""
    extra = tuple((name.replace("_", "-"), value) for name, value in more.items())
    await peer.request(path, bytes(line), extra=extra)
    headers = fields_of(await peer.expect(ResponseReceived))
    return headers, fields_of(await peer.expect(TrailersReceived))


class Serving:
    """A conversation's server, and a client that sees every header."""

    def __init__(self) -> None:
        self.server = Server([Conversation()])
        self.near, self.far = memory_pair()
        self.peer = ScriptedPeer(self.far, client_side=True)

    async def __aenter__(self) -> ScriptedPeer:
        self.tasks = anyio.create_task_group()
        await self.tasks.__aenter__()
        self.tasks.start_soon(self.server.serve_connection, self.near)
        await self.peer.start()
        return self.peer

    async def __aexit__(self, *exception: object) -> None:
        self.far.close()
        self.tasks.cancel_scope.cancel()
        await self.tasks.__aexit__(None, None, None)  # noqa: ASYNC102 - cancelled in the line before


@pytest.mark.anyio
async def test_metadata_that_is_set_is_sent() -> None:
    async with Serving() as peer:
        headers, trailers = await answer_to(peer, ASK, HELLO)
    assert headers["x-initial"] == "one"
    assert "x-trailing" not in headers
    assert (trailers["grpc-status"], trailers["x-trailing"]) == ("0", "two")
    assert trailers["x-bytes-bin"] == "AA"


@pytest.mark.anyio
@pytest.mark.parametrize(("word", "status"), [("fail", "10"), ("break", "2")])
async def test_metadata_is_sent_with_an_error(word: str, status: str) -> None:
    """No message has been sent: the headers come first, because they were set."""
    async with Serving() as peer:
        headers, trailers = await answer_to(peer, ASK, Line(word))
    assert headers["x-initial"] == "one"
    assert "grpc-status" not in headers
    assert (trailers["grpc-status"], trailers["x-trailing"]) == (status, "two")


@pytest.mark.trio
async def test_metadata_is_sent_at_the_deadline(autojump_clock: MockClock) -> None:
    del autojump_clock
    async with Serving() as peer:
        headers, trailers = await answer_to(peer, ASK, Line("wait"), grpc_timeout="2S")
    assert headers["x-initial"] == "one"
    assert (trailers["grpc-status"], trailers["x-trailing"]) == ("4", "two")


@pytest.mark.anyio
async def test_metadata_is_sent_when_the_server_stops() -> None:
    serving = Serving()
    async with serving as peer:
        await peer.request(ASK, bytes(Line("wait")))
        await peer.settle()
        serving.tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            assert fields_of(await peer.expect(ResponseReceived))["x-initial"] == "one"
            trailers = fields_of(await peer.expect(TrailersReceived))
    assert (trailers["grpc-status"], trailers["x-trailing"]) == ("14", "two")


@pytest.mark.anyio
async def test_last_that_is_set_counts() -> None:
    async with Serving() as peer:
        _, trailers = await answer_to(peer, LISTEN, HELLO)
    assert trailers["x-trailing"] == "three"


@pytest.mark.anyio
async def test_what_is_sent_explicitly_is_added() -> None:
    async def handler(stream: Any) -> None:
        stream.set_initial_metadata({"x-first": "set"})
        stream.set_trailing_metadata({"x-last": "set"})
        await stream.send_initial_metadata(metadata={"x-second": "sent"})
        await stream.send_trailing_metadata(metadata={"x-last": "sent"})

    async with served(stream=handler) as peer:
        await peer.request(STREAM, b"request")
        headers = fields_of(await peer.expect(ResponseReceived))
        event = await peer.expect(TrailersReceived)
    assert (headers["x-first"], headers["x-second"]) == ("set", "sent")
    trailers: list[Any] = list(event.headers)  # h2 gives text and declares bytes
    assert [value for name, value in trailers if name == "x-last"] == ["set", "sent"]


@pytest.mark.anyio
async def test_listeners_see_what_is_set() -> None:
    seen: list[dict[str, Any]] = []

    async def note(event: Any) -> None:  # noqa: ASYNC124 - grpclib's
        seen.append(dict(event.metadata))

    serving = Serving()
    listen(serving.server, SendInitialMetadata, note)
    listen(serving.server, SendTrailingMetadata, note)
    async with serving as peer:
        await answer_to(peer, ASK, HELLO)
    assert seen == [{"x-initial": "one"}, {"x-trailing": "two", "x-bytes-bin": b"\0"}]


@pytest.mark.anyio
async def test_too_late_to_set() -> None:
    late: list[str] = []

    async def handler(stream: Any) -> None:
        await stream.send_message(b"one")
        for set_metadata in (stream.set_initial_metadata, stream.set_trailing_metadata):
            try:
                set_metadata({"x-late": "one"})
            except ProtocolError as error:
                late.append(str(error))
        await stream.send_trailing_metadata()
        with pytest.raises(ProtocolError, match="Trailing metadata was already sent"):
            stream.set_trailing_metadata({"x-late": "two"})

    async with served(stream=handler) as peer:
        await peer.request(STREAM, b"request")
        assert fields_of(await peer.expect(TrailersReceived))["x-late"] == "one"
    assert late == ["Initial metadata was already sent"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("metadata", "error"),
    [
        ({"grpc-status": "0"}, ValueError),
        ({"x-key": "\n"}, ValueError),
        ({"x-key": b"bytes"}, TypeError),
        ({"x-key-bin": "text"}, TypeError),
    ],
)
async def test_what_cannot_be_sent_is_refused_where_it_is_set(
    metadata: dict[str, Any], error: type[Exception]
) -> None:
    async def handler(stream: Any) -> None:
        for set_metadata in (stream.set_initial_metadata, stream.set_trailing_metadata):
            with pytest.raises(error):
                set_metadata(metadata)
        await echo(stream)

    async with served(stream=handler) as peer:
        await peer.request(STREAM, b"request")
        assert fields_of(await peer.expect(TrailersReceived))["grpc-status"] == "0"


@pytest.mark.anyio
async def test_client_that_has_reset_the_call_is_sent_nothing() -> None:
    async with Serving() as peer:
        stream_id = await peer.request(ASK, bytes(Line("wait")), end=True)
        await peer.settle()
        await peer.reset(stream_id, ErrorCodes.CANCEL)
        await peer.settle()
        assert peer.frames_of(stream_id) == []
