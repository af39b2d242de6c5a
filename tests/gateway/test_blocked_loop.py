"""The gateway's event loop is blocked: by a handler, and who it was is told."""

import threading
import time
from typing import Any, cast

import pytest
import trio
from structlog.testing import capture_logs

from tests.support.gateways import gateway_to
from tests.support.models import Model

# On the real clock, because it is real time that is lost.
pytestmark = pytest.mark.trio(run=trio.run)

BLOCKED, ALLOWED = 0.5, 0.1


async def blocked(seconds: float) -> tuple[float, list[object]]:
    """Block in a handler; return what was counted, and who held the loop by the log."""
    with capture_logs() as logs:
        async with gateway_to(Model([]), watchdog_seconds=seconds) as client:

            async def block() -> str:
                time.sleep(BLOCKED)  # noqa: ASYNC251 - it is what this is about
                return ""

            cast("Any", client.application).add_url_rule("/block", view_func=block)
            await trio.sleep(2 * ALLOWED)
            await client.send("/block")
            await trio.sleep(ALLOWED)
            counted = (await client.metrics())["relay_loop_blocked_total"]
    held = [line["held_by"] for line in logs if line["event"] == "the event loop is blocked"]
    return counted, held


async def test_handler_that_blocks_is_counted_and_named() -> None:
    counted, held = await blocked(ALLOWED)
    assert counted == 1
    (stack,) = held
    assert any("test_blocked_loop.py" in str(frame) for frame in cast("list[str]", stack)[:1])


async def test_zero_turns_it_off() -> None:
    assert await blocked(0) == (0, [])


async def test_its_thread_ends_with_the_application() -> None:
    def threads() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "watchdog"]

    async with gateway_to(Model([]), watchdog_seconds=ALLOWED):
        (thread,) = threads()
    thread.join(10)
    assert not threads()
