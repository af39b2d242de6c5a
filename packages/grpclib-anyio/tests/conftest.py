"""What every test of the transport gets; see ``tests/harness/plugin.py``."""

import pytest

from harness.every_checkpoint import PART

pytest_plugins = ("harness.plugin", "harness.leaks.plugin")


def pytest_configure(config: pytest.Config) -> None:
    """Say whose tests these are."""
    config.stash[PART] = "transport"
