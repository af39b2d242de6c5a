"""What one browser does too often over HTTP/2: it loses its connection, and nobody else a token."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import pytest
import trio
from h2.errors import ErrorCodes

from grpclib_anyio.config import Configuration, Rate
from harness.clock import on_mock_clock
from harness.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PRIORITY,
    RST,
    SETTINGS,
    UPDATE,
    frame,
)
from relay_gateway.server import patch
from relay_gateway.server.http2_state import Http2State
from tests.support.raw_http2 import (
    ANSWERS,
    CANCEL,
    ECHO,
    TOKENS,
    WAITS,
    RawBrowser,
    get,
    serving,
)

pytestmark = [pytest.mark.trio(run=on_mock_clock), pytest.mark.usefixtures("installed")]

RATE = Rate(per_second=1, burst=20)
RATES = Configuration(
    max_resets=RATE, max_pings=RATE, max_settings=RATE, max_empty_frames=RATE,
    max_window_updates=RATE,
)  # fmt: skip
WHOLE = END_HEADERS | END_STREAM
OVERFLOW = struct.pack(">L", 2**31 - 1)
ONE = struct.pack(">L", 1)
#: Streams of a browser: of tokens, of a body that is being sent, of one that was reset, of one that
#: is over. The first that is new is the last.
LISTENS, SENDS, RESET, OVER, NEW = 1, 3, 5, 7, 9
#: What a request pays for, and a frame of ours.
LITTLE_PER_REQUEST, UPDATES_PER_FRAME, LATE_PER_RESET = 4, 10, 4
#: Everything that was spent has leaked out again.
LONG = 100


@pytest.fixture
def installed() -> None:
    """Have our classes in their places."""
    patch.install(write_timeout=30.0)


@pytest.fixture
def small_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have floods begin soon."""
    monkeypatch.setattr(Http2State, "rates", RATES)


@dataclass(frozen=True)
class Flood:
    """Bytes to send again and again, each time with a new stream's number."""

    make: Callable[[int], bytes]
    #: What the client is told in the end.
    detail: str
    #: How many are paid for by what came before them: two tokens, and four requests.
    paid: int = 0


def _request(number: int, path: str = WAITS, *, end: bool = True) -> bytes:
    return frame(HEADERS, WHOLE if end else END_HEADERS, number, get(path))


def _in_a_block(number: int) -> bytes:
    """Begin a header block with one little frame in it, and end it."""
    block = get(ANSWERS)
    first = frame(HEADERS, END_STREAM, number, block[:10])
    return first + frame(CONTINUATION, 0, number) + frame(CONTINUATION, 4, number, block[10:])


