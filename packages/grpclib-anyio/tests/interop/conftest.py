"""Who talks to whom: each pair has our transport at one end at least."""

import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from interop.contract import Witness
from interop.grpcio_peers import grpcio_client, grpcio_server
from interop.grpclib_peers import (
    grpclib_client,
    grpclib_server,
    our_client,
    our_server,
)
from interop.peer import Client, ClientMaker, Endpoint, ServerMaker
from interop.table import InteropTable


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a run of these tests write down what it found."""
    parser.addoption(
        "--interop-table",
        type=Path,
        metavar="PATH",
        help="write the table of interoperability to this file, as docs/interop.md",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Say what marks a case, and note the outcomes if they are wanted."""
    config.addinivalue_line(
        "markers",
        "interop_case(name, peer=None): a case of gRPC's, between the test's pair or with the peer",
    )
    if (path := config.getoption("interop_table", None)) is not None:
        config.pluginmanager.register(InteropTable(path))


@dataclass(frozen=True)
class Pair:
    """A client and a server, each of some library."""

    client: ClientMaker
    server: ServerMaker
    witness: Witness = field(default_factory=Witness)

    @asynccontextmanager
    async def connected(self, endpoint: Endpoint | None = None) -> AsyncGenerator[Client, None]:
        """Run the server, and give a client of it."""
        async with (
            self.server(endpoint or Endpoint(), self.witness) as bound,
            self.client(bound) as client,
        ):
            yield client


PAIRS: dict[str, tuple[ClientMaker, ServerMaker]] = {
    "grpcio-to-us": (grpcio_client, our_server),
    "grpclib-to-us": (grpclib_client, our_server),
    "us-to-grpcio": (our_client, grpcio_server),
    "us-to-grpclib": (our_client, grpclib_server),
    "us-to-us": (our_client, our_server),
}


#: Seconds that grpcio gets for what it does in threads of its own.
SETTLING_TIMEOUT = 5.0

DESCRIPTORS = Path("/proc/self/fd")


def _sockets() -> set[str]:
    """Name the open sockets; none where there is no /proc."""
    if not DESCRIPTORS.is_dir():
        return set()
    return {target for target in map(_target, DESCRIPTORS.iterdir()) if "socket:" in target}


def _target(descriptor: Path) -> str:
    """Name what it is open on; one that is closed meanwhile, as by grpcio's threads, on nothing."""
    try:
        return str(descriptor.readlink())
    except FileNotFoundError:
        return ""


@pytest.fixture(autouse=True)
def _grpcio_settles() -> Iterator[None]:
    """Wait until grpcio has closed its sockets, which it does after it says that it has.

    What is still open after that is for the check of all tests to find.
    """
    before = _sockets()
    yield
    deadline = time.monotonic() + SETTLING_TIMEOUT
    while _sockets() - before and time.monotonic() < deadline:
        time.sleep(0.001)


@pytest.fixture(autouse=True)
def _no_connection_fails(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test in which a connection ended by an error that nobody had thought of."""
    yield
    messages = [record.getMessage() for record in caplog.get_records("call")]
    assert not [message for message in messages if message.endswith("connection> failed")]


@pytest.fixture(params=PAIRS)
def pair(request: pytest.FixtureRequest) -> Pair:
    """Run a test with every pair."""
    return Pair(*PAIRS[request.param])
