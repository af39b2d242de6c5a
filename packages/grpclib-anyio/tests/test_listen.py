"""Where a server listens, and on what: addresses, sockets that are given, and their options."""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a task group may swallow what its body raises; a test would have failed.

import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import pytest
from grpclib.const import Cardinality

from grpclib_anyio.client import Channel
from grpclib_anyio.server import BoundAddress, Server
from harness.peer import BOTH, Methods, Raw

pytestmark = pytest.mark.anyio


def has_ipv6() -> bool:
    """Say whether this machine has the address ::1."""
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


async def echo(stream: Any) -> None:
    async for message in stream:
        await stream.send_message(message)


@asynccontextmanager
async def serving(**options: Any) -> AsyncGenerator[list[BoundAddress]]:
    """Run a server, and give its addresses."""
    async with anyio.create_task_group() as tasks:
        server = Server([Methods(both=echo)], codec=Raw())
        yield await tasks.start(partial(server.serve, **options))
        tasks.cancel_scope.cancel()


async def answers(address: BoundAddress) -> bool:
    """Make a call of the server at an address."""
    if isinstance(address, str):
        channel = Channel(path=address, codec=Raw())
    else:
        channel = Channel(address[0], address[1], codec=Raw())
    async with (
        channel,
        channel.request(BOTH, Cardinality.STREAM_STREAM, bytes, bytes) as call,
    ):
        await call.send_message(b"one", end=True)
        return await call.recv_message() == b"one"


@contextmanager
def tcp_socket() -> Generator[socket.socket]:
    """Give a socket that is bound and does not listen; closed after the test in any case."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


async def test_socket_that_is_bound() -> None:
    with tcp_socket() as sock:
        async with serving(sock=sock) as (address,):
            assert address == sock.getsockname()
            assert await answers(address)
        assert sock.fileno() == -1  # it was the server's


async def test_socket_that_listens_already() -> None:
    """As from systemd, or from a process that hands over to the next."""
    with tcp_socket() as sock:
        sock.listen()
        async with serving(sock=sock) as (address,):
            assert await answers(address)


async def test_unix_socket_that_is_given() -> None:
    # pytest's own directory may be too deep for the 108 bytes of a socket's path.
    with TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path := str(Path(directory, "socket")))
        async with serving(sock=sock) as (address,):
            assert address == path
            assert await answers(path)


async def test_client_that_connects_before_the_server_accepts() -> None:
    """It waits in the backlog of the socket that is given."""
    with tcp_socket() as sock, socket.socket() as client:
        sock.listen()
        client.connect(sock.getsockname())
        async with serving(sock=sock) as (address,):
            assert await answers(address)


async def test_socket_that_is_not_bound() -> None:
    with socket.socket() as sock, pytest.raises(ValueError, match="bound"):
        await Server([]).serve(sock=sock)


async def test_socket_for_datagrams() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        with pytest.raises(ValueError, match="SOCK_STREAM"):
            await Server([]).serve(sock=sock)


async def test_socket_that_cannot_listen_is_closed() -> None:
    """Another one listens on its address."""
    with tcp_socket() as first, socket.socket() as second:
        first.close()
        with socket.socket() as other:
            for sock in (other, second):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", 0))
            second.bind(other.getsockname())
            other.listen()
            with pytest.raises(OSError, match="in use"):
                await Server([]).serve(sock=second)
            assert second.fileno() == -1


async def test_two_servers_on_one_port() -> None:
    async with serving(host="127.0.0.1", port=0, reuse_port=True) as (first,):
        async with serving(host="127.0.0.1", port=first[1], reuse_port=True) as (second,):
            assert first == second
            assert await answers(first)
        assert await answers(first)


async def test_port_that_is_in_use() -> None:
    async with serving(host="127.0.0.1", port=0) as (address,):
        with pytest.raises(OSError, match="in use"):
            await Server([]).serve("127.0.0.1", int(address[1]))


@pytest.mark.parametrize(
    ("family", "everywhere", "here"),
    [
        (socket.AF_INET, "0.0.0.0", "127.0.0.1"),  # noqa: S104 - the address that is expected
        pytest.param(
            socket.AF_INET6,
            "::",
            "::1",
            marks=pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6"),
        ),
    ],
    ids=["IPv4", "IPv6"],
)
async def test_addresses_of_one_family(
    family: socket.AddressFamily, everywhere: str, here: str
) -> None:
    """All of this family's, and none of the other's."""
    async with serving(port=0, family=family) as addresses:
        assert [address[0] for address in addresses] == [everywhere]
        assert await answers((here, int(addresses[0][1])))


async def test_backlog_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    backlogs: list[int] = []
    listen = socket.socket.listen

    def note(sock: socket.socket, backlog: int = -1) -> None:
        backlogs.append(backlog)
        listen(sock, backlog)

    monkeypatch.setattr(socket.socket, "listen", note)
    with TemporaryDirectory() as directory, tcp_socket() as sock:
        for place in (
            {"host": "127.0.0.1", "port": 0},
            {"path": str(Path(directory, "socket"))},
            {"sock": sock},
        ):
            async with serving(**place, backlog=7):
                pass
    assert backlogs == [7, 7, 7]


@pytest.mark.parametrize(
    "options",
    [
        {"path": "a", "host": "b"},
        {"path": "a", "port": 1},
        {"sock": True, "host": "b"},
        {"sock": True, "port": 1},
        {"sock": True, "path": "a"},
        {"path": "a", "reuse_port": True},
        {"path": "a", "family": socket.AF_INET},
        {"sock": True, "reuse_port": True},
        {"sock": True, "family": socket.AF_INET6},
    ],
    ids=str,
)
async def test_options_that_do_not_go_together(options: dict[str, Any]) -> None:
    with tcp_socket() as sock:
        if "sock" in options:
            options = options | {"sock": sock}
        with pytest.raises(ValueError, match=r"cannot be combined|for a host and a port only"):
            await Server([]).serve(**options)
        assert sock.fileno() != -1  # still the caller's