FLOODS = {
    "requests that are reset": Flood(
        lambda number: _request(number) + frame(RST, 0, number, CANCEL), "resets"
    ),
    "windows that overflow": Flood(
        lambda number: _request(number) + frame(UPDATE, 0, number, OVERFLOW), "resets"
    ),
    "windows that are opened by nothing": Flood(
        lambda number: _request(number) + frame(UPDATE, 0, number, bytes(4)), "resets"
    ),
    "DATA after the end": Flood(
        lambda number: _request(number) + frame(DATA, 0, number, b"x" * 100), "resets"
    ),
    "malformed requests": Flood(
        lambda number: frame(HEADERS, WHOLE, number, get(WAITS, ("te", "gzip"))), "resets"
    ),
    "paths that are not ASCII": Flood(
        lambda number: frame(HEADERS, WHOLE, number, get("/\xe9")), "resets"
    ),
    "headers that are too large": Flood(
        lambda number: frame(HEADERS, WHOLE, number, get(WAITS) + b"\x90" * 1_200), "resets"
    ),
    "CONNECT": Flood(
        lambda number: frame(HEADERS, WHOLE, number, get("x", method="CONNECT")), "resets"
    ),
    "resets of a stream that is over": Flood(lambda _: frame(RST, 0, OVER, CANCEL), "resets"),
    "PING": Flood(lambda _: frame(PING, 0, 0, bytes(8)), "pings"),
    "answers to no PING": Flood(lambda _: frame(PING, 1, 0, bytes(8)), "pings"),
    "SETTINGS": Flood(lambda _: frame(SETTINGS, 0, 0), "settings"),
    "SETTINGS that change the windows": Flood(
        lambda number: frame(SETTINGS, 0, 0, struct.pack(">HL", 4, 65_535 + number)), "settings"
    ),
    "PRIORITY": Flood(lambda _: frame(PRIORITY, 0, LISTENS, bytes(5)), "empty_frames"),
    "PRIORITY of streams to come": Flood(
        lambda number: frame(PRIORITY, 0, number + 1_000, bytes(5)), "empty_frames"
    ),
    "empty DATA": Flood(lambda _: frame(DATA, 0, SENDS), "empty_frames", 4 * LITTLE_PER_REQUEST),
    "DATA of one byte": Flood(
        lambda _: frame(DATA, 0, SENDS, b"x"), "empty_frames", 4 * LITTLE_PER_REQUEST
    ),
    "DATA that is all padding": Flood(
        lambda _: frame(DATA, 8, SENDS, b"\x63" + bytes(99)), "empty_frames", 4 * LITTLE_PER_REQUEST
    ),
    "DATA of one byte after our reset": Flood(
        lambda _: frame(DATA, 0, RESET, b"x"), "empty_frames"
    ),
    "empty CONTINUATION": Flood(_in_a_block, "empty_frames"),
    "unknown frames": Flood(lambda _: frame(0xBB, 0, 0, b"x" * 100), "empty_frames"),
    "ALTSVC": Flood(lambda _: frame(10, 0, LISTENS, b"x" * 100), "empty_frames"),
    "GOAWAY": Flood(lambda _: frame(GOAWAY, 0, 0, bytes(8)), "empty_frames"),
    "windows opened by one": Flood(
        lambda _: frame(UPDATE, 0, LISTENS, ONE), "window_updates", 2 * UPDATES_PER_FRAME
    ),
    "the connection's window opened by one": Flood(
        lambda _: frame(UPDATE, 0, 0, ONE), "window_updates", 2 * UPDATES_PER_FRAME
    ),
    "the window of a stream that is over": Flood(
        lambda _: frame(UPDATE, 0, OVER, ONE), "window_updates", 2 * UPDATES_PER_FRAME
    ),
}


async def _begin(browser: RawBrowser) -> None:
    """Have a stream of each kind."""
    await browser.ask(LISTENS, TOKENS)
    await browser.ask(SENDS, WAITS, end=False)
    await browser.write(_request(RESET) + frame(UPDATE, 0, RESET, OVERFLOW))
    assert browser.resets(RESET) == [ErrorCodes.FLOW_CONTROL_ERROR]
    await browser.ask(OVER, ANSWERS)
    await browser.write(frame(RST, 0, OVER, CANCEL))


@pytest.mark.usefixtures("small_rates")
@pytest.mark.parametrize("name", FLOODS)
async def test_flood_ends_its_connection_and_nobody_elses(name: str) -> None:
    flood = FLOODS[name]
    async with serving() as service:
        bystander, rude = await service.connect(), await service.connect()
        await bystander.ask(LISTENS, TOKENS)
        await _begin(rude)
        await trio.sleep(LONG)
        await service.say(b"one ")
        await service.say(b"two ")
        numbers = iter(range(NEW, 10_000, 2))
        for _ in range(flood.paid + RATE.burst):  # as many as an honest client may send at once
            await rude.write(flood.make(next(numbers)))
        assert rude.goaways() == []
        await trio.sleep(1)
        await rude.write(flood.make(next(numbers)))  # one has leaked out again
        assert rude.goaways() == []
        assert rude.data(LISTENS) == b"one two "
        for _ in range(2):  # each empty frame is one too many of them, and ends its block later
            await rude.write(flood.make(next(numbers)))
        assert rude.goaways() == [
            (ErrorCodes.ENHANCE_YOUR_CALM, f"too_many_{flood.detail}".encode())
        ]
        assert rude.is_closed
        assert TOKENS in service.application.disconnected
        await service.say(b"three ")
        await bystander.settle()
        assert bystander.data(LISTENS) == b"one two three "


