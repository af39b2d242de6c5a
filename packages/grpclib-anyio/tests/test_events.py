"""grpclib's events, listened to with grpclib's own `listen`, at both ends."""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a task group may swallow what its body raises; a test would have failed.

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio.lowlevel
import pytest
from anyio.abc import ByteStream
from grpclib import events
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from grpclib_anyio.client import Channel
from grpclib_anyio.server import Server
from grpclib_anyio.testing import ChannelOver, memory_pair
from harness.conversation import ConversationBase, ConversationStub, Line

pytestmark = pytest.mark.anyio

ASK, LISTEN = "/conversation.Conversation/Ask", "/conversation.Conversation/Listen"


class Conversation(ConversationBase):
    async def ask(self, line: Line) -> Line:
        if line.text == "fail":
            raise GRPCError(Status.ABORTED, "enough")
        return line

    async def listen(self, line: Line) -> AsyncIterator[Line]:  # noqa: ASYNC900 - closed by the transport
        for word in line.text.split():
            yield Line(word)


@asynccontextmanager
async def ends() -> AsyncGenerator[tuple[Channel, Server], None]:
    """Give a channel and its server."""
    server = Server([Conversation()])

    async def connect() -> ByteStream:  # noqa: ASYNC124 - grpclib awaits it
        near, far = memory_pair()
        tasks.start_soon(server.serve_connection, far)
        return near

    async with anyio.create_task_group() as tasks:
        async with ChannelOver(connect) as channel:
            yield channel, server
        tasks.cancel_scope.cancel()


def note(seen: list[Any], *names: str) -> Callable[[Any], Awaitable[None]]:
    """Return a listener that notes an event's type and some of its fields."""

    async def listener(event: Any) -> None:
        await anyio.lowlevel.checkpoint()
        seen.append((type(event).__name__, *(getattr(event, name) for name in names)))

    return listener


def listen(target: Channel | Server, kind: type[Any], callback: Callable[[Any], Any]) -> None:
    events.listen(cast("Any", target), kind, callback)


async def test_order_of_events_at_the_client() -> None:
    seen: list[Any] = []
    async with ends() as (channel, _):
        listen(channel, events.SendRequest, note(seen, "method_name", "content_type", "deadline"))
        listen(channel, events.SendMessage, note(seen, "message"))
        listen(channel, events.RecvInitialMetadata, note(seen))
        listen(channel, events.RecvMessage, note(seen, "message"))
        listen(channel, events.RecvTrailingMetadata, note(seen, "status", "status_message"))
        stub = ConversationStub(cast("Any", channel))
        assert [line.text async for line in stub.listen(Line("a b"))] == ["a", "b"]
    assert seen == [
        ("SendRequest", LISTEN, "application/grpc", None),
        ("SendMessage", Line("a b")),
        ("RecvInitialMetadata",),
        ("RecvMessage", Line("a")),
        ("RecvMessage", Line("b")),
        ("RecvTrailingMetadata", Status.OK, None),
    ]


async def test_order_of_events_at_the_server() -> None:
    seen: list[Any] = []
    async with ends() as (channel, server):
        listen(server, events.RecvRequest, note(seen, "method_name", "content_type", "deadline"))
        listen(server, events.RecvMessage, note(seen, "message"))
        listen(server, events.SendInitialMetadata, note(seen))
        listen(server, events.SendMessage, note(seen, "message"))
        listen(server, events.SendTrailingMetadata, note(seen, "status", "status_message"))
        stub = ConversationStub(cast("Any", channel))
        assert [line.text async for line in stub.listen(Line("a b"))] == ["a", "b"]
    assert seen == [
        ("RecvRequest", LISTEN, "application/grpc", None),
        ("RecvMessage", Line("a b")),
        ("SendInitialMetadata",),
        ("SendMessage", Line("a")),
        ("SendMessage", Line("b")),
        ("SendTrailingMetadata", Status.OK, None),
    ]


async def test_status_of_a_failure_is_told_to_both_ends() -> None:
    seen: list[Any] = []
    async with ends() as (channel, server):
        for target, kind in (
            (channel, events.RecvTrailingMetadata),
            (server, events.SendTrailingMetadata),
        ):
            listen(target, kind, note(seen, "status", "status_message"))
        with pytest.raises(GRPCError):
            await ConversationStub(cast("Any", channel)).ask(Line("fail"))
    assert seen == [
        ("SendTrailingMetadata", Status.ABORTED, "enough"),
        ("RecvTrailingMetadata", Status.ABORTED, "enough"),
    ]


