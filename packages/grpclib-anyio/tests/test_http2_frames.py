"""Each state of a stream and each frame: what RFC 9113 asks for is on the wire, on both sides.

The cases are data, see ``harness/h2_cases.py``. What is seen is the page ``docs/http2_frames.md``,
which is compared cell by cell. This writes the page's tables again::

    PYTHONPATH=tests python tests/test_http2_frames.py
"""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a task group may swallow what its body raises; a test would have failed.

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from enum import Enum
from sys import maxsize

import anyio
import pytest
import trio
import trio.testing
from grpclib.const import Cardinality
from h2.errors import ErrorCodes
from hyperframe.frame import DataFrame, Frame, HeadersFrame, PingFrame

from grpclib_anyio._base.config import Configuration
from grpclib_anyio.client import Stream as ClientStream
from grpclib_anyio.server import Stream
from grpclib_anyio.testing import FrameParser, MemoryStream
from harness import h2_page
from harness.frames import block, frame
from harness.h2_cases import (
    NEIGHBOUR,
    NOTHING,
    Case,
    Outcome,
    Requests,
    Responses,
    Side,
    State,
    Then,
    client_cases,
    outcome,
    server_cases,
    table,
)
from harness.leaks.registry import CONNECTIONS
from harness.peer import BOTH, Call, Network, channel_to, framed, serving
from harness.peer import STREAM as WAITS

_PING = b"alive???"


def _request(path: str) -> bytes:
    return block(
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "test"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    )


RESPONSES = Responses(
    block((":status", "200"), ("content-type", "application/grpc")), block(("grpc-status", "0"))
)
#: A handler that has answered resets what is left of its request, so no stream stays half-closed.
REQUESTS = Requests(waits=_request(WAITS), answers=_request(BOTH))


class Way(Enum):
    """How a case is tried; the outcome has to be the same."""

    PAST_H2 = "past h2"
    H2_ALONE = "h2 alone"
    IN_PIECES = "in pieces of one byte"
    FORGOTTEN = "after h2 has forgotten the streams that are over"


def _config(way: Way) -> Configuration:
    return Configuration(reads_data_past_h2=way is not Way.H2_ALONE)


class RawPeer:
    """Writes bytes, and reads frames; it has no idea of its own of HTTP/2."""

    def __init__(self, stream: MemoryStream, way: Way) -> None:
        self._stream = stream
        self._size = 1 if way is Way.IN_PIECES else maxsize
        self._parser = FrameParser()
        self.frames: list[Frame] = []

    async def write(self, data: bytes) -> None:
        """Write bytes, and read all that comes of it, be the connection open or not."""
        for start in range(0, len(data), min(self._size, len(data))):
            with suppress(anyio.BrokenResourceError):
                await self._stream.send(data[start : start + self._size])
            await self.settle()

    async def settle(self) -> None:
        """Read all that the other end writes before it waits for us."""
        await anyio.wait_all_tasks_blocked()
        while data := self._stream.receive_nowait():
            self.frames += self._parser.feed(data)
            await anyio.wait_all_tasks_blocked()

    async def is_alive(self) -> bool:
        """Whether a PING is answered."""
        await self.write(frame(6, 0, 0, _PING))
        return any(
            isinstance(one, PingFrame) and one.opaque_data == _PING and "ACK" in one.flags
            for one in self.frames
        )

    def data(self, stream_id: int) -> bytes:
        """Return the bytes of a stream's DATA."""
        return b"".join(
            one.data
            for one in self.frames
            if isinstance(one, DataFrame) and one.stream_id == stream_id
        )

    def ends(self, stream_id: int) -> bool:
        """Whether the other end has ended a stream."""
        return any(
            one.stream_id == stream_id
            and isinstance(one, DataFrame | HeadersFrame)
            and "END_STREAM" in one.flags
            for one in self.frames
        )


def _forget_closed_streams() -> None:
    for connection in CONNECTIONS:
        h2 = connection._h2  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - nothing else tells it to
        h2._next_sweep = 0  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - 64 streams would do it, too
        _ = (
            h2.open_inbound_streams,
            h2.open_outbound_streams,
        )  # asked for them, h2 forgets the others
        h2._next_sweep = maxsize  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


async def _try(
    peer: RawPeer, case: Case, way: Way, act: Callable[[Then], Awaitable[None]]
) -> Outcome:
    """Bring the stream into its state, send the frame, and see what comes, once."""
    for step in case.steps:
        await peer.write(step.data)
        await act(step.then)
        await peer.settle()
    if way is Way.FORGOTTEN:
        _forget_closed_streams()
    start = len(peer.frames)
    await peer.write(case.data)
    seen = outcome(peer.frames[start:], case.stream_id)
    if seen.scope == "stream":
        for _ in range(2):  # it is said once, however often the peer does it
            await peer.write(case.data)
        assert outcome(peer.frames[start:], case.stream_id) == seen
    assert await peer.is_alive() == (seen.scope != "connection")
    return seen


# -- a server --------------------------------------------------------------------------------------


async def _echo(stream: Stream[bytes, bytes]) -> None:
    async for message in stream:
        await stream.send_message(message)


async def _wait(_stream: Stream[bytes, bytes]) -> None:
    await anyio.sleep_forever()