@pytest.mark.usefixtures("small_rates")
async def test_more_streams_than_there_may_be_are_refused_and_counted() -> None:
    async with serving(h2_max_concurrent_streams=2) as service:
        browser = await service.connect()
        await browser.ask(1, TOKENS)
        await browser.ask(3, WAITS)
        for number in range(5, 5 + 2 * RATE.burst, 2):
            await browser.ask(number, WAITS)
            assert browser.resets(number) == [ErrorCodes.REFUSED_STREAM]
        await service.say(b"token")
        await browser.settle()
        assert browser.data(1) == b"token"
        await browser.ask(9_999, WAITS)
        assert browser.goaways() == [(ErrorCodes.ENHANCE_YOUR_CALM, b"too_many_resets")]
        assert service.application.begun == [TOKENS, WAITS]


# -- what is no flood -----------------------------------------------------------------------------


async def test_request_that_is_reset_in_the_same_read_is_not_run() -> None:
    async with serving() as service:
        browser = await service.connect()
        resets = [_request(n) + frame(RST, 0, n, CANCEL) for n in range(1, 1_801, 2)]
        await browser.write(b"".join(resets) + _request(1_801, ANSWERS))
        assert service.application.begun == [ANSWERS]
        assert browser.ends(1_801)
        assert browser.resets(1) == []


async def test_body_of_a_request_that_is_reset_in_the_same_read_goes_nowhere() -> None:
    """And its bytes are given back to the connection's window, of which others live."""
    async with serving() as service:
        browser = await service.connect()
        for number in range(1, 21, 2):
            body = frame(DATA, 0, number, b"x" * 10_000)
            request = frame(HEADERS, END_HEADERS, number, get(ECHO))
            await browser.write(request + body + frame(RST, 0, number, CANCEL))
        await browser.ask(101, ECHO, end=False)
        for _ in range(10):
            await browser.write(frame(DATA, 0, 101, b"y" * 10_000))
        assert service.application.begun == [ECHO]
        assert await browser.is_alive()


async def test_browsers_that_leave_together_are_no_flood() -> None:
    """Six thousand of them, behind one proxy: their requests had begun."""
    async with serving(h2_max_concurrent_streams=1_000) as service:
        proxy = await service.connect()
        await proxy.ask(1, TOKENS)
        for start in range(3, 12_003, 1_000):
            numbers = range(start, start + 1_000, 2)
            await proxy.write(b"".join([_request(n) for n in numbers]))
            await proxy.write(b"".join([frame(RST, 0, n, CANCEL) for n in numbers]))
        assert len(service.application.begun) == 6_001
        assert len(service.application.disconnected) == 6_000
        await service.say(b"token")
        await proxy.settle()
        assert proxy.data(1) == b"token"


async def test_what_an_old_browser_says_at_first_is_no_flood() -> None:
    """Firefox made a tree of priorities; Chromium and curl open windows of many megabytes."""
    async with serving() as service:
        browser = await service.connect()
        await browser.write(
            frame(SETTINGS, 0, 0, struct.pack(">HLHLHL", 1, 65_536, 4, 6_291_456, 6, 262_144))
            + frame(UPDATE, 0, 0, struct.pack(">L", 15_663_105))
            + b"".join(frame(PRIORITY, 0, n, struct.pack(">LB", 0, 200)) for n in range(3, 13, 2))
        )
        await browser.write(frame(HEADERS, WHOLE | 0x20, 13, bytes(4) + b"\x29" + get(ANSWERS)))
        assert browser.ends(13)


async def test_short_bodies_in_short_pieces_are_no_flood() -> None:
    """Each request has a few bytes, and its end comes alone, as proxies send them."""
    async with serving() as service:
        browser = await service.connect()
        for number in range(1, 4_001, 2):
            await browser.write(
                frame(HEADERS, END_HEADERS, number, get(ECHO, method="POST"))
                + frame(DATA, 0, number, b"ab")
                + frame(DATA, 0, number, b"c")
                + frame(DATA, END_STREAM, number)
            )
            assert browser.data(number) == b"abc"
        assert browser.goaways() == []


