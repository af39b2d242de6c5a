"""Tests without waiting: `pytest.mark.trio(run=on_mock_clock)`."""

from collections.abc import Awaitable, Callable, Sequence

import trio
from trio.testing import MockClock


def on_mock_clock(
    main: Callable[[], Awaitable[None]],
    *,
    clock: trio.abc.Clock | None,
    instruments: Sequence[trio.abc.Instrument],
) -> None:
    """Run a test on a clock that jumps to the next deadline whenever nothing else is to be done."""
    trio.run(main, clock=clock or MockClock(autojump_threshold=0), instruments=instruments)
