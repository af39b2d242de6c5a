"""A reset is written by who asks for it, before any task runs: real sockets, trio (trap 57)."""

import socket
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import cast

import pytest
from anyio.abc import ByteStream, SocketAttribute
from h2.errors import ErrorCodes
from h2.events import PingAckReceived, RequestReceived
from hyperframe.frame import RstStreamFrame

from grpclib_anyio._base.errors import TerminatedError
from grpclib_anyio.client import Channel, Stream
from grpclib_anyio.testing import ChannelOver, FrameParser, MemoryStream
from harness.peer import Call, Raw, ScriptedPeer
from test_trio_stream import pair


class Connected:
    """A channel that has one connection to make, and its peer."""

    def __init__(self, near: ByteStream, far: ByteStream) -> None:
        self.raw: socket.socket = far.extra(SocketAttribute.raw_socket)
        self.peer = ScriptedPeer(cast("MemoryStream", far), client_side=False)
        self.connections = 0
        self._near = near

    async def connect(self) -> ByteStream:
        self.connections += 1
        await self.peer.start()
        return self._near

    async def quiet(self) -> None:
        """Take in all that is on its way: nothing is, behind the answer to a ping."""
        await self.peer.expect(RequestReceived)
        self.peer.h2.ping(b"the last")
        await self.peer.expect(PingAckReceived)

    def sent_now(self) -> list[tuple[str, int]]:
        """What has arrived, without a checkpoint: the frames and their streams."""
        frames = FrameParser().feed(self.raw.recv(65_536))
        return [(type(frame).__name__, frame.stream_id) for frame in frames]


@asynccontextmanager
async def asked() -> AsyncGenerator[tuple[Connected, Channel, Stream[bytes, bytes]]]:
    """Give a call whose request has arrived, with nothing more on its way."""
    async with pair() as (near, far):
        ends = Connected(near, far)
        async with (
            ChannelOver(ends.connect, codec=Raw()) as channel,
            Call(channel).open() as call,
        ):
            await call.send_message(b"request")
            await ends.quiet()
            yield ends, channel, call


@asynccontextmanager
async def queued_before_a_reset() -> AsyncGenerator[tuple[Connected, Stream[bytes, bytes]]]:
    """Give a call whose HEADERS were queued when another call was cancelled; no task has run."""
    async with asked() as (ends, channel, call), Call(channel).open() as other:
        await other.send_request()
        await call.cancel()
        yield ends, other
        await other.cancel()


@pytest.mark.trio
async def test_reset_is_on_the_wire_before_a_task_runs() -> None:
    async with asked() as (ends, _, call):
        await call.cancel()
        reset = RstStreamFrame(1, error_code=ErrorCodes.CANCEL)
        assert ends.raw.recv(65_536) == reset.serialize()


@pytest.mark.trio
async def test_what_was_queued_before_it_goes_before_it() -> None:
    async with queued_before_a_reset() as (ends, _):
        assert ends.sent_now() == [("HeadersFrame", 3), ("RstStreamFrame", 1)]


@pytest.mark.trio
async def test_call_that_was_sent_with_a_reset_is_not_made_again() -> None:
    """Its HEADERS have been on the wire, and the server may have begun (gRPC A6)."""
    async with queued_before_a_reset() as (ends, other):
        ends.raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await ends.peer.stream.aclose()
        with pytest.raises(TerminatedError):
            await other.recv_message()
        assert ends.connections == 1
