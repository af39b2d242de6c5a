"""A call that is ended at each of its checkpoints, at the server: nothing is torn, lost or left.

See `harness/every_checkpoint.py`. The handler's clean-up has run; if the connection goes on, the
next call is served, for which there is only the slot of the first.
"""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a task group may swallow what its body raises; a test would have failed.

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import anyio
import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import Frame, GoAwayFrame

from grpclib_anyio._base.config import Configuration
from grpclib_anyio.server import Server
from grpclib_anyio.testing import memory_pair
from harness.clock import jump, on_mock_clock
from harness.conversation import Line
from harness.every_checkpoint import AtEachCheckpoint, Checkpoint, settled
from harness.handlers import LISTEN, Grouping, Handlers, Holding
from harness.peer import BOTH, STREAM, Raw, ScriptedPeer, framed
from harness.wires import check_resets

ONE_AT_A_TIME = Configuration(max_concurrent_streams=1, max_outbox_size=1_000)
LARGE = b"x" * 1_500
WORDS = bytes(Line("one two three four"))
TIMEOUT = 60


@dataclass(frozen=True)
class Request:
    """A method, the messages, and whose handler answers them."""

    path: str
    messages: tuple[bytes, ...]
    handlers: type[Handlers] = Handlers


REQUESTS = {
    "plain": Request(STREAM, (LARGE,)),
    "generator": Request(LISTEN, (WORDS,)),
    "context manager": Request(LISTEN, (WORDS,), Holding),
    "task group": Request(BOTH, (LARGE, b"small", LARGE), Grouping),
}


def _ignore(_frame: Frame) -> tuple[list[Frame], list[object]]:
    return [], []


class ServedCall:
    """A scripted client's call, and the server that it is made to."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.handlers = request.handlers()
        self.scope = anyio.CancelScope()
        self.near, self.far = memory_pair()
        self.peer = ScriptedPeer(self.far, client_side=True)
        # h2 would be over with it, and know no PING any more.
        vars(self.peer.h2)["_frame_dispatch_table"][GoAwayFrame] = _ignore
        self.is_lost = False
        self.server = Server(self.handlers.services, codec=Raw(), config=ONE_AT_A_TIME)

    async def run(self, end: Callable[["ServedCall"], None], checkpoint: Checkpoint) -> None:
        """See the call through, which is ended at the checkpoint; see that nothing is left."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._serve)
            await self.peer.start()
            tasks.start_soon(self._read)
            await settled()
            timeout = (("grpc-timeout", f"{TIMEOUT}S"),)
            await self.peer.request(self.request.path, *self.request.messages, extra=timeout)
            with checkpoint.watched(lambda: end(self)):
                await settled()
            await settled()
            assert self.handlers.running == 0
            if not self.is_lost:
                await self._ask_again()
            self.far.close()
        assert self.near.statistics().is_closed
        # Refused, where a server that stops has not begun; NO_ERROR, where all has been said.
        codes = frozenset({ErrorCodes.REFUSED_STREAM, ErrorCodes.NO_ERROR})
        check_resets(self.peer.frames, also=codes)

    async def _serve(self) -> None:
        with self.scope:
            await self.server.serve_connection(self.near)

    async def _read(self) -> None:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await self.peer.read_to_end()
        self.is_lost = True

    async def _ask_again(self) -> None:
        again = await self.peer.request(BOTH, b"again")
        await settled()
        assert (self.peer.data(again), self.peer.ends(again)) == (framed(b"again"), True)
        assert not self.peer.is_torn


def client_resets(call: ServedCall) -> None:
    if not call.peer.ends(1):
        call.peer.h2.reset_stream(1, ErrorCodes.CANCEL)
        call.peer.flush_nowait()


def connection_is_lost(call: ServedCall) -> None:
    call.near.reset()


def server_is_cancelled(call: ServedCall) -> None:
    call.scope.cancel()


def server_is_drained(call: ServedCall) -> None:
    call.server.drain(0)


def deadline_passes(_: ServedCall) -> None:
    jump(TIMEOUT)


ENDS = [
    client_resets,
    connection_is_lost,
    server_is_cancelled,
    server_is_drained,
    deadline_passes,
]


async def _ended(name: str, end: Callable[[ServedCall], None], checkpoint: Checkpoint) -> None:
    await ServedCall(REQUESTS[name]).run(end, checkpoint)


@pytest.mark.trio(run=on_mock_clock)
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", REQUESTS)
async def test_handler_is_ended(
    name: str, end: Callable[[ServedCall], None], at_each_checkpoint: AtEachCheckpoint
) -> None:
    await at_each_checkpoint("handler ended", partial(_ended, name, end))


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("end", [client_resets, server_is_cancelled])
@pytest.mark.parametrize("name", REQUESTS)
async def test_handler_is_ended_on_asyncio(
    name: str, end: Callable[[ServedCall], None], at_each_checkpoint: AtEachCheckpoint
) -> None:
    await at_each_checkpoint("handler ended, on asyncio", partial(_ended, name, end))
