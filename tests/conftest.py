"""What every test of the relay gets: what the transport's get, and a browser."""

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from harness.every_checkpoint import PART
from harness.leaks import registry
from relay_gateway.relay.relay import Relay

pytest_plugins = ("harness.plugin", "harness.leaks.plugin")

ARTIFACTS = Path(__file__).parent.parent / "artifacts"
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")

# One is made for each request.
registry.watch(Relay)


def pytest_configure(config: pytest.Config) -> None:
    """Say whose tests these are."""
    config.stash[PART] = "relay"


@pytest.fixture(scope="session")
def artifacts() -> Path:
    """Give the directory for what a run should leave to look at, such as screenshots."""
    ARTIFACTS.mkdir(exist_ok=True)
    return ARTIFACTS


@pytest.fixture(scope="session")
def chromium() -> str:
    """Give the path of the system's Chromium.

    `CHROMIUM` in the environment names another one. Without any, browser tests are skipped,
    and in CI they fail: a skip there would hide that they never run.
    """
    found = filter(None, map(shutil.which, (os.environ.get("CHROMIUM", ""), *CHROMIUM_NAMES)))
    path = next(found, None)
    if path is None:
        message = "no Chromium: install it, or set CHROMIUM to the path of one"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path


@pytest.fixture
def logs() -> Iterator[list[Any]]:
    """Collect what is logged."""
    with capture_logs() as entries:
        yield entries


@pytest.fixture
def logging_restored() -> Iterator[None]:
    """Undo what a test configures."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in set(root.handlers) - set(handlers):
        handler.close()  # it may have a thread
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
