"""What clients do to a gateway, each thing once: from reading an answer to what no browser does.

Each takes the gateway's origin, leaves nothing open, and returns how an answer ended that it has
read whole.
"""

import random
import socket
import struct
from collections.abc import Awaitable, Callable

import h11
import trio
from hyperframe.frame import PingFrame, PriorityFrame, WindowUpdateFrame

from tests.support.browsers import SMALL_BUFFER, Http1, http1, http2

__all__ = ["POLITE", "REBUFFED", "RUDE", "Way"]

#: Words of an answer; the demo backend makes one after the other.
_SHORT, _LONG = "+".join(["word"] * 10), "+".join(["word"] * 400)
#: Close with RST and not with FIN.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def _ask(words: str, way: str) -> str:
    return f"/api/ai/stream?prompt={words}&session_id={way}"


async def _read(origin: str) -> str:
    async with http1(origin) as browser:
        events = await browser.ask(_ask(_SHORT, "read"))
        return events[-1].type


async def _read_with_post(origin: str) -> str:
    async with http1(origin) as browser:
        body = b'{"prompt": "some words", "session_id": "post", "format": "json"}'
        events = await browser.ask("/api/ai/stream", method="POST", body=body)
        return events[-1].type


async def _read_one_after_the_other(origin: str) -> str:
    async with http1(origin) as browser:
        for _ in range(2):
            await browser.ask(_ask("x", "kept"))
        return (await browser.ask(_ask("x", "kept")))[-1].type


async def _read_beside_others_over_http2(origin: str) -> str:
    async with http2(origin) as browser:
        numbers = [await browser.send(_ask(_SHORT, "http2")) for _ in range(4)]
        await browser.send_and_cancel(_ask(_LONG, "http2"))
        await browser.until_events(numbers[0], 1)
        return (await browser.until_end(numbers[3]))[-1].type


async def _leave_at_once(origin: str) -> None:
    async with http1(origin) as browser:
        await browser.send(_ask(_LONG, "leave-at-once"))


async def _leave_in_mid_stream(origin: str) -> None:
    async with http1(origin) as browser:
        await _begin(browser, "leave")


async def _reset_the_connection(origin: str) -> None:
    async with http1(origin) as browser:
        await _begin(browser, "reset")
        browser.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)


async def _half_close(origin: str) -> None:
    async with http1(origin) as browser:
        await _begin(browser, "half-close")
        await browser.stream.send_eof()
        await browser.until_closed()


async def _begin(browser: Http1, way: str) -> None:
    await browser.send(_ask(_LONG, way))
    await browser.headers()
    await browser.event()


async def _read_nothing(origin: str) -> None:
    """Some leave before their time for a write is over, and some after it."""
    async with http1(origin, buffer_size=SMALL_BUFFER) as browser:
        await browser.send(_ask(_LONG, "stall"))
        await trio.sleep(random.uniform(0, 2.5))  # noqa: S311 - not a secret


async def _read_nothing_over_http2(origin: str) -> None:
    """And go on talking, so that the gateway has to answer."""
    async with http2(origin) as browser:
        for _ in range(3):
            await browser.send(_ask(_LONG, "stall-http2"))
        for _ in range(10):
            await browser.send_frames([PingFrame(0, b"12345678"), WindowUpdateFrame(0, 1)])
            await trio.sleep(0.1)


async def _reset_streams(origin: str) -> None:
    async with http2(origin) as browser:
        for _ in range(10):
            await browser.send_and_cancel(_ask(_LONG, "rst"))


async def _leave_with_streams_open(origin: str) -> None:
    async with http2(origin) as browser:
        for _ in range(5):
            await browser.until_status(await browser.send(_ask(_LONG, "lost-http2")))


async def _pipeline(origin: str) -> None:
    async with http1(origin) as browser:
        request = f"GET {_ask(_SHORT, 'pipeline')} HTTP/1.1\r\nHost: gateway\r\n\r\n".encode()
        await browser.stream.send_all(request * 5)
        await browser.stream.receive_some()


async def _never_finish_the_headers(origin: str) -> None:
    async with http1(origin) as browser:
        await browser.stream.send_all(b"GET / HTTP/1.1\r\nHost: gate")


async def _never_finish_the_body(origin: str) -> None:
    async with http1(origin) as browser:
        head = b"POST /api/ai/stream HTTP/1.1\r\nHost: gateway\r\nContent-Length: 100\r\n\r\n"
        await browser.stream.send_all(head + b'{"prompt"')
        await trio.sleep(0.1)


async def _send_too_large_a_body(origin: str) -> None:
    async with http1(origin) as browser:
        head = b"POST /api/ai/stream HTTP/1.1\r\nHost: gateway\r\nContent-Length: 9999999\r\n\r\n"
        await browser.stream.send_all(head + b"x" * 9_999_999)


async def _send_frames_that_make_no_sense(origin: str) -> None:
    async with http2(origin) as browser:
        await browser.until_status(await browser.send(_ask(_LONG, "malformed_response")))
        numbers = range(3, 2101, 2)
        await browser.send_frames(PriorityFrame(number, stream_weight=1) for number in numbers)
        await browser.until_closed()


async def _send_no_http(origin: str) -> None:
    async with http1(origin) as browser:
        await browser.stream.send_all(random.randbytes(100) + b"\r\n\r\n")  # noqa: S311 - as above
        await browser.until_closed()


Way = Callable[[str], Awaitable[str | None]]

#: By how often they come. These get their answer, whatever becomes of the others and of the model.
POLITE: dict[Way, int] = {
    _read: 10,
    _read_with_post: 4,
    _read_one_after_the_other: 4,
    _read_beside_others_over_http2: 6,
}
RUDE: dict[Way, int] = {
    _leave_at_once: 4,
    _leave_in_mid_stream: 8,
    _reset_the_connection: 4,
    _half_close: 2,
    _read_nothing: 4,
    _read_nothing_over_http2: 2,
    _reset_streams: 4,
    _leave_with_streams_open: 4,
    _pipeline: 2,
    _never_finish_the_headers: 1,
    _never_finish_the_body: 1,
    _send_too_large_a_body: 1,
    _send_frames_that_make_no_sense: 1,
    _send_no_http: 1,
}
#: What the gateway may do to these: close, reset, refuse.
REBUFFED = (OSError, trio.BrokenResourceError, h11.RemoteProtocolError, AssertionError)