async def _nothing(_then: Then) -> None:
    """Let the handlers do what they do."""


async def at_server(case: Case, way: Way) -> Outcome:
    """Try a case at a server, which has a second stream of the same peer."""
    async with serving(_config(way), both=_echo, stream=_wait) as service:
        peer = RawPeer((await service.connect()).stream, way)
        await peer.write(frame(4, 1, 0))
        await peer.write(frame(1, 4, NEIGHBOUR, REQUESTS.answers))
        await peer.write(frame(0, 0, NEIGHBOUR, framed(b"one")))
        seen = await _try(peer, case, way, _nothing)
        if seen.scope != "connection":
            await peer.write(frame(0, 1, NEIGHBOUR, framed(b"two")))
            assert peer.data(NEIGHBOUR) == framed(b"one", b"two")
            assert peer.ends(NEIGHBOUR)
    return seen


# -- a client --------------------------------------------------------------------------------------


class _Actor:
    """A call that does what the case says, and otherwise nothing."""

    def __init__(self, stream: ClientStream[bytes, bytes]) -> None:
        self._stream = stream
        self.scope = anyio.CancelScope()

    async def run(self) -> None:
        with self.scope:
            async with self._stream:
                await self._stream.send_request()
                await anyio.sleep_forever()

    async def act(self, then: Then) -> None:
        if then is Then.ENDS:
            await self._stream.end()
        elif then is Then.RESETS:
            await self._stream.cancel()


@asynccontextmanager
async def _calls(way: Way) -> AsyncGenerator[tuple[RawPeer, _Actor, Call]]:
    network = Network()
    async with channel_to(network, _config(way)) as channel, anyio.create_task_group() as tasks:
        neighbour = Call(channel)
        tasks.start_soon(neighbour.run)
        await anyio.wait_all_tasks_blocked()
        peer = RawPeer(network.peer.stream, way)
        await peer.write(frame(4, 1, 0))
        actor = _Actor(channel.request(BOTH, Cardinality.STREAM_STREAM, bytes, bytes))
        tasks.start_soon(actor.run)
        await peer.settle()
        yield peer, actor, neighbour
        actor.scope.cancel()


async def at_client(case: Case, way: Way) -> Outcome:
    """Try a case at a client, which has a second call on the same connection."""
    async with _calls(way) as (peer, actor, neighbour):
        await peer.write(frame(1, 4, NEIGHBOUR, RESPONSES.headers))
        await peer.write(frame(0, 0, NEIGHBOUR, framed(b"one")))
        seen = await _try(peer, case, way, actor.act)
        await peer.write(frame(0, 0, NEIGHBOUR, framed(b"two")))
        await peer.write(frame(1, 5, NEIGHBOUR, RESPONSES.trailers))
    assert neighbour.received == [b"one", b"two"][: 1 if seen.scope == "connection" else 2]
    assert (neighbour.error is None) == (seen.scope != "connection")
    return seen


# -- the tables ------------------------------------------------------------------------------------

CASES = [*server_cases(REQUESTS), *client_cases(RESPONSES)]
NAMES = list(dict.fromkeys((case.side, case.name) for case in CASES))


async def _seen(case: Case, way: Way = Way.PAST_H2) -> Outcome:
    return await (at_server if case.side is Side.SERVER else at_client)(case, way)


async def _table(side: Side) -> str:
    return table({case: await _seen(case) for case in CASES if case.side is side})


@pytest.mark.trio
@pytest.mark.parametrize(
    ("side", "name"), NAMES, ids=lambda part: str(getattr(part, "value", part))
)
async def test_frame_is_answered_as_rfc_9113_asks(
    side: Side, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "grpclib_anyio"):
        for case in [case for case in CASES if (case.side, case.name) == (side, name)]:
            seen = {way: await _seen(case, way) for way in Way}
            assert set(seen.values()) <= case.allowed, case.id
            assert len(set(seen.values())) == 1, case.id


#: Headers of the static table, more than 64 KiB of them when they are decoded.
_OVERSIZED = frame(1, 5, 0, b"\x90" * 1_200)
_TOO_MUCH = Outcome("stream", ErrorCodes.ENHANCE_YOUR_CALM)


@pytest.mark.trio
@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("state", State)
async def test_header_list_that_is_too_large_ends_its_stream(side: Side, state: State) -> None:
    """Where headers may come. Elsewhere they are as wrong as smaller ones are."""
    for case in CASES:
        if (case.side, case.state, case.name) == (side, state, "HEADERS"):
            data = _OVERSIZED[:5] + case.stream_id.to_bytes(4) + _OVERSIZED[9:]
            too_large = replace(case, data=data)
            allowed = {_TOO_MUCH} if NOTHING in case.allowed else case.allowed
            if state is State.CLOSED_BY_US:
                allowed = case.allowed
            for way in Way:
                assert await _seen(too_large, way) in allowed, way


@pytest.mark.trio
@pytest.mark.parametrize("side", Side)
async def test_page_says_what_is_seen(side: Side) -> None:
    assert h2_page.read(side.value) == await _table(side)


if __name__ == "__main__":
    for tested in Side:
        h2_page.write(tested.value, trio.run(_table, tested, clock=trio.testing.MockClock()))
