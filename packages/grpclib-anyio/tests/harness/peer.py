"""A scripted HTTP/2 peer, and what connects it to a channel or to a server.

The peer is h2 with nothing on top. It does what the test says, when the test says it, and keeps
every frame that it saw.
"""

import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

import anyio
from anyio.abc import ByteStream, TaskGroup
from grpclib.const import Cardinality, Handler, Status
from grpclib.encoding.base import CodecBase
from grpclib.exceptions import GRPCError
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    DataReceived,
    Event,
    RequestReceived,
    ResponseReceived,
    TrailersReceived,
    WindowUpdated,
)
from h2.settings import SettingCodes, Settings
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, HeadersFrame, RstStreamFrame

from grpclib_anyio._base.config import Configuration
from grpclib_anyio._base.errors import again
from grpclib_anyio._connection.connection import ConnectionStatistics
from grpclib_anyio.client import Channel
from grpclib_anyio.client import Stream as ClientStream
from grpclib_anyio.server import Server
from grpclib_anyio.testing import ChannelOver, FrameParser, MemoryStream, memory_pair

STREAM = "/test.Test/Stream"
UNARY = "/test.Test/Unary"
BOTH = "/test.Test/Both"
CLIENT_STREAMING = {Cardinality.STREAM_UNARY, Cardinality.STREAM_STREAM}
NOTHING = ConnectionStatistics(streams=0, waiting_for_slot=0, unsent_bytes=0)

PeerSettings = Mapping[SettingCodes, int]
EventType = TypeVar("EventType", bound=Event)


class Raw(CodecBase):
    """Messages are bytes, so that a test knows their size; those of stubs are betterproto's."""

    __content_subtype__ = "proto"  # pyright: ignore - grpclib's is a property, and its own codecs do this

    def encode(self, message: Any, message_type: Any) -> bytes:  # noqa: ARG002 - grpclib's
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> Any:
        return data if message_type is bytes else message_type.FromString(data)


def fields_of(event: RequestReceived | ResponseReceived | TrailersReceived) -> dict[str, str]:
    """Return an event's headers, which h2 gives as text and declares as bytes."""
    return dict(cast("list[tuple[str, str]]", event.headers))


def framed(*messages: bytes) -> bytes:
    """Prefix messages as gRPC does."""
    return b"".join(struct.pack(">BI", 0, len(message)) + message for message in messages)