async def test_deadline_peer_and_user_agent_are_told() -> None:
    seen: list[Any] = []
    async with ends() as (channel, server):
        listen(channel, events.SendRequest, note(seen, "deadline"))
        listen(server, events.RecvRequest, note(seen, "deadline", "user_agent", "peer"))
        await ConversationStub(cast("Any", channel)).ask(Line(), timeout=50)
    (_, sent), (_, received, user_agent, peer) = seen
    assert 49 < sent.time_remaining() <= 50
    assert 49 < received.time_remaining() <= 50
    assert "grpclib" in user_agent
    assert peer.addr() is None  # memory has no address


async def test_metadata_is_changed_on_every_way() -> None:
    """Each listener adds a field, which the other end finds."""
    found: dict[str, Any] = {}

    def add(name: str) -> Callable[[Any], Awaitable[None]]:
        async def listener(event: Any) -> None:  # noqa: ASYNC124 - grpclib awaits it
            event.metadata[name] = name

        return listener

    def find(name: str) -> Callable[[Any], Awaitable[None]]:
        async def listener(event: Any) -> None:  # noqa: ASYNC124 - grpclib awaits it
            found[name] = event.metadata.get(name)

        return listener

    async with ends() as (channel, server):
        for sender, sent, receiver, received in (
            (channel, events.SendRequest, server, events.RecvRequest),
            (server, events.SendInitialMetadata, channel, events.RecvInitialMetadata),
            (server, events.SendTrailingMetadata, channel, events.RecvTrailingMetadata),
        ):
            name = f"x-{sent.__name__.lower()}"
            listen(sender, sent, add(name))
            listen(receiver, received, find(name))
        await ConversationStub(cast("Any", channel)).ask(Line())
    assert found == {name: name for name in found}
    assert len(found) == 3


async def test_messages_are_exchanged_on_every_way() -> None:
    def append(text: str) -> Callable[[Any], Awaitable[None]]:
        async def listener(event: Any) -> None:  # noqa: ASYNC124 - grpclib awaits it
            event.message = Line(event.message.text + text)

        return listener

    async with ends() as (channel, server):
        listen(channel, events.SendMessage, append("1"))
        listen(server, events.RecvMessage, append("2"))
        listen(server, events.SendMessage, append("3"))
        listen(channel, events.RecvMessage, append("4"))
        assert await ConversationStub(cast("Any", channel)).ask(Line("0")) == Line("01234")


async def test_handler_is_exchanged() -> None:
    async def refuse(_stream: object) -> None:  # noqa: ASYNC124 - grpclib awaits it
        raise GRPCError(Status.PERMISSION_DENIED, "not you")

    async def authenticate(event: events.RecvRequest) -> None:  # noqa: ASYNC124 - grpclib awaits it
        assert event.method_name == ASK
        if event.metadata.get("x-token") != "let me in":
            event.method_func = cast("Any", refuse)

    async with ends() as (channel, server):
        listen(server, events.RecvRequest, authenticate)
        stub = ConversationStub(cast("Any", channel))
        with pytest.raises(GRPCError, match="not you"):
            await stub.ask(Line())
        assert await stub.ask(Line("1"), metadata={"x-token": "let me in"}) == Line("1")


async def test_interrupted_event_goes_no_further() -> None:
    seen: list[Any] = []

    async def interrupt(event: events.SendRequest) -> None:  # noqa: ASYNC124 - grpclib awaits it
        event.interrupt()

    async with ends() as (channel, _):
        listen(channel, events.SendRequest, note(seen))
        listen(channel, events.SendRequest, interrupt)
        listen(channel, events.SendRequest, note(seen))
        await ConversationStub(cast("Any", channel)).ask(Line())
    assert seen == [("SendRequest",)]


async def test_error_of_a_listener_is_the_call_s() -> None:
    async def refuse(_event: events.SendRequest) -> None:  # noqa: ASYNC124 - grpclib awaits it
        raise LookupError("mine")

    async with ends() as (channel, _):
        listen(channel, events.SendRequest, refuse)
        with pytest.raises(LookupError, match="mine"):
            await ConversationStub(cast("Any", channel)).ask(Line())
        assert channel.statistics().streams == 0
