"""hypercorn's trio worker with our bounds, and without: so that a test says when it needs none."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast

import hypercorn.protocol
import hypercorn.trio.run
import hypercorn.trio.tcp_server
import pytest
import trio
import trio.testing
from hpack import Encoder
from hypercorn.config import Config
from hypercorn.events import Event as HypercornEvent
from hypercorn.events import RawData
from hypercorn.protocol.h2 import BUFFER_HIGH_WATER as HIGH_WATER
from hypercorn.protocol.h2 import StreamBuffer
from hypercorn.trio.worker_context import EventWrapper, WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import wrap_app  # pyright: ignore[reportUnknownVariableType] - has a bare `dict`
from hyperframe.frame import DataFrame, Frame, HeadersFrame, PingFrame, PriorityFrame
from priority.priority import TooManyStreamsError

from relay_gateway.server import patch, tcp
from relay_gateway.server.http2 import BoundedStreamBuffer, ContainedH2Protocol
from relay_gateway.server.http2_receiver import H2Receiver
from relay_gateway.server.tcp import BoundedTCPServer
from relay_gateway.server.worker import DrainingContext
from tests.support.browsers import SMALL_BUFFER, Http1, Http2, http1, http2

pytestmark = pytest.mark.trio

UPSTREAM_TCP_SERVER = hypercorn.trio.tcp_server.TCPServer
UPSTREAM_H2_PROTOCOL = H2Receiver.__mro__[1]
CHUNK = b"x" * 100_000
EVENT = b"data: x\n\n"
PING = b"mistakes"
#: Requests on one connection after which hypercorn closes it, and the stream of the first.
MAX_REQUESTS, HELD = 3, 1
WRITE_TIMEOUT = 0.3
#: Seconds for what is to come soon, on a machine that is busy.
SOON = 5.0
#: Seconds after which something that waits for good is taken to do so.
FOR_GOOD = 1.0


@pytest.fixture(autouse=True)
def installed() -> None:
    """Have our classes in their places, of which a test may put some back."""
    patch.install(write_timeout=WRITE_TIMEOUT)


@asynccontextmanager
async def served(
    application: Callable[..., Any],
    server_class: type[Any],
    monkeypatch: pytest.MonkeyPatch,
    protocol_class: type[Any] = ContainedH2Protocol,
) -> AsyncGenerator[tuple[str, trio.CancelScope]]:
    """Serve an application with ours or upstream's; give its URL and the server's scope."""
    monkeypatch.setattr(hypercorn.trio.run, "TCPServer", server_class)
    monkeypatch.setattr(hypercorn.protocol, "H2Protocol", protocol_class)
    monkeypatch.setattr(BoundedTCPServer, "write_timeout", WRITE_TIMEOUT)
    if server_class is UPSTREAM_TCP_SERVER:  # which leaves it to trio to close a socket
        monkeypatch.setattr(hypercorn.trio.run, "trio", trio)
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = None
    config.keep_alive_max_requests = MAX_REQUESTS
    async with trio.open_nursery() as nursery:
        serve = cast("Any", hypercorn.trio).serve  # of a type that is known in part
        urls = await nursery.start(serve, application, config)
        yield urls[0], nursery.cancel_scope
        nursery.cancel_scope.cancel()


class Flood:
    """An application that sends without an end, and notes when it was ended."""

    def __init__(self) -> None:
        self.sent = 0
        self.ended = trio.Event()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._cancel_on_disconnect, receive, nursery.cancel_scope)
            try:
                await send({"type": "http.response.start", "status": 200, "headers": []})
                while True:
                    await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
                    self.sent += len(CHUNK)
            finally:
                self.ended.set()

    async def _cancel_on_disconnect(self, receive: Any, scope: trio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        scope.cancel()


async def _live(receive: Any, send: Any) -> None:
    for stage in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{stage}.complete"})


@asynccontextmanager
async def stalled(url: str) -> AsyncGenerator[Http1]:
    """Ask, and read nothing."""
    async with http1(url, buffer_size=SMALL_BUFFER) as browser:
        await browser.send("/")
        yield browser


async def test_a_client_that_reads_nothing_loses_its_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flood = Flood()
    async with served(flood, BoundedTCPServer, monkeypatch) as (url, _), stalled(url) as browser:
        with trio.fail_after(SOON):
            await flood.ended.wait()
            with pytest.raises((trio.BrokenResourceError, EOFError)):
                await _read_all(browser)


async def _read_all(browser: Http1) -> None:
    while await browser.stream.receive_some():
        pass
    raise EOFError


async def test_shutdown_does_not_wait_for_a_client_that_reads_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flood = Flood()
    monkeypatch.setattr(tcp, "_LAST_WRITE_SECONDS", 0.1)
    async with served(flood, BoundedTCPServer, monkeypatch) as (url, scope), stalled(url):
        monkeypatch.setattr(BoundedTCPServer, "write_timeout", 1000.0)
        await _until_it_stands_still(flood)
        scope.cancel()
        with trio.CancelScope(deadline=trio.current_time() + SOON, shield=True) as patience:
            await flood.ended.wait()
        assert not patience.cancelled_caught


async def _until_it_stands_still(flood: Flood) -> None:
    with trio.fail_after(SOON):  # noqa: ASYNC912 - the first turn is certain
        before = -1
        while before != flood.sent:
            before = flood.sent
            await trio.sleep(0.1)  # the kernel's buffers fill: there is nothing to wait for


async def test_upstream_still_holds_up_its_shutdown(monkeypatch: pytest.MonkeyPatch) -> None:
    flood = Flood()
    async with served(flood, UPSTREAM_TCP_SERVER, monkeypatch) as (url, scope), stalled(url):
        await _until_it_stands_still(flood)
        scope.cancel()
        with trio.CancelScope(deadline=trio.current_time() + FOR_GOOD, shield=True) as patience:
            await flood.ended.wait()
        assert patience.cancelled_caught, "hypercorn has mended this: see BoundedTCPServer"


async def test_a_write_that_has_begun_is_finished_by_a_cancelled_task() -> None:
    ours, theirs = (trio.SocketStream(sock) for sock in trio.socket.socketpair())
    data, received = CHUNK * 40, bytearray()
    server = BoundedTCPServer(None, Config(), DrainingContext(None), None, ours)

    async def read() -> None:
        with trio.fail_after(SOON):  # noqa: ASYNC912 - as above
            while len(received) < len(data):
                received.extend(await theirs.receive_some())

    async with ours, theirs, trio.open_nursery() as nursery:
        nursery.start_soon(read)
        with trio.CancelScope() as scope:
            scope.cancel()
            await server.protocol_send(RawData(data))
    assert received == data


async def _is_bounded(buffer: StreamBuffer) -> bool:
    """Push while the client's window is zero, and say whether that stops."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_push_for_good, buffer)
        for _ in range(100):
            await trio.testing.wait_all_tasks_blocked()
            await buffer.pop(0)
        nursery.cancel_scope.cancel()
    return len(buffer.buffer) <= 2 * HIGH_WATER


