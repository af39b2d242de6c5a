"""The programs that all tests here share: each is started once, and the clients' all at a time."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from operator import attrgetter
from typing import cast

import pytest

from tests.sdks.clients import CLIENTS, Client, Running, running
from tests.sdks.node_libraries import NotInstalledError
from tests.sdks.stages import Stage, install_scripted, staged


@pytest.fixture(scope="session")
def demo() -> Iterator[Stage]:
    """Give programs with the backend `demo`."""
    with staged("demo", "--demo-delay=0") as stage:
        yield stage


@pytest.fixture(scope="session")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Give programs with a backend that does as a prompt says."""
    path = install_scripted(tmp_path_factory.mktemp("scripted"))
    with staged("scripted", PYTHONPATH=path) as stage:
        yield stage


@pytest.fixture(scope="session")
def programs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Running | NotInstalledError]]:
    """Start the programs of the clients that are under test; a library takes seconds to import."""
    home = str(tmp_path_factory.mktemp("home"))
    started: dict[str, Running | NotInstalledError] = {}
    with ExitStack() as stack:
        for client in filter(_clients_of(request.session).__contains__, CLIENTS):
            try:
                started[client.id] = stack.enter_context(running(client, home))
            except NotInstalledError as error:
                started[client.id] = error
        yield started


def _clients_of(session: pytest.Session) -> set[Client]:
    """Find the clients of the tests that were chosen."""
    calls = (item.callspec for item in session.items if isinstance(item, pytest.Function))
    return {cast("Client", call.params["client"]) for call in calls if "client" in call.params}


@pytest.fixture(params=CLIENTS, ids=attrgetter("id"))
def client(
    request: pytest.FixtureRequest, programs: Mapping[str, Running | NotInstalledError]
) -> Running:
    """Give the program of each client; one that is not installed is skipped, and fails in CI."""
    program = programs[request.param.id]
    if isinstance(program, NotInstalledError):
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(program))
    return program
