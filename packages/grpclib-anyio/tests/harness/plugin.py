"""What every test gets: an event loop, all checkpoints, and a report if it hangs.

The transport's tests and the relay's share it, and ``leaks/plugin.py``: each ``conftest`` names
both as plugins.
"""

import logging
import signal
from collections import Counter
from collections.abc import Generator
from contextlib import nullcontext
from types import FrameType
from typing import Any

import pytest

from harness import every_checkpoint
from harness.every_checkpoint import COUNTS, PART, AtEachCheckpoint, Checkpoint, Scenario
from harness.hang_report import task_stacks

#: pytest's options of which each makes a run one of some tests only.
SELECTING = ("file_or_dir", "keyword", "markexpr", "ignore", "deselect", "lf", "collectonly")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run every test marked `anyio` on both event loops."""
    backend: str = request.param
    return backend


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
        if counts.total() <= every_checkpoint.documented(session.config.stash[PART]):
            reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
            reporter.write_line("\nfewer checkpoints than evidence.md says", red=True)
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
