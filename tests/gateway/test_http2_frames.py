"""Each state of a stream and each frame, at the gateway: what RFC 9113 asks for is on the wire.

The cases are the transport's, see ``harness/h2_cases.py``. What is seen is a table of the page
``docs/http2_frames.md``, which is compared cell by cell. This writes it again::

    PYTHONPATH=.:packages/grpclib-anyio/tests python tests/gateway/test_http2_frames.py
"""

import pytest
import trio
import trio.testing

from harness import h2_page
from harness.frames import DATA, END_STREAM, frame
from harness.h2_cases import NEIGHBOUR, Case, Outcome, Requests, outcome, server_cases, table
from relay_gateway.server import patch
from tests.support.raw_http2 import ANSWERS, ECHO, WAITS, get, serving

#: An answer that is over resets what is left of its request, so no stream stays half-closed.
CASES = server_cases(Requests(waits=get(WAITS), answers=get(ANSWERS)))
NAMES = list(dict.fromkeys(case.name for case in CASES))
_PAGE = "gateway"
WRITE_TIMEOUT = 30.0


async def _seen(case: Case, size: int = 1 << 20) -> Outcome:
    """Try a case, in pieces of ``size`` bytes, beside a second stream of the same browser."""
    patch.install(write_timeout=WRITE_TIMEOUT)
    async with serving() as service:
        browser = await service.connect()
        await browser.ask(NEIGHBOUR, ECHO, end=False)
        await browser.write(frame(DATA, 0, NEIGHBOUR, b"one"))
        for step in case.steps:
            await browser.write(step.data, size=size)
        start = len(browser.frames)
        await browser.write(case.data, size=size)
        seen = outcome(browser.frames[start:], case.stream_id)
        if seen.scope == "stream":
            for _ in range(2):  # it is said once, however often the browser does it
                await browser.write(case.data, size=size)
            assert outcome(browser.frames[start:], case.stream_id) == seen
        assert await browser.is_alive() == (seen.scope != "connection")
        if seen.scope != "connection":
            await browser.write(frame(DATA, END_STREAM, NEIGHBOUR, b"two"))
            assert browser.data(NEIGHBOUR) == b"onetwo"
            assert browser.ends(NEIGHBOUR)
        else:
            assert browser.is_closed
    return seen


async def _table() -> str:
    return table({case: await _seen(case) for case in CASES})


@pytest.mark.trio
@pytest.mark.parametrize("name", NAMES)
async def test_frame_is_answered_as_rfc_9113_asks(
    name: str, autojump_clock: trio.testing.MockClock
) -> None:
    del autojump_clock
    for case in [case for case in CASES if case.name == name]:
        seen = await _seen(case)
        assert seen in case.allowed, case.id
        assert await _seen(case, size=1) == seen, case.id


@pytest.mark.trio
async def test_page_says_what_is_seen(autojump_clock: trio.testing.MockClock) -> None:
    del autojump_clock
    assert h2_page.read(_PAGE) == await _table()


if __name__ == "__main__":
    clock = trio.testing.MockClock(autojump_threshold=0)
    h2_page.write(_PAGE, trio.run(_table, clock=clock))
