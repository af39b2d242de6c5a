"""Connections are taken several at a time when the loop is slow; see `server/accept.py`."""

import errno
import socket
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import hypercorn.trio.run
import pytest
import trio
import trio.testing

from relay_gateway.server.accept import SeveralListener, refuse_new_connections
from relay_gateway.server.patch import install

BURST = 40
AT_ONCE = 16
#: Seconds for a turn of the loop.
LONG, SHORT = 0.004, 0.001


@asynccontextmanager
async def listening() -> AsyncGenerator[SeveralListener]:
    server = trio.socket.socket()
    await server.bind(("127.0.0.1", 0))
    server.listen(BURST)
    listener = SeveralListener(server)
    try:
        yield listener
    finally:
        await listener.aclose()


@contextmanager
def browsers(listener: SeveralListener) -> Generator[list[socket.socket]]:
    """Connect a burst, which waits in the kernel."""
    address = listener._listener.socket.getsockname()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - trio's would tell
    with ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(address)) for _ in range(BURST)]


def test_hypercorn_listens_so() -> None:
    """Once there is an application; and everything else is trio's."""
    install(write_timeout=30)
    seen = vars(hypercorn.trio.run)["trio"]
    assert seen.SocketListener is SeveralListener
    assert seen.sleep is trio.sleep


@pytest.mark.trio
@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(LONG, range(BURST // AT_ONCE, BURST // AT_ONCE + 5)), (SHORT, range(BURST - 3, BURST + 4))],
)
async def test_burst_is_taken_in_few_turns_if_they_are_long(
    seconds: float, expected: range, mock_clock: trio.testing.MockClock
) -> None:
    """Others run in between, but not after each; and after each while that takes no time."""
    turns = 0

    async def run() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            mock_clock.jump(seconds)
            turns += 1

    async with listening() as listener, trio.open_nursery() as nursery:
        with browsers(listener) as theirs:
            nursery.start_soon(run)
            ours = [await listener.accept() for _ in theirs]
            assert turns in expected  # who is first in a turn is left to chance
            for one, other in zip(ours, theirs, strict=True):
                assert one.socket.getpeername() == other.getsockname()
                await one.aclose()
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_trio_still_lets_everything_run_between_two() -> None:
    """Also when turns are long: with a burst, the last one waits for as many turns."""
    turns = 0

    async def run() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with listening() as listener, trio.open_nursery() as nursery:
        with browsers(listener):
            nursery.start_soon(run)
            for _ in range(BURST):
                stream = await listener._listener.accept()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - trio's
                await trio.aclose_forcefully(stream)
            nursery.cancel_scope.cancel()
    assert turns >= BURST, "trio has changed this: see SeveralListener"


@pytest.mark.trio
async def test_next_one_is_waited_for() -> None:
    """After a burst as before it; and the wait can be cancelled."""
    async with listening() as listener, trio.open_nursery() as nursery:
        for _ in range(3):
            with trio.move_on_after(0) as scope:
                await listener.accept()
            assert scope.cancelled_caught

        async def serve() -> None:
            for _ in range(2 * BURST):
                await (await listener.accept()).aclose()
            nursery.cancel_scope.cancel()

        nursery.start_soon(serve)
        for _ in range(2):
            await trio.testing.wait_all_tasks_blocked()
            with browsers(listener):
                await trio.testing.wait_all_tasks_blocked()


@pytest.mark.trio
async def test_error_is_trios_to_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many open files, or a browser that has left: trio's listener knows what to do."""
    full = OSError(errno.EMFILE, "")

    class Full:
        def accept(self) -> None:
            raise full

    async def fail(_listener: trio.SocketListener) -> None:  # noqa: ASYNC910 - raises
        raise full

    async with listening() as listener:
        raw = listener._raw  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - there is no other way to make it fail
        with monkeypatch.context() as patch:
            patch.setattr(listener, "_raw", Full())
            patch.setattr(trio.SocketListener, "accept", fail)
            with pytest.raises(OSError, match="24"):
                await listener.accept()
        assert listener._raw is raw  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - as above


@pytest.mark.trio
async def test_closed_listener() -> None:
    """Says that it is closed, and keeps no descriptor."""
    async with listening() as listener:
        pass
    assert listener._raw.fileno() == listener._listener.socket.fileno() == -1  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - descriptors
    with pytest.raises(trio.ClosedResourceError):
        await listener.accept()


@pytest.mark.trio
async def test_listener_that_is_closed_under_a_wait() -> None:
    """The wait ends, as trio's does."""
    async with listening() as listener, trio.open_nursery() as nursery:

        async def accept() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await listener.accept()

        nursery.start_soon(accept)
        await trio.testing.wait_all_tasks_blocked()
        await listener.aclose()


class Given(trio.abc.Listener[trio.abc.Stream]):
    """Accepts what it is given."""

    def __init__(self, *streams: trio.abc.Stream) -> None:
        self._streams = [*streams]

    async def accept(self) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        return self._streams.pop() if self._streams else await trio.sleep_forever()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


@pytest.mark.trio
async def test_socket_is_closed_by_its_handler_and_nothing_else_is() -> None:
    """A stream whose TLS handshake fails is left open by hypercorn, and closed by trio."""
    install(write_timeout=30)
    serve = vars(hypercorn.trio.run)["trio"].serve_listeners
    plain, peer = (trio.SocketStream(end) for end in trio.socket.socketpair())
    tls, client = trio.testing.memory_stream_pair()
    handled: set[trio.abc.Stream] = set()

    async def handle(stream: trio.abc.Stream) -> None:  # noqa: ASYNC124, ASYNC910 - trio's
        handled.add(stream)

    async with peer, plain, trio.open_nursery() as nursery:
        nursery.start_soon(partial(serve, handle, [Given(plain, tls)], handler_nursery=nursery))
        await trio.testing.wait_all_tasks_blocked()
        assert handled == {plain, tls}
        assert plain.socket.fileno() >= 0
        assert await client.receive_some() == b""
        nursery.cancel_scope.cancel()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel has no filter")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_kernel_makes_no_connection_after_the_last_call(host: str) -> None:
    """What waits is still accepted and works; who asks again later is refused."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listening:
        address = listening.getsockname()[:2]
        with socket.create_connection(address) as waiting:
            refuse_new_connections(listening)
            with pytest.raises(TimeoutError):
                socket.create_connection(address, timeout=0.05)
            ours, _ = listening.accept()
            with ours:
                waiting.sendall(b"still")
                assert ours.recv(5) == b"still"


def test_other_sockets_have_no_filter(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        path = str(tmp_path / "gateway")
        listening.bind(path)
        listening.listen()
        refuse_new_connections(listening)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)
