"""What every test of the transport gets; see ``tests/harness/plugin.py``."""

import pytest

from harness.plugin import (
    PART,
    anyio_backend,
    at_each_checkpoint,
    no_garbage,
    nothing_left_behind,
    pytest_runtest_call,
    pytest_runtest_makereport,
    pytest_sessionfinish,
    pytest_terminal_summary,
    pytest_timeout_set_timer,
)

# pytest looks for them here.
__all__ = [
    "anyio_backend",
    "at_each_checkpoint",
    "no_garbage",
    "nothing_left_behind",
    "pytest_runtest_call",
    "pytest_runtest_makereport",
    "pytest_sessionfinish",
    "pytest_terminal_summary",
    "pytest_timeout_set_timer",
]


def pytest_configure(config: pytest.Config) -> None:
    """Say whose tests these are."""
    config.stash[PART] = "transport"
