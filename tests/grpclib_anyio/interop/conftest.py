"""Who talks to whom: each pair has our transport at one end at least."""

import os
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.grpclib_anyio.interop.contract import Witness
from tests.grpclib_anyio.interop.grpcio_peers import grpcio_client, grpcio_server
from tests.grpclib_anyio.interop.grpclib_peers import (
    grpclib_client,
    grpclib_server,
    our_client,
    our_server,
)
from tests.grpclib_anyio.interop.peer import Client, ClientMaker, Endpoint, ServerMaker


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
    targets = (os.path.realpath(entry) for entry in DESCRIPTORS.iterdir())
    return {target for target in targets if "socket:" in target}


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