class ScriptedPeer:
    """One end of a connection."""

    def __init__(
        self,
        stream: MemoryStream,
        *,
        client_side: bool,
        settings: PeerSettings | None = None,
        reads: bool = True,
    ) -> None:
        self.stream = stream
        #: Frames in the order of their arrival.
        self.frames: list[Frame] = []
        #: Whether windows are opened again for what arrives.
        self.reads = reads
        #: Whether the other end has closed the connection.
        self.is_ended = False
        self.h2 = H2Connection(
            H2Configuration(
                client_side=client_side,
                header_encoding="latin-1",
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
                validate_inbound_headers=False,
            )
        )
        self.h2.local_settings = Settings(
            client=client_side,
            initial_values={SettingCodes.ENABLE_PUSH: 0, **(settings or {})},
        )
        self._events: list[Event] = []
        self._parser = FrameParser()

    async def start(self) -> None:
        """Send the preface and SETTINGS."""
        self.h2.initiate_connection()
        await self.flush()

    # -- sending --------------------------------------------------------------------------------

    async def flush(self) -> None:
        """Put on the wire what h2 has queued."""
        if data := self.h2.data_to_send():
            await self.stream.send(data)

    def flush_nowait(self) -> None:
        """Put on the wire what h2 has queued, with no other task running meanwhile."""
        self.stream.send_nowait(self.h2.data_to_send())

    async def send_frames(self, *frames: Frame) -> None:
        """Put frames on the wire that h2 knows nothing of."""
        await self.stream.send(b"".join(frame.serialize() for frame in frames))

    async def request(
        self,
        path: str = STREAM,
        *messages: bytes,
        end: bool = True,
        extra: tuple[tuple[str, str], ...] = (),
        replace: Mapping[str, str | None] | None = None,
    ) -> int:
        """Send a request and return its stream's number."""
        stream_id = self.h2.get_next_available_stream_id()
        fields: dict[str, str | None] = {
            ":method": "POST",
            ":scheme": "http",
            ":path": path,
            ":authority": "test",
            "te": "trailers",
            "content-type": "application/grpc",
        }
        fields |= replace or {}
        headers = [(k, v) for k, v in fields.items() if v is not None]
        self.h2.send_headers(stream_id, [*headers, *extra])
        if messages or end:
            self.h2.send_data(stream_id, framed(*messages), end_stream=end)
        await self.flush()
        return stream_id

    def queue_headers(self, stream_id: int, *extra: tuple[str, str]) -> None:
        """Queue a response's headers."""
        headers = [(":status", "200"), ("content-type", "application/grpc"), *extra]
        self.h2.send_headers(stream_id, headers)

    def queue_trailers(self, stream_id: int, status: int = 0, *extra: tuple[str, str]) -> None:
        """Queue a response's trailers."""
        self.h2.send_headers(stream_id, [("grpc-status", str(status)), *extra], end_stream=True)

    async def respond(self, stream_id: int, *messages: bytes, end: bool = False) -> None:
        """Send a response's headers and messages, with trailers if it is all."""
        self.queue_headers(stream_id)
        self.queue_messages(stream_id, *messages)
        if end:
            self.queue_trailers(stream_id)
        await self.flush()

    def queue_messages(self, stream_id: int, *messages: bytes) -> None:
        """Queue messages, each in frames of its own; the window has to hold them."""
        for message in messages:
            self.queue_data(stream_id, framed(message))

    def queue_data(self, stream_id: int, data: bytes, *, end: bool = False) -> None:
        """Queue bytes in frames of the largest size; the window has to hold them."""
        size = self.h2.max_outbound_frame_size
        for start in range(0, len(data), size):
            part = data[start : start + size]
            self.h2.send_data(stream_id, part, end_stream=end and start + size >= len(data))

    async def send_all(self, stream_id: int, data: bytes) -> None:
        """Send bytes as the windows allow."""
        while data:
            window = self.h2.local_flow_control_window(stream_id)
            size = min(len(data), window, self.h2.max_outbound_frame_size)
            if size:
                self.h2.send_data(stream_id, data[:size])
                data = data[size:]
                await self.flush()
            else:
                await self.expect(WindowUpdated)

    async def reset(self, stream_id: int, code: int = 8) -> None:
        """Send RST_STREAM."""
        self.h2.reset_stream(stream_id, code)
        await self.flush()

    # -- receiving ------------------------------------------------------------------------------

    async def pump(self) -> bool:
        """Take in what arrives next, and return whether anything did before the end."""
        await self.flush()
        try:
            self._take(await self.stream.receive())
        except anyio.EndOfStream:
            self.is_ended = True
        else:
            await self.flush()
        return not self.is_ended

    async def expect(self, kind: type[EventType]) -> EventType:
        """Return the next event of a kind, and drop those before it."""
        while True:
            while self._events:
                if isinstance(event := self._events.pop(0), kind):
                    return event
            assert await self.pump(), f"the connection ended without {kind.__name__}"

    async def next_request(self) -> int | None:
        """Return the stream of the next request, or None if the other end makes no more."""
        while await self.pump():
            while self._events:
                if isinstance(event := self._events.pop(0), RequestReceived):
                    return event.stream_id
        return None

    async def settle(self) -> None:
        """Take in everything that the other end does before it waits for us."""
        await self.flush()
        await anyio.wait_all_tasks_blocked()
        while data := self.stream.receive_nowait():
            self._take(data)
            await self.flush()
            await anyio.wait_all_tasks_blocked()

    async def read_to_end(self) -> None:
        """Take in everything until the other end closes the connection."""
        while await self.pump():
            pass

    def _take(self, data: bytes) -> None:
        self.frames += self._parser.feed(data)
        for event in self.h2.receive_data(data):
            self._events.append(event)
            if self.reads and isinstance(event, DataReceived):
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)

    # -- what was seen --------------------------------------------------------------------------

    @property
    def is_torn(self) -> bool:
        """Whether the bytes so far end within a frame."""
        return self._parser.is_torn

    def frames_of(self, stream_id: int) -> list[Frame]:
        """Return the frames of a stream."""
        return [frame for frame in self.frames if frame.stream_id == stream_id]

    def resets(self, stream_id: int) -> list[int]:
        """Return the codes of a stream's RST_STREAM frames; nothing may follow the first."""
        frames = self.frames_of(stream_id)
        codes = [frame.error_code for frame in frames if isinstance(frame, RstStreamFrame)]
        if codes:
            assert isinstance(frames[-1], RstStreamFrame), frames
        return codes

    def goaways(self) -> list[tuple[int, bytes]]:
        """Return code and debug data of each GOAWAY."""
        return [
            (frame.error_code, frame.additional_data)
            for frame in self.frames
            if isinstance(frame, GoAwayFrame)
        ]

    def data(self, stream_id: int) -> bytes:
        """Return the bytes of a stream's DATA frames."""
        frames = self.frames_of(stream_id)
        return b"".join(frame.data for frame in frames if isinstance(frame, DataFrame))

    def ends(self, stream_id: int) -> bool:
        """Whether the other end has ended a stream."""
        return any(
            "END_STREAM" in frame.flags
            for frame in self.frames_of(stream_id)
            if isinstance(frame, DataFrame | HeadersFrame)
        )


