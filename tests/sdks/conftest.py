"""The programs that the tests here share; all tests of a client follow each other."""

import os
from collections.abc import Iterator
from operator import attrgetter

import pytest

from tests.sdks.clients import CLIENTS, Running, running
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
def local() -> Iterator[Stage]:
    """Give programs with the model that runs on this machine."""
    sizes = ("--context-size=2048", "--max-tokens=1500")
    with staged("local", "--max-concurrent=1", *sizes) as stage:
        yield stage


@pytest.fixture(scope="session", params=CLIENTS, ids=attrgetter("id"))
def client(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """Run the program of each client; one that is not installed is skipped, and fails in CI."""
    try:
        with running(request.param, tmp_path_factory.mktemp("home")) as program:
            yield program
    except NotInstalledError as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(error))
