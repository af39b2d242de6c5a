"""Handlers as a client sees them: how they end, and what ends them."""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a task group may swallow what its body raises; a test would have failed.

import logging
import os
import resource
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import aclosing, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import unquote

import anyio
import pytest
import trio
from grpclib.const import Cardinality, Status
from grpclib.events import SendTrailingMetadata, listen
from grpclib.exceptions import GRPCError
from h2.errors import ErrorCodes
from h2.events import (
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from trio.testing import MockClock

from grpclib_anyio._base.config import Configuration
from grpclib_anyio.client import Channel
from grpclib_anyio.server import Server, Stream
from grpclib_anyio.testing import ChannelFor, memory_pair
from harness.ai import AiServiceBase, AiServiceStub, GenerateRequest, GenerateResponse
from harness.conversation import ConversationBase, Line
from harness.handlers import LISTEN
from harness.peer import (
    BOTH,
    STREAM,
    UNARY,
    Call,
    Handle,
    Methods,
    Raw,
    ScriptedPeer,
    fields_of,
    framed,
    served,
)
from harness.scheduling import ORDERS, in_order

Handling = Stream[bytes, bytes]
KIB = 1024
ASK = "/conversation.Conversation/Ask"
REQUEST = [
    (":method", "POST"),
    (":scheme", "http"),
    (":authority", "test"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
]


async def echo(stream: Handling) -> None:
    """Answer each message with itself."""
    async for message in stream:
        await stream.send_message(message)


async def status_of(peer: ScriptedPeer) -> tuple[int, str | None]:
    """Wait for a call's trailers; return its status and message."""
    while True:
        event = await peer.expect(ResponseReceived)
        fields = fields_of(event)
        if "grpc-status" not in fields:
            fields = fields_of(await peer.expect(TrailersReceived))
        await peer.expect(StreamEnded)
        return int(fields["grpc-status"]), fields.get("grpc-message")


async def still_serves(peer: ScriptedPeer) -> None:
    """Make one more call on the same connection, and see it through."""
    stream_id = await peer.request(BOTH, b"more")
    assert await status_of(peer) == (0, None)
    assert peer.data(stream_id) == framed(b"more")


class Witness:
    """A handler that waits, and notes when its clean-up has run."""

    def __init__(self, *messages: bytes) -> None:
        self.started = anyio.Event()
        self.has_cleaned_up = False
        self.ended_at: float | None = None
        self._messages = messages

    async def __call__(self, stream: Handling) -> None:
        await stream.recv_message()
        self.started.set()
        try:
            for message in self._messages:
                await stream.send_message(message)
            await anyio.sleep_forever()
        finally:
            self.has_cleaned_up = True
            self.ended_at = anyio.current_time()


# -- what ends a handler ------------------------------------------------------------------------


@pytest.mark.anyio
async def test_reset_ends_the_handler() -> None:
    """RST_STREAM, then a ping: the clean-up has run when the ping is answered."""
    witness = Witness(b"one")
    async with served(stream=witness, both=echo) as peer:
        stream_id = await peer.request(STREAM, b"request")
        await peer.settle()
        await peer.reset(stream_id)
        await peer.settle()
        assert witness.has_cleaned_up
        assert peer.resets(stream_id) == []
        await still_serves(peer)


@pytest.mark.anyio
async def test_connection_loss_ends_the_handler() -> None:
    """The client is gone without a word."""
    witness = Witness()
    async with served(stream=witness) as peer:
        await peer.request(STREAM, b"request")
        await peer.settle()
        peer.stream.reset()
        await anyio.wait_all_tasks_blocked()
        assert witness.has_cleaned_up


@pytest.mark.anyio
async def test_half_closed_socket_ends_the_handler() -> None:
    """The client's socket says that it sends nothing more, so it cannot be told of windows."""
    witness = Witness()
    async with served(stream=witness) as peer:
        await peer.request(STREAM, b"request")
        await peer.settle()
        await peer.stream.send_eof()
        await anyio.wait_all_tasks_blocked()
        assert witness.has_cleaned_up


@pytest.mark.trio
async def test_deadline_ends_the_handler(autojump_clock: MockClock) -> None:
    """A grpc-timeout of 2 s; the client is told at exactly that time."""
    del autojump_clock
    witness = Witness(b"one")
    start = anyio.current_time()
    async with served(stream=witness, both=echo) as peer:
        stream_id = await peer.request(STREAM, b"request", extra=(("grpc-timeout", "2S"),))
        assert await status_of(peer) == (4, "Deadline exceeded")
        assert anyio.current_time() == start + 2
        assert witness.ended_at == start + 2
        assert peer.data(stream_id) == framed(b"one")
        assert peer.resets(stream_id) == []
        await still_serves(peer)


@pytest.mark.trio
async def test_deadline_with_data_that_cannot_leave_resets(autojump_clock: MockClock) -> None:
    """The client opens no window, so trailers could only follow half a message."""
    del autojump_clock
    witness = Witness(b"x" * 100 * KIB, b"more")
    start = anyio.current_time()
    async with served(stream=witness, both=echo, reads=False) as peer:
        stream_id = await peer.request(STREAM, b"request", extra=(("grpc-timeout", "2S"),))
        event = await peer.expect(StreamReset)
        assert (event.error_code, anyio.current_time()) == (ErrorCodes.CANCEL, start + 2)
        assert peer.resets(stream_id) == [ErrorCodes.CANCEL]
        assert witness.has_cleaned_up


@pytest.mark.trio
async def test_deadline_while_the_last_message_waits_for_the_window(
    autojump_clock: MockClock,
) -> None:
    """The handler is done, its response is not sent: nobody waits for it past the deadline."""
    del autojump_clock

    async def handler(stream: Handling) -> None:
        await stream.send_message(b"x" * 100 * KIB)

    start = anyio.current_time()
    async with served(stream=handler, reads=False) as peer:
        stream_id = await peer.request(STREAM, b"request", extra=(("grpc-timeout", "2S"),))
        await peer.expect(StreamReset)
        assert anyio.current_time() == start + 2
        assert peer.resets(stream_id) == [ErrorCodes.CANCEL]


@pytest.mark.anyio
async def test_stopping_the_server_tells_its_clients() -> None:
    """Cancelled with one call that can be answered and one that has data waiting."""
    near, far = memory_pair()
    quiet, full = Witness(), Witness(b"x" * 200 * KIB, b"more")
    server = Server([Methods(stream=quiet, both=full)], codec=Raw())
    peer = ScriptedPeer(far, client_side=True, reads=False)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve_connection, near)
        await peer.start()
        first = await peer.request(STREAM, b"request")
        second = await peer.request(BOTH, b"request")
        await peer.settle()
        tasks.cancel_scope.cancel()
    assert quiet.has_cleaned_up
    assert full.has_cleaned_up
    await peer.read_to_end()
    assert peer.resets(second) == [ErrorCodes.CANCEL]
    assert peer.resets(first) == []
    assert peer.ends(first)
    assert peer.goaways() == [(ErrorCodes.NO_ERROR, b"")]
    assert near.statistics().is_closed


@pytest.mark.anyio
async def test_client_learns_that_the_server_is_shutting_down() -> None:
    """Trailers of a call that is cancelled with the server."""
    near, far = memory_pair()
    server = Server([Methods(stream=Witness())], codec=Raw())
    peer = ScriptedPeer(far, client_side=True)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve_connection, near)
        await peer.start()
        await peer.request(STREAM, b"request")
        await peer.settle()
        tasks.cancel_scope.cancel()
    assert await status_of(peer) == (14, "The server is shutting down")


