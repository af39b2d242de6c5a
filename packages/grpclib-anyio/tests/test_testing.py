"""The wire that the other tests stand on."""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a task group may swallow what its body raises; a test would have failed.

import anyio
import pytest
from anyio.abc import ByteStream
from h2.config import H2Configuration
from h2.connection import H2Connection
from hyperframe.frame import Frame, HeadersFrame, PingFrame, SettingsFrame
from hypothesis import given
from hypothesis import strategies as st

from grpclib_anyio.server import Stream
from grpclib_anyio.testing import ChannelFor, FrameParser, FrameRecorder, memory_pair
from harness.peer import STREAM, Call, Methods, Raw


@pytest.mark.anyio
async def test_bytes_arrive_in_order_and_in_parts() -> None:
    one, two = memory_pair()
    await one.send(b"abc")
    await one.send(b"def")
    assert await two.receive(4) == b"abcd"
    assert await two.receive(4) == b"ef"
    assert two.receive_nowait() == b""


@pytest.mark.anyio
async def test_full_buffer_makes_the_sender_wait() -> None:
    """Four bytes of six fit; the rest goes when two have been read."""
    one, two = memory_pair(buffer_size=4)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.send, b"abcdef")
        await anyio.wait_all_tasks_blocked()
        assert one.statistics().unreceived_bytes == 4
        assert one.statistics().is_awaited
        with pytest.raises(anyio.WouldBlock):
            one.send_nowait(b"x")
        assert await two.receive(2) == b"ab"
    assert await two.receive() == b"cdef"
    assert not one.statistics().is_awaited


@pytest.mark.anyio
async def test_cancelled_send_leaves_a_part() -> None:
    """As a socket does, which is why calls do not write."""
    one, two = memory_pair(buffer_size=4)
    async with anyio.create_task_group() as tasks:
        scope = anyio.CancelScope()

        async def send() -> None:
            with scope:
                await one.send(b"abcdef")

        tasks.start_soon(send)
        await anyio.wait_all_tasks_blocked()
        scope.cancel()
    assert two.receive_nowait() == b"abcd"
    assert not one.statistics().is_awaited


@pytest.mark.anyio
async def test_half_close() -> None:
    """One direction ends after what was sent; the other goes on."""
    one, two = memory_pair()
    await one.send(b"last")
    await one.send_eof()
    assert await two.receive() == b"last"
    with pytest.raises(anyio.EndOfStream):
        await two.receive()
    with pytest.raises(anyio.ClosedResourceError):
        await one.send(b"more")
    await two.send(b"still")
    assert await one.receive() == b"still"


@pytest.mark.anyio
async def test_close() -> None:
    """The other end gets what was sent, and cannot send."""
    one, two = memory_pair()
    await one.send(b"last")
    await one.aclose()
    assert await two.receive() == b"last"
    with pytest.raises(anyio.EndOfStream):
        await two.receive()
    with pytest.raises(anyio.BrokenResourceError):
        await two.send(b"more")
    for operation in (one.receive(), one.send(b"x")):
        with pytest.raises(anyio.ClosedResourceError):
            await operation
    await two.aclose()
    assert one.statistics().unread_bytes == two.statistics().unread_bytes == 0


@pytest.mark.anyio
async def test_reset_wakes_both_ends() -> None:
    """Both wait to receive; bytes that were under way are lost."""
    one, two = memory_pair()
    await one.send(b"lost")
    one.reset()
    for operation in (one.receive(), two.receive(), one.send(b"x"), two.send(b"x")):
        with pytest.raises(anyio.BrokenResourceError):
            await operation


@pytest.mark.anyio
async def test_two_tasks_may_not_receive_at_once() -> None:
    one, _ = memory_pair()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.receive)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(anyio.BusyResourceError):
            await one.receive()
        tasks.cancel_scope.cancel()


@given(st.booleans(), st.lists(st.integers(1, 60)))
def test_frames_are_parsed_alike_whatever_the_chunks(
    client_side: bool,  # noqa: FBT001 - hypothesis's
    sizes: list[int],
) -> None:
    """With a client's preface and without."""
    h2 = H2Connection(H2Configuration(client_side=client_side))
    h2.initiate_connection()
    h2.ping(b"12345678")
    data, parser = h2.data_to_send(), FrameParser()
    frames: list[Frame] = []
    for size in [*sizes, len(data)]:
        frames += parser.feed(data[:size])
        data = data[size:]
    assert [type(frame) for frame in frames] == [SettingsFrame, PingFrame]
    assert not parser.is_torn


@pytest.mark.anyio
async def test_recorder_sees_both_directions() -> None:
    """A call through a recorder."""
    recorders: list[FrameRecorder] = []

    def record(stream: ByteStream) -> ByteStream:
        recorders.append(FrameRecorder(stream))
        return recorders[-1]

    async def handler(stream: Stream[bytes, bytes]) -> None:
        await stream.send_message(b"one")

    async with ChannelFor([Methods(stream=handler)], Raw(), wrap=record) as channel:
        call = Call(channel, path=STREAM)
        await call.run()
    assert call.received == [b"one"]
    (recorder,) = recorders
    assert sum(isinstance(frame, HeadersFrame) for frame in recorder.sent) == 1
    assert sum(isinstance(frame, HeadersFrame) for frame in recorder.received) == 2
    assert not recorder.is_torn


@pytest.mark.anyio
async def test_channel_for_passes_errors_of_the_body_on_as_they_are() -> None:
    """Not inside an exception group."""
    with pytest.raises(ValueError, match="mine"):
        async with ChannelFor([Methods()], Raw()):
            raise ValueError("mine")
