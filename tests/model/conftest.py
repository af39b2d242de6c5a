"""A real engine for the tests that need one."""

from collections.abc import Iterator

import pytest

from relay_model.backends.local.llama import Engine, bundled_weights
from tests.support.local_model import NOT_INSTALLED


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """Give llama.cpp with SmolLM2 and one slot, loaded once; skip where it is not installed."""
    if NOT_INSTALLED:
        pytest.skip(f"not installed: {', '.join(NOT_INSTALLED)}")
    loaded = Engine(bundled_weights(), context_size=2048, slots=1, threads=1, verbose=False)
    yield loaded
    loaded.close()
