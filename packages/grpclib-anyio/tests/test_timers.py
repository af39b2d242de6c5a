"""The timers of a channel's calls: one task for all."""

import anyio
import pytest
import trio
from trio.testing import MockClock

from grpclib_anyio._channel.timers import Timers

MANY = 10_000
pytestmark = pytest.mark.trio


async def test_alarms_ring_in_the_order_of_their_times(autojump_clock: MockClock) -> None:
    """Also one that is set for sooner than the one that is slept for, or for now."""
    timers, start = Timers(), autojump_clock.current_time()
    rung: list[tuple[int, float]] = []

    def ring_at(seconds: int) -> None:
        timers.call_at(start + seconds, lambda: rung.append((seconds, trio.current_time() - start)))

    async with trio.open_nursery() as nursery:
        ring_at(30)
        nursery.start_soon(timers.run)
        await trio.sleep(10)
        for seconds in (40, 20, 10):
            ring_at(seconds)
        await trio.sleep(25)
        ring_at(38)
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert rung == [(seconds, seconds) for seconds in (10, 20, 30, 38, 40)]
    assert not len(timers)


async def test_alarms_that_are_off_ring_no_more_and_are_forgotten(
    autojump_clock: MockClock,
) -> None:
    timers, rung, start = Timers(), anyio.Event(), autojump_clock.current_time()
    late = timers.call_at(start + 5, rung.set)
    off = [timers.call_at(start + 1, rung.set) for _ in range(MANY)]
    for timer in off:
        timer.cancel()
        timer.cancel()
    assert len(timers) == 1
    assert len(timers._heap) < MANY / 100  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - what it holds
    async with trio.open_nursery() as nursery:
        nursery.start_soon(timers.run)
        await trio.sleep(4)
        assert not rung.is_set()
        await trio.sleep(2)
        assert rung.is_set()
        late.cancel()
        assert not len(timers)
        nursery.cancel_scope.cancel()