@pytest.mark.anyio
async def test_request_that_comes_while_the_server_stops(caplog: pytest.LogCaptureFixture) -> None:
    """It is refused, so that its client may try it elsewhere; no handler begins only to end."""
    near, far = memory_pair()
    cleaned_up = anyio.Event()

    async def handler(_stream: Handling) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await cleaned_up.wait()

    server = Server([Methods(stream=handler)], codec=Raw())
    peer = ScriptedPeer(far, client_side=True)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve_connection, near)
        await peer.start()
        await peer.request(STREAM, b"request")
        await peer.settle()
        tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await peer.settle()
            late = await peer.request(STREAM, b"request")
            await peer.settle()
        cleaned_up.set()
    assert peer.resets(late) == [ErrorCodes.REFUSED_STREAM]
    assert not caplog.records


@pytest.mark.trio
@pytest.mark.parametrize("order", ORDERS)
async def test_handler_that_ends_as_the_reset_arrives(order: str) -> None:
    """The handler is woken and then, before it runs, the client's RST_STREAM is processed."""
    go = trio.Event()

    async def handler(stream: Handling) -> None:
        await stream.recv_message()
        await go.wait()

    async with served(stream=handler, both=echo) as peer:
        stream_id = await peer.request(STREAM, b"request")
        await peer.settle()
        with in_order(ORDERS[order]):
            peer.h2.reset_stream(stream_id, ErrorCodes.CANCEL)
            peer.flush_nowait()
            go.set()
            await peer.settle()
        await still_serves(peer)


