"""gRPC's negative HTTP/2 cases: a server that does what servers should not do, or seldom do.

The server is h2 with a script on top. What the client is told and what it puts on the wire are both
looked at.
"""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a task group may swallow what its body raises; a test would have failed.

import anyio
import pytest
from grpclib.const import Status
from h2.errors import ErrorCodes
from h2.events import PingAckReceived, RequestReceived, StreamEnded
from h2.settings import SettingCodes
from hyperframe.frame import GoAwayFrame

from harness.peer import Call, Network, ScriptedPeer, channel_to, completes, framed

pytestmark = pytest.mark.anyio

#: The size of the reply in the cases' description.
MESSAGE = b"0" * 314_159
CALLS = 10


@pytest.mark.interop_case("goaway", peer="us-to-h2")
async def test_goaway() -> None:
    """The call that is under way is completed; the next one goes to another connection."""
    network = Network()
    async with channel_to(network) as channel:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon((first := Call(channel)).run)
            peer, stream_id = await network.accept()
            peer.queue_headers(stream_id)
            peer.queue_messages(stream_id, b"one")
            # h2 sends nothing after its own GOAWAY, so this one is put on the wire beside it.
            await peer.flush()
            await peer.send_frames(goaway(last_stream_id=stream_id))
            peer.queue_trailers(stream_id)
            await peer.flush()
        assert first.received == [b"one"]
        assert first.error is None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon((second := Call(channel)).run)
            await answer(network)
        assert second.received == [b"two"]
    assert len(network.peers) == 2


@pytest.mark.interop_case("rst_after_header", peer="us-to-h2")
async def test_rst_after_header() -> None:
    network = Network()
    async with channel_to(network) as channel:
        call = Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            peer, stream_id = await network.accept()
            await peer.respond(stream_id)
            await peer.reset(stream_id, ErrorCodes.NO_ERROR)
        assert (call.received, call.status) == ([], Status.INTERNAL)
        await completes(network, channel)


@pytest.mark.interop_case("rst_during_data", peer="us-to-h2")
async def test_rst_during_data() -> None:
    """Half of the message is there: nothing of it is given to the caller."""
    network = Network()
    async with channel_to(network) as channel:
        call = Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            peer, stream_id = await network.accept()
            peer.queue_headers(stream_id)
            data = framed(MESSAGE)
            await peer.send_all(stream_id, data[: len(data) // 2])
            await peer.reset(stream_id, ErrorCodes.NO_ERROR)
        assert (call.received, call.status) == ([], Status.INTERNAL)
        await completes(network, channel)


@pytest.mark.interop_case("rst_after_data", peer="us-to-h2")
async def test_rst_after_data() -> None:
    """The message is whole, the status is missing: a stream's reader gets the message first."""
    network = Network()
    async with channel_to(network) as channel:
        call = Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            peer, stream_id = await network.accept()
            peer.queue_headers(stream_id)
            await peer.send_all(stream_id, framed(MESSAGE))
            await peer.reset(stream_id, ErrorCodes.NO_ERROR)
        assert (call.received, call.status) == ([MESSAGE], Status.INTERNAL)
        await completes(network, channel)


@pytest.mark.interop_case("ping", peer="us-to-h2")
async def test_ping() -> None:
    """Before the headers, between messages and before the trailers: each is answered."""
    network = Network()
    async with channel_to(network) as channel:
        call = Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            peer, stream_id = await network.accept()
            await ping(peer, b"headers.")
            peer.queue_headers(stream_id)
            for message in (b"one", b"two"):
                peer.queue_messages(stream_id, message)
                await ping(peer, b"message.")
            peer.queue_trailers(stream_id)
            await peer.flush()
        assert (call.received, call.status) == ([b"one", b"two"], None)


@pytest.mark.interop_case("max_streams", peer="us-to-h2")
async def test_max_streams() -> None:
    """One stream at a time, by the server's SETTINGS: the calls wait for each other."""
    network = Network(settings={SettingCodes.MAX_CONCURRENT_STREAMS: 1})
    calls: list[Call] = []
    async with channel_to(network) as channel:
        await completes(network, channel)
        async with anyio.create_task_group() as tasks:
            for _ in range(CALLS):
                calls.append(call := Call(channel))
                tasks.start_soon(call.run)
            for _ in range(CALLS):
                await answer(network)
                assert network.peer.h2.open_inbound_streams <= 1
    assert [call.received for call in calls] == [[b"two"]] * CALLS
    assert len(network.peers) == 1


async def answer(network: Network) -> None:
    await anyio.wait_all_tasks_blocked()
    peer = network.peer
    stream_id = (await peer.expect(RequestReceived)).stream_id
    await peer.expect(StreamEnded)
    await peer.respond(stream_id, b"two", end=True)


async def ping(peer: ScriptedPeer, data: bytes) -> None:
    peer.h2.ping(data)
    await peer.flush()
    assert (await peer.expect(PingAckReceived)).ping_data == data


def goaway(*, last_stream_id: int) -> GoAwayFrame:
    frame = GoAwayFrame()
    frame.last_stream_id = last_stream_id
    return frame
