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


def jump(seconds: float) -> None:
    """Let so much time pass at once, in a test on a mock clock; a plain call."""
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, MockClock)
    clock.jump(seconds)