@pytest.mark.anyio
async def test_handler_that_survives_its_cancellation() -> None:
    """It returns as if nothing had happened, from a shielded scope."""
    go = anyio.Event()

    async def handler(stream: Handling) -> None:
        await stream.recv_message()
        with anyio.CancelScope(shield=True):
            await go.wait()

    async with served(stream=handler, both=echo) as peer:
        stream_id = await peer.request(STREAM, b"request")
        await peer.settle()
        await peer.reset(stream_id)
        await peer.settle()
        go.set()
        await peer.settle()
        await still_serves(peer)


async def failing_in_its_clean_up(stream: Handling) -> None:
    """Raise when cancelled, in a task group of its own, beside the cancellation."""

    async def fail_when_cancelled() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("clean-up")

    await stream.recv_message()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fail_when_cancelled)
        await anyio.sleep_forever()


@pytest.mark.anyio
async def test_handler_that_fails_while_it_is_cancelled() -> None:
    async with served(stream=failing_in_its_clean_up, both=echo) as peer:
        stream_id = await peer.request(STREAM, b"request")
        await peer.settle()
        await peer.reset(stream_id)
        await peer.settle()
        await still_serves(peer)


@pytest.mark.anyio
async def test_handler_that_fails_while_the_server_is_stopped(anyio_backend: str) -> None:
    """As before, but it is the server that is cancelled: the error goes to the log, not up."""
    near, far = memory_pair()
    server = Server([Methods(stream=failing_in_its_clean_up)], codec=Raw())
    peer = ScriptedPeer(far, client_side=True)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve_connection, near)
        await peer.start()
        await peer.request(STREAM, b"request")
        await peer.settle()
        tasks.cancel_scope.cancel()
    assert near.statistics().is_closed
    # On asyncio anyio's task group drops the cancellation for the error that came beside it.
    assert (await status_of(peer))[0] == (14 if anyio_backend == "trio" else 2)


@pytest.mark.trio
async def test_handler_that_fails_at_its_deadline(autojump_clock: MockClock) -> None:
    """The status is still that of the deadline."""
    del autojump_clock

    async def handler(stream: Handling) -> None:
        await stream.recv_message()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fail_when_cancelled)
            await anyio.sleep_forever()

    async def fail_when_cancelled() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("clean-up")

    async with served(stream=handler, both=echo) as peer:
        await peer.request(STREAM, b"request", extra=(("grpc-timeout", "2S"),))
        assert (await status_of(peer))[0] == 4
        await still_serves(peer)


# -- what a handler raises ----------------------------------------------------------------------


def raising(error: Exception) -> Handle:
    async def handler(stream: Handling) -> None:
        await stream.recv_message()
        raise error

    return handler