async def _push_for_good(buffer: StreamBuffer) -> None:
    while True:
        await buffer.push(b"x" * HIGH_WATER)


async def test_what_one_http2_client_does_not_read_is_bounded() -> None:
    assert await _is_bounded(BoundedStreamBuffer(EventWrapper))


async def test_upstream_still_buffers_without_a_bound() -> None:
    upstream = BoundedStreamBuffer.__mro__[1]
    is_bounded = await _is_bounded(upstream(EventWrapper))
    assert not is_bounded, "hypercorn has mended this: see BoundedStreamBuffer"


async def test_a_paused_sender_goes_on_when_the_client_reads() -> None:
    buffer, pushed = BoundedStreamBuffer(EventWrapper), trio.Event()

    async def push() -> None:
        await buffer.push(b"x" * HIGH_WATER)
        pushed.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(push)
        await trio.testing.wait_all_tasks_blocked()
        await buffer.pop(HIGH_WATER // 4)
        await trio.testing.wait_all_tasks_blocked()
        assert not pushed.is_set(), "a little room is not enough"
        await buffer.pop(HIGH_WATER // 2)
        await pushed.wait()
    assert await buffer.pop(HIGH_WATER) == b"x" * (HIGH_WATER // 4)


def _next_version(_distribution: str) -> str:
    return "0.19.0"


async def test_an_unknown_hypercorn_is_refused(  # noqa: ASYNC124 - the module's tests are trio's
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(patch, "version", _next_version)
    with pytest.raises(RuntimeError, match=r"hypercorn 0\.19\.0 is not known"):
        patch.install(write_timeout=30)


async def test_connection_that_a_cancelled_task_finds_broken_ends_whole() -> None:
    """Its applications are told, and so is the task that sends over HTTP/2."""
    async with held() as (server, theirs, answer):
        browser = Http2(theirs)
        await browser.start()
        for _ in range(3):
            await browser.until_events(await browser.send("/held"), 1)
        await _find_broken(server)
    assert answer.disconnected == 3


async def test_reader_that_waits_for_an_application_tells_it_of_a_broken_connection() -> None:
    """It is in the middle of what came before: here, of a request after the one that is held."""
    async with held() as (server, theirs, answer):
        await theirs.send_all(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n" * 2)
        await trio.testing.wait_all_tasks_blocked()
        await _find_broken(server)
    assert answer.disconnected == 1


@asynccontextmanager
async def held() -> AsyncGenerator[tuple[BoundedTCPServer, trio.SocketStream, "Answer"]]:
    """Serve one connection, which has to end soon after the block; give the client's end too."""
    ours, theirs = (trio.SocketStream(sock) for sock in trio.socket.socketpair())
    answer = Answer()
    app = wrap_app(cast("Any", answer), 0, "asgi")
    server = BoundedTCPServer(app, Config(), DrainingContext(None), ConnectionState({}), ours)
    async with ours, theirs, trio.open_nursery() as nursery:
        nursery.start_soon(server.run)
        yield server, theirs, answer
        nursery.cancel_scope.deadline = trio.current_time() + SOON
    assert not nursery.cancel_scope.cancelled_caught


async def _find_broken(server: BoundedTCPServer) -> None:
    cast("trio.SocketStream", server.stream).socket.shutdown(trio.socket.SHUT_WR)
    with trio.CancelScope() as scope:
        scope.cancel()
        await server.protocol_send(RawData(b"x"))


@pytest.mark.parametrize("request_", [b"", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"])
async def test_connection_that_is_idle_ends_when_hypercorn_stops(request_: bytes) -> None:
    """Before its first request, and after one."""
    context = DrainingContext(None)
    app = wrap_app(cast("Any", Answer()), 0, "asgi")
    ours, theirs = (trio.SocketStream(sock) for sock in trio.socket.socketpair())
    server = BoundedTCPServer(app, Config(), context, ConnectionState({}), ours)
    async with ours, theirs, trio.open_nursery() as nursery:
        nursery.start_soon(server.run)
        await theirs.send_all(request_)
        await trio.testing.wait_all_tasks_blocked()
        assert len(context.terminated.idle) == 1
        await context.terminated.set()
        nursery.cancel_scope.deadline = trio.current_time() + SOON
    assert not nursery.cancel_scope.cancelled_caught
    assert not context.terminated.idle


# -- one client's connection is not another's -----------------------------------------------------


class Answer:
    """An application that reads nothing of a request; `/held` it answers when told to."""

    def __init__(self) -> None:
        self.held = trio.Event()
        self.disconnected = 0
        self.until_disconnected = trio.Event()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._answer, scope["path"], send, nursery.cancel_scope)
            if scope["path"] == "/held":
                while (await receive())["type"] != "http.disconnect":
                    pass
                self.disconnected += 1
                self.until_disconnected.set()
                nursery.cancel_scope.cancel()

    async def _answer(self, path: str, send: Any, scope: trio.CancelScope) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": EVENT, "more_body": True})
        if path == "/held":
            await self.held.wait()
        await send({"type": "http.response.body", "body": EVENT})
        scope.cancel()


def _request(**pseudo_headers: bytes) -> Frame:
    headers = [(f":{name}", value) for name, value in pseudo_headers.items()]
    return HeadersFrame(3, Encoder().encode(headers), flags=["END_HEADERS", "END_STREAM"])


#: What ends a whole worker of hypercorn's, and with which error.
FLAWS: dict[str, tuple[list[Frame], type[Exception]]] = {
    "path": (
        [_request(method=b"GET", scheme=b"http", authority=b"gateway", path=b"/\xff")],
        UnicodeDecodeError,
    ),
    "method": (
        [_request(method=b"G\xff", scheme=b"http", authority=b"gateway", path=b"/")],
        UnicodeDecodeError,
    ),
    "no path": ([_request(method=b"CONNECT", authority=b"gateway")], UnboundLocalError),
    "priorities": (
        [PriorityFrame(number, stream_weight=1) for number in range(3, 2101, 2)],
        TooManyStreamsError,
    ),
}
EACH_FLAW = pytest.mark.parametrize(("frames", "error"), FLAWS.values(), ids=FLAWS)


class Failing(ContainedH2Protocol):
    """Has a mistake in it, which a PING brings to light."""

    async def handle(self, event: HypercornEvent) -> None:
        if isinstance(event, RawData) and event.data.endswith(PING):
            raise RuntimeError
        await super().handle(event)


async def test_error_in_one_connection_ends_that_connection_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And the requests that it has in progress are told so."""
    answer = Answer()
    async with (
        served(answer, BoundedTCPServer, monkeypatch, Failing) as (url, _),
        http2(url) as other,
    ):
        with trio.fail_after(SOON):
            async with http2(url) as browser:
                await browser.until_events(await browser.send("/held"), 1)
                await browser.send_frames([PingFrame(0, PING)])
                await answer.until_disconnected.wait()
                await browser.until_closed()
            assert len(await other.until_end(await other.send("/"))) == 2


@EACH_FLAW
async def test_upstream_still_ends_with_one_of_its_connections(
    frames: list[Frame], error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.RaisesGroup(error, flatten_subgroups=True):
        async with (
            served(Answer(), UPSTREAM_TCP_SERVER, monkeypatch, UPSTREAM_H2_PROTOCOL) as (url, _),
            http2(url) as browser,
        ):
            await browser.send_frames(frames)
            await trio.sleep(FOR_GOOD)
    # Otherwise hypercorn has mended this: see BoundedTCPServer._read_contained.


@asynccontextmanager
async def with_a_late_body(url: str) -> AsyncGenerator[Http2]:
    """Hold one stream, and send a body on another one that has been answered without it."""
    async with http2(url) as browser:
        held = await browser.send("/held")
        await browser.until_events(held, 1)
        number = await browser.send("/", is_whole=False)
        await browser.until_end(number)
        # As a frame, because h2 sends none on a stream that has been reset, as it may be by now.
        await browser.send_frames([DataFrame(number, b"x" * 1000, flags=["END_STREAM"])])
        yield browser


async def test_a_body_that_comes_after_its_response_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer = Answer()
    with trio.fail_after(SOON):
        async with (
            served(answer, BoundedTCPServer, monkeypatch) as (url, _),
            with_a_late_body(url) as browser,
        ):
            assert len(await browser.until_end(await browser.send("/"))) == 2
            answer.held.set()
            assert len(await browser.until_end(HELD)) == 2


async def test_upstream_still_ends_with_a_body_that_comes_after_its_response(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.RaisesGroup(KeyError, flatten_subgroups=True):
        async with (
            served(Answer(), UPSTREAM_TCP_SERVER, monkeypatch, UPSTREAM_H2_PROTOCOL) as (url, _),
            with_a_late_body(url),
        ):
            await trio.sleep(FOR_GOOD)
    # Otherwise hypercorn has mended this: see ContainedH2Protocol.


async def _is_held_through_many_requests(answer: Answer, url: str) -> bool:
    """Say whether a stream goes on when its connection has had as many requests as it may."""
    with trio.move_on_after(FOR_GOOD):
        async with http2(url) as browser:
            await browser.until_events(await browser.send("/held"), 1)
            for _ in range(MAX_REQUESTS + 1):
                await browser.until_end(await browser.send("/"))
            answer.held.set()
            return len(await browser.until_end(HELD)) == 2
    return False


async def test_a_stream_goes_on_however_many_requests_its_connection_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer = Answer()
    async with served(answer, BoundedTCPServer, monkeypatch) as (url, _):
        assert await _is_held_through_many_requests(answer, url)


async def test_upstream_still_cuts_streams_off_after_many_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer = Answer()
    async with served(answer, BoundedTCPServer, monkeypatch, UPSTREAM_H2_PROTOCOL) as (url, _):
        is_held = await _is_held_through_many_requests(answer, url)
    assert not is_held, "hypercorn has mended this: see ContainedH2Protocol"


# -- shutdown -------------------------------------------------------------------------------------


class Told:
    """An application that notes in which order its request is cancelled and it is told to stop."""

    def __init__(self) -> None:
        self.begun = trio.Event()
        self.happened: list[str] = []

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
            self.happened.append("told")
            return
        try:
            self.begun.set()
            await trio.sleep_forever()
        finally:
            self.happened.append("cancelled")


async def test_upstream_still_tells_the_application_last() -> None:
    """When there is no request left that it could end in order."""
    application, stop, config = Told(), trio.Event(), Config()
    config.bind, config.errorlog, config.graceful_timeout = ["127.0.0.1:0"], None, 0.1
    async with trio.open_nursery() as nursery:
        serve = cast("Any", hypercorn.trio).serve
        start = partial(serve, application, config, shutdown_trigger=stop.wait)
        (url,) = await nursery.start(start)
        async with http1(url) as browser:
            await browser.send("/")
            await application.begun.wait()
            stop.set()
            await browser.until_closed()
    message = "hypercorn has mended this: see server/worker.py"
    assert application.happened == ["cancelled", "told"], message


async def test_upstream_still_cuts_off_what_is_left_after_max_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same when a worker ends by itself; ours drains then as well."""
    for name, upstream in (
        ("WorkerContext", WorkerContext),
        ("TCPServer", UPSTREAM_TCP_SERVER),
        ("trio", trio),
    ):
        monkeypatch.setattr(hypercorn.trio.run, name, upstream)
    application, config = Told(), Config()
    config.bind, config.errorlog, config.graceful_timeout = ["127.0.0.1:0"], None, 0.1
    config.max_requests = 1
    async with trio.open_nursery() as nursery:
        (url,) = await nursery.start(cast("Any", hypercorn.trio).serve, application, config)
        async with http1(url) as held, http1(url) as last:
            await held.send("/")
            await application.begun.wait()
            await last.send("/")  # reaches the limit
            await held.until_closed()
    message = "hypercorn has mended this: see DrainingContext in server/worker.py"
    assert application.happened == ["cancelled", "cancelled", "told"], message
