"""What the matrix and the simulation have found, each by itself; see docs/cancellation."""

import pytest
import trio
from trio.testing import MockClock

from harness.frames import (
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PREFACE,
    RST,
    SETTINGS,
    UPDATE,
    block,
    frame,
)
from harness.scheduling import run_seeded
from tests.cancellation.browsers import Browser, Exchange, Http2
from tests.cancellation.world import World, open_world

KIB = 1024
#: hypercorn's, for a connection without a request.
KEEP_ALIVE = 5.0
WRITE_TIMEOUT = 30.0
_REQUEST = block(
    (":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", "/healthz")
)
_WEBSOCKET = (
    b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
    b"sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)


@pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2"])
def test_connection_that_had_a_request_is_closed_when_it_idles(*, http2: bool) -> None:
    async def main() -> None:
        async with open_world() as world:
            world.models.model.scripts["s"] = lambda: ["a"]
            browser = world.browse(http2=http2)
            await browser.ask("s").until_complete()
            await _assert_closed_when_idle(browser)

    run_seeded(main, seed=0, clock=MockClock(autojump_threshold=0))


def test_http2_connection_is_closed_when_its_streams_were_reset() -> None:
    async def main() -> None:
        async with open_world() as world:
            world.models.model.scripts["s"] = lambda: ["a", trio.Event()]
            browser = world.browse(http2=True)
            assert isinstance(browser, Http2)
            exchange = browser.ask("s")
            await exchange.until(1)
            browser.cancel(exchange)
            await _assert_closed_when_idle(browser)

    run_seeded(main, seed=0, clock=MockClock(autojump_threshold=0))


def test_http2_connection_without_a_request_is_closed() -> None:
    """Its preface looks like a request to HTTP/1.1, which is where a connection begins."""

    async def main() -> None:
        async with open_world() as world:
            await _assert_closed_when_idle(world.browse(http2=True))

    run_seeded(main, seed=0, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize(
    "end",
    [
        frame(RST, 0, 1, bytes(4)),
        frame(RST, 0, 1, bytes(4)) * 50,
        frame(UPDATE, 0, 1, (2**31 - 1).to_bytes(4)),  # which has the gateway reset it
    ],
    ids=["reset", "reset many times", "window"],
)
def test_http2_connection_whose_request_comes_with_its_reset_is_closed(end: bytes) -> None:
    async def main() -> None:
        async with open_world() as world:
            link = world.connect()
            link.near.send_nowait(PREFACE + frame(SETTINGS, 0, 0, b""))
            await trio.testing.wait_all_tasks_blocked()
            link.near.send_nowait(frame(HEADERS, END_HEADERS | END_STREAM, 1, _REQUEST) + end)
            await trio.sleep(KEEP_ALIVE + 1)
            assert link.far.is_closed

    run_seeded(main, seed=0, clock=MockClock(autojump_threshold=0))


async def _assert_closed_when_idle(browser: Browser) -> None:
    await trio.sleep(KEEP_ALIVE - 1)
    assert browser.end is None
    await trio.sleep(2)
    assert browser.end == "closed"


@pytest.mark.parametrize("size", [KIB, 200 * KIB], ids=["at the end", "on the way"])
def test_http2_stream_whose_window_stays_shut_is_reset(size: int) -> None:
    """No write times out here: the socket takes everything, and the window nothing."""

    async def main() -> None:
        async with open_world() as world:
            exchange = await _stall(world, size)
            await trio.sleep(WRITE_TIMEOUT - 1)
            assert world.tasks()["hypercorn.trio.task_group._handle"] == 1
            await trio.sleep(2)
            assert world.tasks()["hypercorn.trio.task_group._handle"] == 0
            world.browsers[0].resume()
            await trio.testing.wait_all_tasks_blocked()
            assert exchange.is_reset

    run_seeded(main, seed=0, clock=MockClock(autojump_threshold=0))


def test_http2_stream_whose_window_stays_shut_holds_up_no_other() -> None:
    async def main() -> None:
        async with open_world() as world:
            stalled = await _stall(world, KIB)
            await trio.sleep(WRITE_TIMEOUT + 1)
            browser = world.browsers[0]
            browser.resume()
            world.models.model.scripts["next"] = list
            following = browser.ask("next")
            await following.until_complete()
            assert [event.type for event in following.events] == ["done"]
            assert stalled.is_reset

    run_seeded(main, seed=0, clock=MockClock(autojump_threshold=0))


async def _stall(world: World, size: int) -> Exchange:
    """Ask for a token of ``size`` bytes; the browser takes a few of them and then no more."""
    world.window = KIB // 2
    world.buffer_size = 1024 * KIB
    world.models.model.scripts["s"] = lambda: ["x" * size]
    browser = world.browse(http2=True)
    exchange = browser.ask("s")
    browser.pause()
    await trio.testing.wait_all_tasks_blocked()
    return exchange


@pytest.mark.parametrize("seed", range(4))
def test_write_that_timed_out_delivers_nothing(seed: int) -> None:
    """The last event's write fails in silence, and is no delivery, whoever runs first then."""

    async def main() -> None:
        async with open_world() as world:
            world.models.model.scripts["s"] = lambda: ["a"]
            world.buffer_size = 16
            browser = world.browse()
            browser.ask("s")
            browser.pause()
            await browser.read_bytewise(b"event: done")
            await trio.sleep(WRITE_TIMEOUT + 1)
            assert world.causes("s") == ["client_disconnect"]

    run_seeded(main, seed=seed, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize(
    ("request_line", "more", "status"),
    [
        (b"GET http://[::1 HTTP/1.1", b"", b"400"),
        (b"GET http://[x]y/z HTTP/1.1", b"", b"400"),
        (b"POST http://[ HTTP/1.1", b"content-length: 0\r\n", b"400"),
        (b"GET /api/ai/stream HTTP/1.1", _WEBSOCKET, b"400"),
        (b"GET /v1/models HTTP/1.1", _WEBSOCKET, b"400"),
        (b"GET /nowhere HTTP/1.1", _WEBSOCKET, b"404"),
    ],
)
def test_odd_request_is_refused_without_a_traceback(
    request_line: bytes, more: bytes, status: bytes
) -> None:
    async def main() -> None:
        async with open_world() as world:
            near = world.connect().near
            near.send_nowait(request_line + b"\r\nhost: x\r\n" + more + b"\r\n")
            with trio.fail_after(1):
                assert (await near.receive_some()).split()[1] == status
            assert world.complaints == []

    run_seeded(main, seed=0, clock=MockClock(autojump_threshold=0))