@pytest.mark.anyio
@pytest.mark.parametrize(
    "error",
    [
        GRPCError(Status.NOT_FOUND, "no such thing"),
        ExceptionGroup("", [GRPCError(Status.NOT_FOUND, "no such thing")]),
        ExceptionGroup("", [ExceptionGroup("", [GRPCError(Status.NOT_FOUND, "no such thing")])]),
    ],
    ids=["bare", "group", "group-in-group"],
)
async def test_grpc_error_becomes_the_status(error: Exception) -> None:
    """As it is, and alone in the group that a task group in the handler makes."""
    async with served(stream=raising(error), both=echo) as peer:
        await peer.request(STREAM, b"request")
        assert await status_of(peer) == (5, "no such thing")
        await still_serves(peer)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "error",
    [
        ValueError("secret"),
        ExceptionGroup("", [GRPCError(Status.NOT_FOUND), ValueError("secret")]),
    ],
    ids=["bare", "group"],
)
async def test_other_error_is_unknown_to_the_client_and_logged(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """The client is told nothing of the server's insides."""
    async with served(stream=raising(error), both=echo) as peer:
        await peer.request(STREAM, b"request")
        status, message = await status_of(peer)
        assert (status, message) == (2, "Internal Server Error")
        await still_serves(peer)
    assert [record.exc_info and record.exc_info[1] for record in caplog.records] == [error]


@pytest.mark.anyio
async def test_unary_handler_without_a_message(caplog: pytest.LogCaptureFixture) -> None:
    """It returns, and there is nothing to answer with."""

    async def handler(stream: Handling) -> None:
        await stream.recv_message()

    async with served(unary=handler, both=echo) as peer:
        await peer.request(UNARY, b"request")
        assert (await status_of(peer))[0] == 2
        await still_serves(peer)
    assert len(caplog.records) == 1


@pytest.mark.anyio
async def test_status_that_cannot_be_encoded(caplog: pytest.LogCaptureFixture) -> None:
    """Trailing metadata of a kind that HTTP/2 has no words for."""

    async def handler(stream: Handling) -> None:
        await stream.recv_message()
        await stream.send_trailing_metadata(metadata={"key": "\x00"})

    async with served(stream=handler, both=echo) as peer:
        await peer.request(STREAM, b"request")
        assert (await status_of(peer))[0] == 2
        await still_serves(peer)
    assert len(caplog.records) == 1


@pytest.mark.anyio
async def test_listener_that_fails_at_the_end_of_a_call(caplog: pytest.LogCaptureFixture) -> None:
    """A SendTrailingMetadata listener raises: this call is reset, the others go on."""
    near, far = memory_pair()
    server = Server([Methods(both=echo)], codec=Raw())
    peer = ScriptedPeer(far, client_side=True)
    fails = True

    async def listener(_event: SendTrailingMetadata) -> None:  # noqa: ASYNC124 - grpclib's
        if fails:
            raise ValueError("mine")

    listen(server, SendTrailingMetadata, listener)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve_connection, near)
        await peer.start()
        stream_id = await peer.request(BOTH, b"request")
        await peer.settle()
        assert peer.resets(stream_id) == [ErrorCodes.INTERNAL_ERROR]
        fails = False
        await still_serves(peer)
        far.close()
    assert len(caplog.records) == 1


# -- what is refused ----------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("replace", "expected"),
    [
        ({":method": "GET"}, {":status": "405"}),
        ({"content-type": "text/html"}, {":status": "415", "grpc-status": "2"}),
        ({"content-type": None}, {":status": "415", "grpc-status": "2"}),
        ({"content-type": "application/grpc+json"}, {":status": "415", "grpc-status": "2"}),
        ({":path": "/no.Such/Method"}, {":status": "200", "grpc-status": "12"}),
    ],
    ids=["method", "content-type", "no-content-type", "subtype", "path"],
)
async def test_refusal(replace: dict[str, str | None], expected: dict[str, str]) -> None:
    """One header is not what gRPC wants; the handler does not run."""
    witness = Witness()
    async with served(stream=witness, both=echo) as peer:
        await peer.request(STREAM, b"request", replace=replace)
        event = await peer.expect(ResponseReceived)
        assert expected.items() <= fields_of(event).items()
        await peer.expect(StreamEnded)
        await still_serves(peer)
    assert not witness.started.is_set()


