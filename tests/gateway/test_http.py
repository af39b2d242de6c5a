"""The gateway as a program on real sockets, in front of a model whose side the tests watch."""

import shutil
import socket
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from functools import partial
from itertools import count, repeat
from typing import Any

import pytest
import trio
from anyio.abc import ByteStream
from grpclib.const import Status
from h2.errors import ErrorCodes
from hyperframe.frame import RstStreamFrame

from grpclib_anyio.server import Server
from grpclib_anyio.testing import FrameRecorder
from harness.programs import Program, run_module
from tests.support.browsers import SMALL_BUFFER, Http1, ask, http1, http2
from tests.support.event_stream import DONE, Event
from tests.support.gateway_program import run_gateway
from tests.support.models import SECRET, Model, fails

pytestmark = pytest.mark.trio

STREAM = "/api/ai/stream"
FOREVER = float("inf")
HEARTBEAT = 0.3
KIB = 1024
WHOLE = [Event("whole"), DONE]

#: Seconds without a step after which a model is taken for held up.
STALL = 0.5
#: Seconds that an ending which is to come at once may take on a machine that is busy.
AT_ONCE = 5.0

_sessions = count()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Give a port that nobody else is given; models listen on it one after the other."""
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


@contextmanager
def run_relay_gateway(target: str, **environment: str) -> Generator[tuple[Program, str]]:
    """Run the gateway as its own program."""
    environment["RELAY_MODEL_TARGET"] = target
    with run_module("relay_gateway", "--port=0", **environment) as program:
        yield program, program.wait_for(r"Running on (http://127\.0\.0\.1:\d+)")[1]


WAYS: list[Callable[..., AbstractContextManager[tuple[Program, str]]]] = [
    run_relay_gateway,
    run_gateway,
]


@pytest.fixture(scope="module", params=WAYS, ids=["relay-gateway", "hypercorn"])
def gateway(request: pytest.FixtureRequest, port: int) -> Iterator[tuple[Program, str]]:
    """Run one gateway for all tests, in each of the two ways."""
    environment = {"RELAY_HEARTBEAT_SECONDS": str(HEARTBEAT)}
    with request.param(f"127.0.0.1:{port}", **environment) as (program, origin):
        yield program, origin
    with pytest.raises(AssertionError, match="no line matches"):
        program.wait_for("Traceback")


@pytest.fixture
def origin(gateway: tuple[Program, str]) -> str:
    return gateway[1]


@pytest.fixture
def program(gateway: tuple[Program, str]) -> Program:
    return gateway[0]


@pytest.fixture
def session() -> str:
    """Give a name by which a test finds its own lines in the log."""
    return f"session-{next(_sessions)}"


@pytest.fixture
def target(session: str) -> str:
    return f"{STREAM}?prompt=hi&session_id={session}"


async def cause_in_log(program: Program, session: str) -> str:
    """Wait for the line about a request that is over."""
    pattern = rf"request ended.*cause='(\w+)' session_id='{session}'"
    return str((await trio.to_thread.run_sync(program.wait_for, pattern))[1])


class WatchedServer(Server):
    """Notes what its connections receive."""

    def __init__(self, model: Model) -> None:
        super().__init__([model])
        self.connections: list[FrameRecorder] = []

    async def serve_connection(self, transport: ByteStream) -> None:
        recorder = FrameRecorder(transport)
        self.connections.append(recorder)
        await super().serve_connection(recorder)

    @property
    def resets(self) -> list[int]:
        """The codes of the RST_STREAM frames that have come."""
        return [
            frame.error_code
            for connection in self.connections
            for frame in connection.received
            if isinstance(frame, RstStreamFrame)
        ]


@asynccontextmanager
async def serving(model: Model, port: int) -> AsyncGenerator[WatchedServer]:
    """Serve a model on TCP."""
    server = WatchedServer(model)
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(server.serve, "127.0.0.1", port))
        with trio.fail_after(30):  # noqa: ASYNC100 - for what the test awaits
            yield server
        nursery.cancel_scope.cancel()


async def assert_model_was_stopped(model: Model, server: WatchedServer, origin: str) -> None:
    """See that one call has been reset and cleaned up, and that its connection serves the next."""
    with trio.fail_after(AT_ONCE):
        await model.until(lambda: len(model.ended) == 1)
    assert model.reached_end == 0
    assert server.resets == [ErrorCodes.CANCEL]
    assert await ask(origin, f"{STREAM}?prompt=next") == WHOLE
    assert len(server.connections) == 1
    assert server.resets == [ErrorCodes.CANCEL]


# -- an answer ------------------------------------------------------------------------------------


async def test_headers_and_tokens_come_as_they_are_made(
    origin: str, program: Program, port: int, session: str, target: str
) -> None:
    """The model goes on only when what it said before has reached the browser."""
    first, second = trio.Event(), trio.Event()
    model = Model([first, "one ", second, "two "])
    async with serving(model, port), http1(origin) as browser:
        await browser.send(target)
        response = await browser.headers()
        assert response.status_code == 200
        headers = dict(response.headers)
        assert headers[b"content-type"] == b"text/event-stream"
        assert headers[b"x-accel-buffering"] == b"no"
        first.set()
        assert await browser.event() == Event("one ")
        second.set()
        assert await browser.events() == [Event("two "), DONE]
    assert await cause_in_log(program, session) == "done"


async def test_prompt_by_post(origin: str, port: int) -> None:
    model = Model(["x"])
    body = '{"prompt": "\u20ac", "session_id": "s"}'.encode()
    async with serving(model, port):
        assert await ask(origin, STREAM, method="POST", body=body) == [Event("x"), DONE]
    assert (model.requests[0].prompt, model.requests[0].session_id) == ("\u20ac", "s")


async def test_connection_is_used_again_after_an_answer(
    origin: str, port: int, target: str
) -> None:
    async with serving(Model(["whole"]), port), http1(origin) as browser:
        for _ in range(3):
            assert await browser.ask(target) == WHOLE


async def test_heartbeat_in_real_time(origin: str, port: int, target: str) -> None:
    """The model thinks for a second, to the middle between the third ping and a fourth."""
    async with serving(Model([3.5 * HEARTBEAT, "x"]), port), http1(origin) as browser:
        assert await browser.ask(target) == [Event("x"), DONE]
    assert browser.parser.comments == [" ping"] * 3


async def test_answer_over_http2(origin: str, port: int, target: str) -> None:
    held = trio.Event()
    async with serving(Model(["one ", held, "two "]), port), http2(origin) as browser:
        number = await browser.send(target)
        assert await browser.until_status(number) == "200"
        assert await browser.until_events(number, 1) == [Event("one ")]
        held.set()
        assert await browser.until_end(number) == [Event("one "), Event("two "), DONE]


@pytest.mark.parametrize("option", ["--http1.1", "--http2-prior-knowledge"])
async def test_answer_in_curl(origin: str, port: int, target: str, option: str) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("no curl")
    async with serving(Model(["one ", "two\nthree"]), port):
        command = [curl, "--silent", "--show-error", "--no-buffer", option, origin + target]
        result = await trio.run_process(command, capture_stdout=True)
    assert result.stdout == (
        b"data: one \n\ndata: two\ndata: three\n\nevent: done\ndata: [DONE]\n\n"
    )


async def test_many_browsers_at_once(origin: str, port: int) -> None:
    """All of them are answered at the same time, on one connection to the model."""
    number = 64
    model = Model([0.2, "one ", 0.2, "two "])
    answers: list[list[Event]] = []

    async def browse() -> None:
        answers.append(await ask(origin, f"{STREAM}?prompt=hi"))

    async with serving(model, port) as server:
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(number):
                nursery.start_soon(browse)
        assert trio.current_time() - start < number * 0.4 / 2
        assert len(server.connections) == 1
    assert answers == [[Event("one "), Event("two "), DONE]] * number


# -- browsers that leave --------------------------------------------------------------------------


async def test_browser_that_leaves_while_the_model_thinks(
    origin: str, program: Program, port: int, session: str, target: str
) -> None:
    model = Model([FOREVER], ["whole"])
    async with serving(model, port) as server:
        async with http1(origin) as browser:
            await browser.send(target)
            await model.until(lambda: bool(model.requests))
        await assert_model_was_stopped(model, server, origin)
    assert await cause_in_log(program, session) == "client_disconnect"


async def test_browser_that_leaves_in_mid_stream(
    origin: str, program: Program, port: int, session: str, target: str
) -> None:
    model = Model(["one ", 0.01, "two ", FOREVER], ["whole"])
    async with serving(model, port) as server:
        async with http1(origin) as browser:
            await browser.send(target)
            await browser.headers()
            assert await browser.event() == Event("one ")
        await assert_model_was_stopped(model, server, origin)
    assert await cause_in_log(program, session) == "client_disconnect"


async def test_browser_that_reads_nothing_and_leaves(
    origin: str, program: Program, port: int, session: str, target: str
) -> None:
    model = Model(lambda: repeat("x" * KIB), ["whole"])
    async with serving(model, port) as server:
        async with http1(origin, buffer_size=SMALL_BUFFER) as browser:
            await browser.send(target)
            await model.until_stalled(STALL)
            assert server.resets == []
        await assert_model_was_stopped(model, server, origin)
    assert await cause_in_log(program, session) == "client_disconnect"


async def test_browser_that_reads_nothing_holds_up_no_other(
    origin: str, port: int, target: str
) -> None:
    model = Model(lambda: repeat("x" * KIB), ["whole"])
    async with serving(model, port) as server:
        async with http1(origin, buffer_size=SMALL_BUFFER) as browser:
            await browser.send(target)
            await model.until_stalled(STALL)
            for _ in range(3):
                assert await ask(origin, f"{STREAM}?prompt=next") == WHOLE
        await model.until(lambda: len(model.ended) == 4)
        assert server.resets == [ErrorCodes.CANCEL]


async def test_half_a_connection_is_none(
    origin: str, program: Program, port: int, session: str, target: str
) -> None:
    """A client that says it sends nothing more is taken for gone.

    hypercorn does not tell the two apart, and no browser half-closes.
    """
    model = Model([FOREVER], ["whole"])
    async with serving(model, port) as server, http1(origin) as browser:
        await browser.send(target)
        await model.until(lambda: bool(model.requests))
        await browser.stream.send_eof()
        await assert_model_was_stopped(model, server, origin)
        await browser.until_closed()
    assert await cause_in_log(program, session) == "client_disconnect"


async def _leave_with_bytes_unread(browser: Http1, target: str) -> None:
    await browser.send(target)
    await browser.headers()
    # hypercorn stops reading here, and does not see the end of the connection behind these.
    await browser.stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n")


async def test_pipelined_request_does_not_hide_a_browser_that_leaves_in_mid_stream(
    origin: str, program: Program, port: int, session: str, target: str
) -> None:
    model = Model(lambda: _endless(), ["whole"])  # noqa: PLW0108 - makes a new one
    async with serving(model, port) as server:
        async with http1(origin) as browser:
            await _leave_with_bytes_unread(browser, target)
            await browser.event()
        await assert_model_was_stopped(model, server, origin)
    assert await cause_in_log(program, session) == "client_disconnect"


def _endless() -> Iterator[str | float]:
    while True:
        yield "x"
        yield 0.01


async def test_pipelined_request_does_not_hide_a_browser_from_the_heartbeat(
    origin: str, program: Program, port: int, session: str, target: str
) -> None:
    """Nothing is written while the model thinks but pings, and they are what finds out."""
    model = Model([FOREVER], ["whole"])
    async with serving(model, port) as server:
        async with http1(origin) as browser:
            await _leave_with_bytes_unread(browser, target)
            await model.until(lambda: bool(model.requests))
        await assert_model_was_stopped(model, server, origin)
    assert await cause_in_log(program, session) == "client_disconnect"


async def test_pipelined_request_is_answered_after_the_stream(
    origin: str, port: int, target: str
) -> None:
    held = trio.Event()
    async with serving(Model([held, "whole"]), port), http1(origin) as browser:
        await _leave_with_bytes_unread(browser, target)
        held.set()
        assert await browser.events() == WHOLE
        assert (await browser.until(b"ok\n")).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("script", "events"), [([FOREVER], 0), (["x", FOREVER], 1)], ids=["thinking", "mid-stream"]
)
async def test_stream_that_is_reset_over_http2(  # noqa: PLR0917 - fixtures
    origin: str,
    program: Program,
    port: int,
    session: str,
    target: str,
    script: list[Any],
    events: int,
) -> None:
    """The connection goes on, and serves the next request."""
    model = Model(script, ["whole"])
    async with serving(model, port) as server, http2(origin) as browser:
        number = await browser.send(target)
        await browser.until_status(number)
        await browser.until_events(number, events)
        await model.until(lambda: bool(model.requests))
        await browser.cancel(number)
        await assert_model_was_stopped(model, server, origin)
        assert await browser.until_end(await browser.send(target)) == WHOLE
    assert await cause_in_log(program, session) == "client_disconnect"


async def test_connection_that_is_lost_over_http2(origin: str, port: int, target: str) -> None:
    """All of its requests end."""
    model = Model([FOREVER])
    async with serving(model, port) as server:
        async with http2(origin) as browser:
            for _ in range(3):
                await browser.until_status(await browser.send(target))
            await model.until(lambda: len(model.requests) == 3)
        with trio.fail_after(AT_ONCE):
            await model.until(lambda: len(model.ended) == 3)
        assert server.resets == [ErrorCodes.CANCEL] * 3


# -- models that fail -----------------------------------------------------------------------------


async def test_model_that_is_not_running(
    origin: str, program: Program, port: int, session: str, target: str
) -> None:
    (event,) = await ask(origin, target)
    assert event == Event(
        "The model cannot be reached right now. Please try again in a moment.", "error"
    )
    assert await cause_in_log(program, session) == "model_unavailable"
    async with serving(Model(["whole"]), port):
        assert await ask(origin, target) == WHOLE


async def test_model_that_is_killed_in_mid_stream(
    origin: str, program: Program, port: int, session: str, target: str
) -> None:
    arguments = (f"--port={port}", "--backend=demo", "--demo-delay=0.01")
    words = "+".join(["word"] * 2000)
    async with http1(origin) as browser:
        with run_module("relay_model", *arguments) as model:
            await trio.to_thread.run_sync(model.wait_for, "serving")
            await browser.send(f"{STREAM}?prompt={words}&session_id={session}")
            await browser.headers()
            assert await browser.event() == Event("Streaming ")
            model.kill()
        *tokens, last = await browser.events()
    assert {token.data for token in tokens} <= {"response ", "to: ", "word "}
    assert last.type == "error"
    assert last.data.startswith("The model cannot be reached right now.")
    assert await cause_in_log(program, session) == "model_unavailable"
    async with serving(Model(["whole"]), port):
        assert await ask(origin, target) == WHOLE


async def test_model_that_answers_with_an_error(
    origin: str, program: Program, port: int, session: str, target: str
) -> None:
    async with serving(Model(["x", fails(Status.INTERNAL)], ["whole"]), port) as server:
        token, error = await ask(origin, target)
        assert await ask(origin, target) == WHOLE
        assert len(server.connections) == 1
    assert token == Event("x")
    assert error == Event("The model failed to answer. Please try again.", "error")
    assert await cause_in_log(program, session) == "model_error"
    line = await trio.to_thread.run_sync(program.wait_for, rf"{session}.*INTERNAL")
    assert SECRET in line.string
