"""What is wrong with one request over HTTP/2 is that request's trouble, however large it is."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from h2.errors import ErrorCodes

from grpclib_anyio.http2 import MemoryBudget
from harness.clock import on_mock_clock
from harness.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    RST,
    block,
    frame,
)
from relay_gateway.server import patch
from relay_gateway.server.http2_receiver import H2Receiver
from tests.support.raw_http2 import (
    ANSWERS,
    CANCEL,
    ECHO,
    TOKENS,
    WAITS,
    RawBrowser,
    Service,
    get,
    serving,
)

pytestmark = [pytest.mark.trio(run=on_mock_clock), pytest.mark.usefixtures("installed")]

WHOLE = END_HEADERS | END_STREAM
NEIGHBOUR, STREAM, NEXT = 1, 3, 5
#: Bytes of a header block in one frame.
FRAME = 16_384
#: Is in no log.
SECRET = "hunter2"
#: As many headers of the static table as make 64 KiB, and few bytes.
MANY = b"\x90" * 1_850


@pytest.fixture
def installed() -> None:
    """Have our classes in their places."""
    patch.install(write_timeout=30.0)


@asynccontextmanager
async def beside_a_neighbour(**options: Any) -> AsyncGenerator[tuple[Service, RawBrowser]]:
    """Serve a browser with a second stream, which goes on to the end, as another browser's does."""
    async with serving(**options) as service:
        other, browser = await service.connect(), await service.connect()
        await other.ask(NEIGHBOUR, TOKENS)
        await browser.ask(NEIGHBOUR, TOKENS)
        yield service, browser
        await service.say(b"token")
        for each in (other, browser):
            await each.settle()
            assert each.data(NEIGHBOUR) == b"token"
            assert await each.is_alive()


def _in_frames(block_: bytes, *, end: bool = True) -> bytes:
    """Cut a block into HEADERS and CONTINUATION."""
    parts = [block_[start : start + FRAME] for start in range(0, len(block_), FRAME)]
    flags = [0] * (len(parts) - 1) + [END_HEADERS]
    flags[0] |= END_STREAM if end else 0
    kinds = [HEADERS] + [CONTINUATION] * (len(parts) - 1)
    framed = zip(kinds, flags, parts, strict=True)
    return b"".join(frame(kind, flag, STREAM, part) for kind, flag, part in framed)


# -- malformed ------------------------------------------------------------------------------------