@pytest.mark.anyio
@pytest.mark.parametrize(
    "header",
    [
        ("grpc-timeout", "9" * 5_000 + "S"),
        ("grpc-timeout", "1"),
        ("grpc-timeout", "S"),
        ("grpc-timeout", ""),
        ("grpc-timeout", "-1S"),
        ("grpc-timeout", "1.5S"),
        ("grpc-timeout", "\xb2S"),
        ("grpc-timeout", "123456789S"),
        ("key-bin", "a"),
        ("key-bin", "\xe9"),
    ],
    ids=lambda header: ascii(f"{header[0]}: {header[1][:12]}"),
)
async def test_malformed_header(header: tuple[str, str]) -> None:
    """A status for this call, and no more than that."""
    async with served(stream=Witness(), both=echo) as peer:
        await peer.request(STREAM, b"request", extra=(header,))
        assert (await status_of(peer))[0] == 13
        await still_serves(peer)


class Recited(ConversationBase):
    """A generated service that needs what it is given."""

    async def ask(self, line: Line) -> Line:
        return Line(line.text)

    async def listen(self, line: Line) -> AsyncIterator[Line]:
        yield Line(line.text)


async def read_all(stream: Handling) -> None:
    """Ask for more than the one message that there is."""
    while (message := await stream.recv_message()) is not None:
        await stream.send_message(message)


@pytest.mark.anyio
@pytest.mark.parametrize("path", [ASK, LISTEN, UNARY, STREAM])
@pytest.mark.parametrize("ends_by", ["headers", "empty data"])
async def test_unary_request_without_a_message(
    path: str, ends_by: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The status of gRPC's document, and one line in the log, without a traceback."""
    near, far = memory_pair()
    server = Server([Recited(), Methods(unary=read_all, stream=read_all, both=echo)], codec=Raw())
    peer = ScriptedPeer(far, client_side=True)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve_connection, near)
        await peer.start()
        if ends_by == "headers":
            peer.h2.send_headers(1, [*REQUEST[:2], (":path", path), *REQUEST[2:]], end_stream=True)
            await peer.flush()
        else:
            await peer.request(path, end=True)
        message = "The request has no message where one is due"
        assert await status_of(peer) == (12, message)
        await still_serves(peer)
        far.close()
    lines = [(record.getMessage(), record.exc_info) for record in caplog.records]
    assert lines == [(f"A request for {path} has no message where one is due", None)]


@pytest.mark.anyio
@pytest.mark.parametrize("path", [UNARY, STREAM])
async def test_unary_request_of_two_messages(path: str) -> None:
    """Noticed by a handler that looks for the second."""
    async with served(unary=read_all, stream=read_all, both=echo) as peer:
        await peer.request(path, b"one", b"two")
        assert await status_of(peer) == (12, "The request has several messages where one is due")
        await still_serves(peer)


@pytest.mark.anyio
async def test_streaming_request_without_a_message() -> None:
    """Which is a request like any other."""
    async with served(both=echo) as peer:
        await peer.request(BOTH)
        assert await status_of(peer) == (0, None)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "encoding", ["x" * 60_000, "é" * 30_000, "%" * 60_000], ids=["ascii", "latin-1", "percent"]
)
async def test_refusal_quotes_the_beginning_of_what_it_refuses(encoding: str) -> None:
    """Or a client could have us send as much as it sends."""
    async with served(both=echo) as peer:
        await peer.request(BOTH, b"one", extra=(("grpc-encoding", encoding),))
        status, message = await status_of(peer)
        assert status == 12
        assert message is not None
        assert len(message) < 1_000
        assert unquote(message).startswith("Compression ")
        seen = encoding.encode().decode("latin-1")
        assert seen[:100] in unquote(message)
        assert seen[:101] not in unquote(message)
        await still_serves(peer)


