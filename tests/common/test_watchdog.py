"""The watchdog: an event loop that is blocked is logged, with who holds it, and counted."""

import re
import threading
import time
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio

from harness.clock import on_mock_clock
from relay_common import watchdog
from relay_common.watchdog import Watchdog

# Seconds for which a test's loop is blocked, and may be.
BLOCKED, ALLOWED = 0.2, 0.05

# Seconds; only a test that fails waits as long as this.
PATIENCE = 10.0

BEGUN, OVER = "the event loop is blocked", "the event loop runs again"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "_PAUSE", 0.001)


async def until(condition: Callable[[], object]) -> None:
    """Wait until the thread has done something."""
    with anyio.fail_after(PATIENCE):  # noqa: ASYNC912 - it may hold already
        while not condition():  # noqa: ASYNC110 - a thread does not tell
            await anyio.sleep(0.001)


def events(logs: list[Any]) -> list[str]:
    return [entry["event"] for entry in logs]


def sleep_on_the_job() -> None:
    secret = "a value"  # which a stack must not show
    time.sleep(BLOCKED)
    assert secret


def compute() -> None:
    end = time.monotonic() + BLOCKED
    while time.monotonic() < end:
        pass


@pytest.mark.anyio
@pytest.mark.parametrize("block", [sleep_on_the_job, compute])
async def test_who_blocks_is_logged_and_counted(block: Callable[[], None], logs: list[Any]) -> None:
    counted: list[None] = []
    with Watchdog(ALLOWED, lambda: counted.append(None)):
        await anyio.sleep(2 * ALLOWED)
        assert logs == []
        block()
        await until(lambda: OVER in events(logs))
    assert events(logs) == [BEGUN, OVER]
    assert len(counted) == 1
    begun, over = logs
    holder = rf"tests/common/test_watchdog\.py:\d+ {block.__name__}"
    assert re.fullmatch(holder, begun["held_by"][0])
    assert "test_who_blocks_is_logged_and_counted" in begun["held_by"][1]
    assert "a value" not in str(begun)
    assert len(begun["held_by"]) <= 15
    assert ALLOWED <= over["seconds"] < PATIENCE


@pytest.mark.anyio
async def test_a_deep_stack_is_cut(logs: list[Any]) -> None:
    def descend(levels: int) -> None:
        if levels:
            descend(levels - 1)
        else:
            time.sleep(BLOCKED)

    with Watchdog(ALLOWED):
        await anyio.sleep(ALLOWED)
        descend(100)
        await until(lambda: logs)
    assert len(logs[0]["held_by"]) == 15


@pytest.mark.anyio
async def test_many_are_counted_and_few_are_logged(
    logs: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[None] = []
    with Watchdog(ALLOWED, lambda: counted.append(None)) as dog:
        for number in range(1, 4):
            await anyio.sleep(0.01)
            sleep_on_the_job()
            await until(lambda number=number: len(counted) == number)  # type: ignore[misc]
        assert events(logs).count(BEGUN) == 1
        monkeypatch.setattr(dog, "_next_report", 0.0)
        await anyio.sleep(0.01)
        sleep_on_the_job()
        await until(lambda: events(logs).count(BEGUN) == 2)
    assert logs[-1].get("unreported", logs[-2].get("unreported")) == 2


@pytest.mark.anyio
async def test_zero_watches_nothing(logs: list[Any]) -> None:
    threads = threading.active_count()
    with Watchdog(0):
        assert threading.active_count() == threads
        sleep_on_the_job()
        await anyio.lowlevel.checkpoint()
    assert logs == []


@pytest.mark.anyio
async def test_its_thread_ends_with_it() -> None:
    before = set(threading.enumerate())
    with Watchdog(ALLOWED):
        (thread,) = set(threading.enumerate()) - before
        assert thread.daemon
    thread.join(PATIENCE)
    assert not thread.is_alive()


@pytest.mark.anyio
async def test_its_thread_ends_while_it_is_blocked() -> None:
    before = set(threading.enumerate())
    with Watchdog(ALLOWED):
        (thread,) = set(threading.enumerate()) - before
        await anyio.sleep(ALLOWED)
        sleep_on_the_job()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_its_thread_ends_with_the_loop() -> None:
    async def enter() -> None:
        dog.__enter__()

    for backend in ("trio", "asyncio"):
        dog = Watchdog(ALLOWED)
        before = set(threading.enumerate())
        anyio.run(enter, backend=backend)
        for thread in set(threading.enumerate()) - before:
            if thread.name == "watchdog":
                thread.join(PATIENCE)
                assert not thread.is_alive()


@pytest.mark.trio(run=on_mock_clock)
async def test_it_does_not_disturb_a_mock_clock(logs: list[Any]) -> None:
    with Watchdog(ALLOWED):
        began = trio.current_time()
        with trio.move_on_after(1000):
            await trio.sleep_forever()
        assert trio.current_time() == began + 1000
        assert trio.lowlevel.current_statistics().tasks_living <= 4
    assert logs == []