class Network:
    """Makes a channel's connections, each to a new peer."""

    def __init__(
        self,
        *,
        settings: PeerSettings | None = None,
        reads: bool = True,
        speaks: bool = True,
        buffer_size: int = 65_536,
        before_connect: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.peers: list[ScriptedPeer] = []
        self.streams: list[MemoryStream] = []
        self.settings = settings
        self.before_connect = before_connect
        self._reads = reads
        self.speaks = speaks
        self._buffer_size = buffer_size

    async def connect(self) -> ByteStream:
        """Connect, as the channel's `connect`."""
        if self.before_connect is not None:
            await self.before_connect()
        near, far = memory_pair(self._buffer_size)
        peer = ScriptedPeer(far, client_side=False, settings=self.settings, reads=self._reads)
        self.peers.append(peer)
        self.streams.append(near)
        if self.speaks:
            await peer.start()
        return near

    @property
    def peer(self) -> ScriptedPeer:
        """The latest connection's peer."""
        return self.peers[-1]

    async def accept(self) -> tuple[ScriptedPeer, int]:
        """Wait for a request; return the peer that has it and its stream's number."""
        await anyio.wait_all_tasks_blocked()
        event = await self.peer.expect(RequestReceived)
        return self.peer, event.stream_id


@asynccontextmanager
async def channel_to(
    network: Network, config: Configuration | None = None
) -> AsyncGenerator[Channel]:
    """Give a channel; after the test it holds nothing and its connections are closed."""
    async with ChannelOver(network.connect, codec=Raw(), config=config) as channel:
        yield channel
        await anyio.wait_all_tasks_blocked()  # the writer has taken what the test's end has queued
        assert channel.statistics() == NOTHING
    assert all(stream.statistics().is_closed for stream in network.streams)


Handle = Callable[[Any], Awaitable[None]]


class Methods:
    """A service of some handlers, by path."""

    def __init__(self, **handlers: Handle) -> None:
        self._handlers = handlers

    def __mapping__(self) -> dict[str, Handler]:
        return {
            path: Handler(self._handlers[name], cardinality, bytes, bytes)
            for name, path, cardinality in (
                ("stream", STREAM, Cardinality.UNARY_STREAM),
                ("unary", UNARY, Cardinality.UNARY_UNARY),
                ("both", BOTH, Cardinality.STREAM_STREAM),
            )
            if name in self._handlers
        }


@asynccontextmanager
async def served(
    *, config: Configuration | None = None, reads: bool = True, **handlers: Handle
) -> AsyncGenerator[ScriptedPeer]:
    """Give a client of a server; after the test the server's end is closed and all tasks over."""
    near, far = memory_pair()
    server = Server([Methods(**handlers)], codec=Raw(), config=config)
    peer = ScriptedPeer(far, client_side=True, reads=reads)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve_connection, near)
        await peer.start()
        yield peer
        far.close()
    assert near.statistics().is_closed


