"""Plain calls work where no task runs: on asyncio, in signal handlers and other callbacks.

anyio finds its event loop by the task that runs, and finds none there.
"""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a task group may swallow what its body raises; a test would have failed.

import asyncio
from collections.abc import Callable
from contextvars import Context

import anyio
import pytest
from grpclib.const import Cardinality, Status
from hyperframe.frame import GoAwayFrame

from grpclib_anyio._base.trio_io import current_time
from grpclib_anyio.server import Server, Stream
from grpclib_anyio.testing import ChannelFor
from harness.peer import STREAM, Call, Methods, Network, Raw, channel_to

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]


async def hang(_stream: Stream[bytes, bytes]) -> None:
    await anyio.sleep_forever()


async def in_a_callback(action: Callable[[], object]) -> None:
    """Run ``action`` as asyncio runs a signal handler, and raise what it raises."""
    done = asyncio.get_running_loop().create_future()

    def run() -> None:
        try:
            done.set_result(action())
        except Exception as error:  # noqa: BLE001 - raised below
            done.set_exception(error)

    asyncio.get_running_loop().call_soon(run, context=Context())
    await done


async def test_the_clock_is_the_loops() -> None:
    before = asyncio.get_running_loop().time()
    times: list[float] = []
    await in_a_callback(lambda: times.append(current_time()))
    assert before <= times[0] <= anyio.current_time()


async def test_a_server_is_drained_by_a_signal() -> None:
    server = Server([Methods(stream=hang)], codec=Raw())
    async with anyio.create_task_group() as tasks:
        await tasks.start(server.serve, "127.0.0.1", 0)
        with anyio.fail_after(10):
            await in_a_callback(lambda: server.drain(0))


async def test_a_call_is_let_go() -> None:
    """As one that was garbage is; its connection, which takes no more, closes."""
    network = Network()
    async with channel_to(network) as channel:
        call = channel.request(STREAM, Cardinality.UNARY_STREAM, bytes, bytes)
        await call.send_message(b"hello")
        peer, stream_id = await network.accept()
        await peer.send_frames(GoAwayFrame(0, last_stream_id=stream_id))
        await anyio.wait_all_tasks_blocked()
        await in_a_callback(call.release)
        with anyio.fail_after(10):
            await peer.read_to_end()
        assert peer.resets(stream_id) == [8]
        assert channel.statistics().streams == 0


async def test_a_channel_is_closed() -> None:
    async with ChannelFor([Methods(stream=hang)], codec=Raw()) as channel:
        call = Call(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call.run)
            await anyio.wait_all_tasks_blocked()
            await in_a_callback(channel.close)
        assert call.status is Status.UNAVAILABLE
