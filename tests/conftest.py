"""What every test gets: an event loop, a browser, and a check that nothing is left behind."""

import logging
import os
import shutil
import signal
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import structlog

from tests import every_checkpoint
from tests.every_checkpoint import COUNTS, AtEachCheckpoint, Checkpoint, Scenario
from tests.hang_report import task_stacks
from tests.leaks.plugin import (
    no_garbage,
    nothing_left_behind,
    pytest_runtest_call,
    pytest_runtest_makereport,
)

# pytest looks for them here.
__all__ = [
    "no_garbage",
    "nothing_left_behind",
    "pytest_runtest_call",
    "pytest_runtest_makereport",
]

ARTIFACTS = Path(__file__).parent.parent / "artifacts"
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")

#: pytest's options of which each makes a run one of some tests only.
SELECTING = ("file_or_dir", "keyword", "markexpr", "ignore", "deselect", "lf", "collectonly")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run every test marked `anyio` on both event loops."""
    backend: str = request.param
    return backend


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
def logging_restored() -> Iterator[None]:
    """Undo what a test configures."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.hookimpl(wrapper=True)
def pytest_timeout_set_timer(item: pytest.Item) -> Generator[None, object, object]:
    """Print what every task waits for before a timeout fails the test."""
    result = yield
    fail = signal.getsignal(signal.SIGALRM)
    if callable(fail):

        def report_and_fail(signum: int, frame: FrameType | None) -> None:
            capture: Any = item.config.pluginmanager.getplugin("capturemanager")
            with capture.global_and_fixture_disabled() if capture else nullcontext():
                item.config.get_terminal_writer().write("\n".join([item.nodeid, *task_stacks()]))
            fail(signum, frame)

        signal.signal(signal.SIGALRM, report_and_fail)
    return result


@pytest.fixture
def at_each_checkpoint(
    request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> AtEachCheckpoint:
    """Run a scenario at each of its checkpoints, on trio in each order of its batches."""

    async def run(name: str, scenario: Scenario, *, seeds: int = 0) -> None:
        async def checked(checkpoint: Checkpoint) -> None:
            await scenario(checkpoint)
            assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == []

        counts = request.config.stash.setdefault(COUNTS, Counter())
        counts[name] += await every_checkpoint.in_each_order(checked, seeds)

    return run


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run of all tests with fewer checkpoints than the document says."""
    options = vars(session.config.option)
    is_whole = not any(map(options.get, SELECTING))
    if is_whole and session.exitstatus == pytest.ExitCode.OK:
        counts = session.config.stash.get(COUNTS, Counter[str]())
        if counts.total() <= every_checkpoint.documented():
            reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
            reporter.write_line("\nfewer checkpoints than docs/cancellation.md says", red=True)
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say at how many checkpoints something happened."""
    counts = config.stash.get(COUNTS, None)
    if counts is None:
        return
    terminalreporter.section("checkpoints at which something happened")
    for name, count in sorted(counts.items()):
        terminalreporter.write_line(f"{count:6} {name}")
    terminalreporter.write_line(f"{counts.total():6} in all")