MALFORMED: dict[str, bytes] = {
    "white space after a value": get(WAITS, ("key", f"{SECRET} ")),
    "white space before a value": get(WAITS, ("key", f" {SECRET}")),
    "a tab after a value": get(WAITS, ("key", f"{SECRET}\t")),
    "upper case": get(WAITS, ("Key", SECRET)),
    "te": get(WAITS, ("te", SECRET)),
    "connection": get(WAITS, ("connection", SECRET)),
    "a control character": get(WAITS, ("key", f"{SECRET}\n")),
    "a pseudo-header that comes late": get(WAITS) + block((":path", SECRET)),
    "a pseudo-header twice": get(WAITS)[:-1] + b"s" + block((":path", f"/{SECRET}")),
    "no path": block((":method", "GET"), (":scheme", "http"), ("key", SECRET)),
    "an empty path": get("", ("key", SECRET)),
    "a path that is not ASCII": get(f"/\xe9{SECRET}"),
    "a method that is not ASCII": get(WAITS, ("key", SECRET), method="G\xcbT"),
    "two hosts that differ": get(WAITS, ("host", SECRET)),
    "a length that is no number": get(WAITS, ("content-length", SECRET)),
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_malformed_request_ends_its_own_stream(
    name: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    async with beside_a_neighbour() as (service, browser):
        await browser.write(frame(HEADERS, WHOLE, STREAM, MALFORMED[name]))
        assert browser.resets(STREAM) == [ErrorCodes.PROTOCOL_ERROR]
        assert WAITS not in service.application.begun
    assert SECRET not in caplog.text + "".join(capsys.readouterr())


BODIES: dict[str, tuple[bytes, ErrorCodes]] = {
    "longer than its length": (frame(DATA, 0, STREAM, b"123456"), ErrorCodes.PROTOCOL_ERROR),
    "shorter than its length": (
        frame(DATA, END_STREAM, STREAM, b"1234"),
        ErrorCodes.PROTOCOL_ERROR,
    ),
    "an end without it": (frame(DATA, END_STREAM, STREAM), ErrorCodes.PROTOCOL_ERROR),
    "trailers before it": (
        frame(HEADERS, WHOLE, STREAM, block(("a", "b"))),
        ErrorCodes.PROTOCOL_ERROR,
    ),
    "trailers with a pseudo-header": (
        frame(HEADERS, WHOLE, STREAM, block((":path", "/"))),
        ErrorCodes.PROTOCOL_ERROR,
    ),
    "trailers that are too large": (
        frame(HEADERS, WHOLE, STREAM, MANY),
        ErrorCodes.ENHANCE_YOUR_CALM,
    ),
}


@pytest.mark.parametrize("name", BODIES)
async def test_malformed_body_ends_its_own_stream(name: str) -> None:
    data, code = BODIES[name]
    async with beside_a_neighbour() as (service, browser):
        await browser.ask(STREAM, WAITS, ("content-length", "5"), end=False)
        await browser.write(data)
        assert browser.resets(STREAM) == [code]
        assert service.application.disconnected == [WAITS]


async def test_request_without_a_resource_has_no_application() -> None:
    async with beside_a_neighbour() as (service, browser):
        connect = block((":method", "CONNECT"), (":authority", "test"))
        await browser.write(frame(HEADERS, WHOLE, STREAM, connect))
        assert browser.statuses[STREAM] == "501"
        assert service.application.begun == [TOKENS] * 2


# -- too large ------------------------------------------------------------------------------------

TOO_LARGE: dict[str, bytes] = {
    "a question of 7,300 Chinese characters": get(f"/generate?prompt={'%E4%BD%A0' * 7_300}"),
    "a question of 64 KiB of them": get(f"/generate?prompt={'%E4%BD%A0' * 21_845}"),
    "a cookie": get(ANSWERS, ("cookie", "x" * 70_000)),
    "many short headers": get(ANSWERS) + MANY,
    "many headers of one's own": get(ANSWERS, *(("x", str(n)) for n in range(1_990))),
    "a name": get(ANSWERS, ("x" * 70_000, "y")),
}


@pytest.mark.parametrize("name", TOO_LARGE)
@pytest.mark.parametrize("end", [True, False], ids=["whole", "with a body to come"])
async def test_headers_that_are_too_large_are_answered(name: str, *, end: bool) -> None:
    """And the next request on the connection is understood, whose headers may refer to them."""
    async with beside_a_neighbour() as (service, browser):
        await browser.write(_in_frames(TOO_LARGE[name], end=end))
        assert browser.statuses[STREAM] == "431"
        assert browser.ends(STREAM)
        assert browser.resets(STREAM) == ([] if end else [ErrorCodes.NO_ERROR])
        await browser.ask(NEXT, ANSWERS)
        assert browser.ends(NEXT)
        assert service.application.begun == [TOKENS, TOKENS, ANSWERS]


async def test_table_is_as_the_browser_believes_after_headers_that_were_too_large() -> None:
    """They put headers into it, before and after the limit."""
    added = b"".join(b"\x40\x01" + name + b"\x05value" for name in (b"a", b"b"))
    async with beside_a_neighbour() as (service, browser):
        large = get(ANSWERS) + added[:9] + MANY + added[9:]
        await browser.write(_in_frames(large))
        assert browser.statuses[STREAM] == "431"
        await browser.write(frame(HEADERS, WHOLE, NEXT, get(ANSWERS) + b"\xbe\xbf"))
        assert browser.ends(NEXT)
        assert (b"b", b"value") in service.application.headers
        assert (b"a", b"value") in service.application.headers


@pytest.mark.parametrize(
    "block_",
    [get(ANSWERS, ("x", "y" * 300_000)), get(ANSWERS) + MANY * 2],
    ids=["256 KiB in the block", "more headers than any list has"],
)
async def test_headers_that_only_an_attack_has_end_the_connection(block_: bytes) -> None:
    async with serving() as service:
        bystander, rude = await service.connect(), await service.connect()
        await bystander.ask(NEIGHBOUR, TOKENS)
        await rude.ask(NEIGHBOUR, TOKENS)
        await rude.write(_in_frames(block_))
        assert len(rude.goaways()) == 1
        assert rude.is_closed
        await service.say(b"token")
        await bystander.settle()
        assert bystander.data(NEIGHBOUR) == b"token"


# -- memory ---------------------------------------------------------------------------------------

#: Bytes of memory that a connection has for headers although all others have too much.
GUARANTEED = 256 * 1024


async def test_headers_that_all_connections_hold_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    budget = MemoryBudget(2 * GUARANTEED)
    monkeypatch.setattr(H2Receiver, "held_headers", budget)
    large = get(WAITS, ("cookie", "x" * 60_000))
    most = GUARANTEED // 60_000
    async with serving() as service:
        greedy = [await service.connect() for _ in range(4)]
        for browser in greedy:
            for number in range(1, 21, 2):
                data = _in_frames(large).replace(STREAM.to_bytes(4), number.to_bytes(4))
                await browser.write(data)
            resets = [number for number in range(1, 21, 2) if browser.resets(number)]
            assert resets == list(range(2 * most + 1, 21, 2))
            assert browser.resets(resets[0]) == [ErrorCodes.REFUSED_STREAM]
            assert await browser.is_alive()
        assert budget.used <= 4 * GUARANTEED
        small = await service.connect()
        await small.ask(1, ANSWERS)
        assert small.ends(1)
        for browser in greedy:  # one leaves each of its streams, one is lost
            await browser.write(b"".join([frame(RST, 0, n, CANCEL) for n in range(1, 21, 2)]))
        assert budget.used == 0


async def test_headers_are_given_back_however_a_request_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    budget = MemoryBudget(2 * GUARANTEED)
    monkeypatch.setattr(H2Receiver, "held_headers", budget)
    async with serving() as service:
        browser = await service.connect()
        await browser.ask(1, ANSWERS)
        assert is_empty(budget)
        await browser.write(frame(HEADERS, WHOLE, 3, get(WAITS)) + frame(RST, 0, 3, CANCEL))
        assert is_empty(budget)
        await browser.ask(5, WAITS)
        assert not is_empty(budget)
        await service.close()
        await trio.testing.wait_all_tasks_blocked()
        assert is_empty(budget)


def is_empty(budget: MemoryBudget) -> bool:
    return not budget.used


async def test_nothing_is_kept_of_thousands_of_streams_that_were_reset() -> None:
    """Hypercorn kept a buffer of each, and had no room for more than a thousand."""
    async with beside_a_neighbour() as (service, browser):
        for number in range(3, 4_003, 2):
            await browser.ask(number, WAITS)
            await browser.write(frame(RST, 0, number, CANCEL))
        assert len(service.application.disconnected) == 2_000


# -- answers that end early, or fail --------------------------------------------------------------


async def _fails(scope: dict[str, Any], receive: Any, send: Any) -> None:
    del receive
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] != ANSWERS:
        raise ZeroDivisionError
    await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize("end", [True, False], ids=["whole", "with a body to come"])
async def test_answer_that_fails_is_reset(*, end: bool) -> None:
    async with serving(_fails, errorlog=None) as service:
        browser = await service.connect()
        await browser.ask(1, ECHO, end=end)
        assert browser.resets(1) == [ErrorCodes.INTERNAL_ERROR]
        await browser.ask(3, ANSWERS)
        assert browser.ends(3)


async def test_request_that_goes_on_after_its_answer_is_reset() -> None:
    """Otherwise a client has any number of streams: those that are answered are not counted."""
    async with beside_a_neighbour(h2_max_concurrent_streams=2) as (_, browser):
        for number in range(3, 203, 2):
            await browser.ask(number, ANSWERS, end=False)
            assert browser.ends(number)
            assert browser.resets(number) == [ErrorCodes.NO_ERROR]


class CleansUp:
    """An application that is not over when its client has left."""

    def __init__(self) -> None:
        self.begun = 0
        self.may_end = trio.Event()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        del scope, receive, send
        self.begun += 1
        await self.may_end.wait()


async def test_applications_that_clean_up_take_places() -> None:
    """Otherwise a client that resets each request has any number of them."""
    application = CleansUp()
    async with serving(application, h2_max_concurrent_streams=5) as service:
        browser = await service.connect()
        for number in range(1, 41, 2):
            await browser.ask(number, WAITS)
            await browser.write(frame(RST, 0, number, CANCEL))
        assert 8 <= application.begun <= 10
        assert browser.resets(39) == [ErrorCodes.REFUSED_STREAM]
        application.may_end.set()
        await browser.settle()
        await browser.ask(41, WAITS)
        assert browser.has_headers(41)