class Service:
    """A server and its clients, each on a connection of its own."""

    def __init__(self, tasks: TaskGroup, config: Configuration | None, handlers: Methods) -> None:
        self.server = Server([handlers], codec=Raw(), config=config)
        self.peers: list[ScriptedPeer] = []
        self._tasks = tasks

    @property
    def held(self) -> int:
        """Bytes that the server holds for its calls."""
        return self.server._budget.used  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - nothing else tells

    async def connect(
        self,
        *,
        settings: PeerSettings | None = None,
        reads: bool = True,
        buffer_size: int = 65_536,
    ) -> ScriptedPeer:
        """Make one more connection; the server closes its end when it is done with it."""
        near, far = memory_pair(buffer_size)
        peer = ScriptedPeer(far, client_side=True, settings=settings, reads=reads)
        self.peers.append(peer)
        self._tasks.start_soon(self.server.serve_connection, near)
        await peer.start()
        return peer


@asynccontextmanager
async def serving(
    config: Configuration | None = None, **handlers: Handle
) -> AsyncGenerator[Service]:
    """Give a server to connect to; after the test its connections are closed."""
    services: list[Service] = []
    async with anyio.create_task_group() as tasks:
        services.append(Service(tasks, config, Methods(**handlers)))
        yield services[0]
        for peer in services[0].peers:
            peer.stream.close()
    assert [service.held for service in services] == [0], "held for calls that are over"


class Call:
    """A call in a task of its own."""

    def __init__(
        self,
        channel: Channel,
        *messages: bytes,
        path: str = STREAM,
        cardinality: Cardinality = Cardinality.UNARY_STREAM,
        timeout: float | None = None,
        reads: bool = True,
    ) -> None:
        self.received: list[bytes] = []
        self.error: GRPCError | None = None
        #: Left the call, by whatever way.
        self.is_over = False
        #: Cancelled, not ended by itself.
        self.is_cancelled = False
        self.scope = anyio.CancelScope()
        self._channel = channel
        self._messages = messages or (b"request",)
        self._path = path
        self._cardinality = cardinality
        self._timeout = timeout
        self._reads = reads

    async def run(self) -> None:
        """Send the messages, receive until the end."""
        with self.scope:
            try:
                await self._call()
            except GRPCError as error:
                self.error = again(error)  # that one's traceback would hold us
        self.is_cancelled = self.scope.cancelled_caught
        self.is_over = True

    async def _call(self) -> None:
        async with self.open() as stream:
            for message in self._messages:
                await stream.send_message(message)
            if self._cardinality in CLIENT_STREAMING:
                await stream.end()
            if not self._reads:
                await anyio.sleep_forever()
            while (received := await stream.recv_message()) is not None:
                self.received.append(received)

    def open(self) -> ClientStream[bytes, bytes]:
        """Prepare the call."""
        return self._channel.request(
            self._path, self._cardinality, bytes, bytes, timeout=self._timeout
        )

    @property
    def status(self) -> Status | None:
        """The status that it failed with, if it failed."""
        return self.error.status if self.error else None


async def completes(network: Network, channel: Channel) -> None:
    """Make one more call on the connection there is, if there is one, and see it through."""
    connections = max(1, len(network.peers))
    call = Call(channel)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call.run)
        peer, stream_id = await network.accept()
        await peer.respond(stream_id, b"one", b"two", end=True)
    assert call.received == [b"one", b"two"]
    assert call.error is None
    assert len(network.peers) == connections, "on a new connection"