@pytest.mark.usefixtures("small_rates")
async def test_two_window_updates_for_each_token_are_no_flood() -> None:
    """Some clients give back what they have read at once, of the stream and of the connection."""
    async with serving() as service:
        browser = await service.connect()
        await browser.ask(1, TOKENS)
        for _ in range(10 * RATE.burst):
            await service.say(b"token")
            size = struct.pack(">L", len(b"token"))
            await browser.write(frame(UPDATE, 0, 1, size) + frame(UPDATE, 0, 0, size))
        assert browser.data(1) == b"token" * (10 * RATE.burst)


async def test_window_that_is_opened_byte_by_byte_is_a_flood() -> None:
    """Each byte of ours would pay for ten of theirs if it counted as a frame."""
    async with serving() as service:
        browser = await service.connect()
        await browser.write(frame(SETTINGS, 0, 0, struct.pack(">HL", 4, 0)))
        await browser.ask(1, TOKENS)
        await service.say(b"x" * 20_000)
        for _ in range(3_000):
            await browser.write(frame(UPDATE, 0, 1, ONE))
            if browser.is_closed:
                break
        assert browser.goaways() == [(ErrorCodes.ENHANCE_YOUR_CALM, b"too_many_window_updates")]
        assert len(browser.data(1)) <= 2_050


@pytest.mark.usefixtures("small_rates")
async def test_what_crosses_a_reset_of_ours_is_no_flood() -> None:
    """The answer was over before the request, so its end may be on its way."""
    async with serving() as service:
        browser = await service.connect()
        for number in range(1, 20 * RATE.burst, 2):
            await browser.ask(number, ANSWERS, end=False)
            assert browser.resets(number) == [ErrorCodes.NO_ERROR]
            body = frame(DATA, 0, number, b"x" * 100) + frame(DATA, END_STREAM, number)
            await browser.write(body + frame(RST, 0, number, CANCEL))
        assert browser.goaways() == []


# -- the event loop's turns -----------------------------------------------------------------------


async def _turns(turns: list[int], count: Callable[[], int]) -> None:
    while True:
        turns.append(count())
        await trio.lowlevel.checkpoint()


async def _turns_taken(data: bytes) -> list[int]:
    """Return how many applications had begun at each turn of another task, as bytes came."""
    turns: list[int] = []
    async with serving() as service:
        browser = await service.connect()
        async with trio.open_nursery() as nursery:
            begun = service.application.begun
            nursery.start_soon(_turns, turns, lambda: len(begun))
            await browser.send(data)
            await browser.settle_while_others_run()
            for _ in range(LONG):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    return turns


ANY = Rate(per_second=0, burst=100_000)
GENEROUS = Configuration(max_resets=ANY, max_pings=ANY, max_window_updates=ANY)
#: Bytes of one read.
READ = 60_000
#: Frames in a turn of a few milliseconds at most: one of these takes 15 to 50 µs.
FRAMES_PER_TURN = 120
UNTIMELY: dict[str, Callable[[int], bytes]] = {
    "PING": lambda _: frame(PING, 0, 0, bytes(8)),
    "requests that are reset": lambda number: _request(number) + frame(RST, 0, number, CANCEL),
    "windows": lambda _: frame(UPDATE, 0, 0, ONE),
    "malformed requests": lambda number: frame(HEADERS, WHOLE, number, b"\x83"),
}


@pytest.mark.parametrize("name", UNTIMELY)
async def test_others_have_their_turn_while_a_flood_is_handled(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Http2State, "rates", GENEROUS)
    make = UNTIMELY[name]
    count = READ // len(make(1))
    idle = await _turns_taken(frame(PING, 0, 0, bytes(8)))
    turns = await _turns_taken(b"".join([make(number) for number in range(1, 2 * count, 2)]))
    assert len(turns) - len(idle) >= count // FRAMES_PER_TURN - 1


async def test_few_applications_start_in_a_turn() -> None:
    numbers = range(1, 161, 2)
    turns = await _turns_taken(b"".join([_request(number) for number in numbers]))
    assert turns[-1] == len(numbers)
    assert max(after - before for before, after in pairwise(turns)) <= 8  # of two turns