SECRET = "hunter2"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "header",
    [
        ("authorization", f"Bearer {SECRET} "),
        ("authorization", f"Bearer {SECRET}\0"),
        (f"X-{SECRET}", "a"),
        (f":{SECRET}", "a"),
        (f"x:{SECRET}", "a"),
        ("te", SECRET),
        ("connection", SECRET),
        ("content-length", SECRET),
        ("host", SECRET),
        ("authorization", f"Bearer {SECRET}"),
        ("grpc-timeout", SECRET),
        ("grpc-encoding", SECRET),
        ("key-bin", SECRET + "!"),
    ],
    ids=ascii,
)
async def test_header_is_in_no_log(
    header: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is wrong with it, and at every level; hpack would write each header at DEBUG."""
    caplog.set_level(logging.DEBUG)
    near, far = memory_pair()
    server = Server([Methods(both=echo)], codec=Raw())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve_connection, near)
        # hpack's encoder, which is the peer's, writes to the same log as ours.
        preface = await request_bytes(header)
        caplog.clear()
        await far.send(preface)
        await anyio.wait_all_tasks_blocked()
        far.close()
    assert SECRET not in caplog.text
    assert SECRET not in repr([record.args for record in caplog.records])


async def request_bytes(header: tuple[str, str]) -> bytes:
    """Return what a client sends that makes a call with one more header."""
    near, far = memory_pair()
    peer = ScriptedPeer(far, client_side=True)
    await peer.start()
    await peer.request(BOTH, b"one", extra=(header,))
    return near.receive_nowait()


@pytest.mark.anyio
async def test_longest_timeout_that_can_be_said() -> None:
    """99999999 hours are 11,000 years."""
    async with served(both=echo) as peer:
        await peer.request(BOTH, b"request", extra=(("grpc-timeout", "99999999H"),))
        assert await status_of(peer) == (0, None)


@pytest.mark.anyio
async def test_more_streams_than_allowed_are_refused() -> None:
    """In one write with the preface, so the client cannot know of the limit yet."""
    near, far = memory_pair()
    witness = Witness()
    server = Server(
        [Methods(stream=witness, both=echo)],
        codec=Raw(),
        config=Configuration(max_concurrent_streams=2),
    )
    peer = ScriptedPeer(far, client_side=True)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve_connection, near)
        peer.h2.initiate_connection()
        streams = [await peer.request(STREAM, b"request") for _ in range(4)]
        await peer.settle()
        assert [peer.resets(stream_id) for stream_id in streams] == [
            [],
            [],
            [ErrorCodes.REFUSED_STREAM],
            [ErrorCodes.REFUSED_STREAM],
        ]
        assert peer.h2.remote_settings.max_concurrent_streams == 2
        await peer.reset(streams[0])
        await still_serves(peer)
        far.close()


@pytest.mark.anyio
async def test_message_larger_than_allowed() -> None:
    """One byte more: RESOURCE_EXHAUSTED for this call, and its request need not go on."""
    config = Configuration(max_message_size=10)
    async with served(both=echo, config=config) as peer:
        await peer.request(BOTH, b"x" * 10)
        assert (await status_of(peer))[0] == 0
        stream_id = await peer.request(BOTH, b"x" * 11, end=False)
        assert (await status_of(peer))[0] == 8
        await peer.settle()
        assert peer.resets(stream_id) == [ErrorCodes.NO_ERROR]
        await still_serves(peer)


# -- generated services -------------------------------------------------------------------------


class Generating(AiServiceBase):
    """A service whose handler is an async generator."""

    def __init__(self) -> None:
        self.events: list[str] = []

    async def generate(  # noqa: ASYNC900 - the transport closes it
        self, generate_request: GenerateRequest
    ) -> AsyncIterator[GenerateResponse]:
        try:
            while True:
                yield GenerateResponse(generate_request.prompt)
        finally:
            self.events.append("closed")


class GroupAcrossYield(Generating):
    """Holds a task group across a yield, which PEP 789 warns of."""

    async def generate(  # noqa: ASYNC900 - the transport closes it
        self, generate_request: GenerateRequest
    ) -> AsyncIterator[GenerateResponse]:
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(anyio.sleep_forever)
                while True:
                    yield GenerateResponse(generate_request.prompt)  # noqa: ASYNC101, ASYNC119 - on purpose
        finally:
            self.events.append("closed")


class ContextManager(Generating):
    """Returns an async context manager over the messages, which may hold a task group."""

    @asynccontextmanager
    async def generate(  # type: ignore[override] # what close_generators adds to betterproto's contract
        self, generate_request: GenerateRequest
    ) -> AsyncGenerator[AsyncIterator[GenerateResponse]]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep_forever)
            try:
                async with aclosing(forever(generate_request.prompt)) as messages:
                    yield messages
            finally:
                self.events.append("closed")
                tasks.cancel_scope.cancel()


async def forever(text: str) -> AsyncGenerator[GenerateResponse]:  # noqa: ASYNC124, ASYNC900 - aclosing closes it
    while True:
        yield GenerateResponse(text)


@pytest.mark.anyio
@pytest.mark.parametrize("service_type", [Generating, GroupAcrossYield, ContextManager])
async def test_generator_is_closed_when_the_client_resets(service_type: type[Generating]) -> None:
    """RST_STREAM while the generator is suspended in a full outbox; the server goes on."""
    service = service_type()
    near, far = memory_pair()
    server = Server([service])
    peer = ScriptedPeer(far, client_side=True, reads=False)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve_connection, near)
        await peer.start()
        for _ in range(2):
            request = bytes(GenerateRequest("x" * KIB))
            stream_id = await peer.request("/ai.AIService/Generate", request)
            await peer.settle()
            await peer.reset(stream_id)
            await peer.settle()
        assert service.events == ["closed", "closed"]
        far.close()


@pytest.mark.anyio
async def test_channel_for_a_generated_service() -> None:
    """Stub and service of betterproto, unmodified."""

    class Service(AiServiceBase):
        async def generate(  # noqa: ASYNC900 - the transport closes it
            self, generate_request: GenerateRequest
        ) -> AsyncIterator[GenerateResponse]:
            for word in generate_request.prompt.split():
                yield GenerateResponse(word)
            yield GenerateResponse(done=True)

    async with ChannelFor([Service()]) as channel:
        stub = AiServiceStub(channel)
        answer = [token async for token in stub.generate(GenerateRequest("a b"))]
    assert answer == [GenerateResponse("a"), GenerateResponse("b"), GenerateResponse(done=True)]


# -- listening ----------------------------------------------------------------------------------


class Warned(logging.Handler):
    """Tells when a warning is logged."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.event = anyio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        del record
        self.event.set()


@contextmanager
def no_more_descriptors() -> Generator[None]:
    """Let every attempt to open a descriptor fail with EMFILE."""
    lowest_free = os.dup(0)
    os.close(lowest_free)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.anyio
async def test_server_gets_over_a_lack_of_descriptors() -> None:
    """A client connects while the process may open no descriptor; another one when it may."""
    warned = Warned()
    logging.getLogger("grpclib_anyio").addHandler(warned)
    server = Server([Methods(both=echo)], codec=Raw())
    async with anyio.create_task_group() as tasks:
        addresses = await tasks.start(partial(server.serve, "127.0.0.1", 0))
        with socket.socket() as client:
            with no_more_descriptors():
                client.connect(addresses[0])
                await warned.event.wait()
            async with Channel(*addresses[0], codec=Raw()) as channel:
                call = Call(channel, b"one", path=BOTH, cardinality=Cardinality.STREAM_STREAM)
                await call.run()
        assert call.received == [b"one"]
        tasks.cancel_scope.cancel()
    logging.getLogger("grpclib_anyio").removeHandler(warned)


@pytest.mark.anyio
async def test_address_in_use_is_an_error_of_serve() -> None:
    """Two servers want one port."""
    server = Server([Methods(both=echo)], codec=Raw())
    async with anyio.create_task_group() as tasks:
        addresses = await tasks.start(partial(server.serve, "127.0.0.1", 0))
        with pytest.raises(OSError, match="in use"):
            await server.serve(*addresses[0])
        tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_unix_socket(tmp_path: Path) -> None:
    """Served and called by path."""
    path = str(tmp_path / "s")
    server = Server([Methods(both=echo)], codec=Raw())
    async with anyio.create_task_group() as tasks:
        assert await tasks.start(partial(server.serve, path=path)) == [path]
        async with Channel(path=path, codec=Raw()) as channel:
            call = Call(channel, b"one", path=BOTH, cardinality=Cardinality.STREAM_STREAM)
            await call.run()
        assert call.received == [b"one"]
        tasks.cancel_scope.cancel()
