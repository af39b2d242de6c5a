"""The application as a server calls it: routes, headers, and what is recorded of each request."""

import json
import logging
import re
from http import HTTPStatus
from typing import Any

import pytest
import trio
from grpclib.const import Status
from h2.errors import ErrorCodes
from hyperframe.frame import GoAwayFrame
from trio.testing import wait_all_tasks_blocked

from harness.clock import on_mock_clock
from relay_gateway.relay.outcome import Cause
from relay_gateway.web import routes
from tests.support.asgi import Client, Exchange
from tests.support.event_stream import comments, texts
from tests.support.gateways import ASK, STREAM, gateway_to
from tests.support.models import SECRET, Model, Wire, fails

pytestmark = pytest.mark.trio(run=on_mock_clock)

#: For what reads files, in threads: the mock clock would jump meanwhile.
ON_REAL_CLOCK = pytest.mark.trio(run=trio.run)

FOREVER = float("inf")
STREAM_HEADERS = [
    ("content-type", "text/event-stream"),
    ("cache-control", "no-cache, no-transform"),
    ("x-accel-buffering", "no"),
]
CORS_HEADERS = [
    ("access-control-allow-origin", "*"),
    ("access-control-expose-headers", "Retry-After, x-should-retry"),
]


def ended(logs: list[Any]) -> dict[str, Any]:
    """Give the one line about a request that is over."""
    (entry,) = [entry for entry in logs if entry["event"] == "request ended"]
    return dict(entry)


async def assert_recorded(client: Client, logs: list[Any], cause: Cause) -> None:
    """See that one request is over, for this cause and no other."""
    await wait_all_tasks_blocked()
    assert ended(logs)["cause"] == cause.value
    metrics = await client.metrics()
    counts = {name: metrics[f'relay_requests_total{{cause="{name}"}}'] for name in Cause}
    assert counts == {name: float(name is cause) for name in Cause}
    assert metrics["relay_requests_in_progress"] == 0
    assert metrics["relay_request_duration_seconds_count"] == 1


# -- responses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_", [{}, {"method": "POST", "body": b'{"prompt": "hi"}'}], ids=["GET", "POST"]
)
async def test_stream(request_: dict[str, Any]) -> None:
    async with gateway_to(Model(["one ", "two "])) as client:
        exchange = await client.send(ASK, **request_)
    assert exchange.status == HTTPStatus.OK
    assert exchange.headers == [*STREAM_HEADERS, *CORS_HEADERS]
    assert texts(exchange.body) == ["one ", "two "]


async def test_headers_leave_before_the_first_token() -> None:
    async with gateway_to(Model([FOREVER])) as client:
        exchange = client.start(ASK)
        await wait_all_tasks_blocked()
        assert (exchange.status, exchange.chunks) == (HTTPStatus.OK, [])
        exchange.leave()


async def test_tokens_leave_as_they_come_with_pings_between_them() -> None:
    async with gateway_to(Model([1.0, "x", 0.25, "y"]), heartbeat_seconds=0.75) as client:
        start = trio.current_time()
        exchange = await client.send(ASK)
    assert [time - start for time, _ in exchange.chunks] == [0.75, 1.0, 1.25]
    assert comments(exchange.body) == [" ping"]
    assert texts(exchange.body) == ["x", "y"]


async def test_answer_may_take_longer_than_a_minute(logs: list[Any]) -> None:
    """Quart would cut it after 60 seconds, without a word."""
    async with gateway_to(Model(["x", 100.0, "y"])) as client:
        start = trio.current_time()
        exchange = await client.send(ASK)
        assert trio.current_time() - start == 100
        await assert_recorded(client, logs, Cause.DONE)
    assert texts(exchange.body) == ["x", "y"]


async def test_body_of_a_request_may_take_longer_than_its_answer() -> None:
    """The client of a POST goes on sending, which changes nothing."""
    async with gateway_to(Model(["x"])) as client:
        exchange = await client.send(
            ASK, method="POST", body=[b'{"prompt": "hi"}', b" ", b" "], is_whole=True
        )
    assert texts(exchange.body) == ["x"]


async def test_a_trace_is_passed_on_to_the_model() -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    model = Model(["x"])
    async with gateway_to(model) as client:
        later = trace.replace("00-", "01-", 1)  # a later version may have more
        for value in (trace, "malformed_response", f"{later}-more", f"{later}-\xe9", f"{later}-\t"):
            client.start(ASK, headers=[("traceparent", value)])
            await wait_all_tasks_blocked()
        client.start(ASK)
        await wait_all_tasks_blocked()
    assert model.traceparents == [trace, None, f"{later}-more", None, None, None]


async def test_head_does_not_ask_the_model() -> None:
    model = Model(["x"])
    async with gateway_to(model) as client:
        exchange = await client.send(ASK, method="HEAD")
        refused = await client.send(STREAM, method="HEAD")
    assert exchange.status == HTTPStatus.OK
    assert set(STREAM_HEADERS) <= set(exchange.headers)
    assert exchange.body == b""
    assert refused.status == HTTPStatus.BAD_REQUEST
    assert model.requests == []


@ON_REAL_CLOCK
async def test_other_origins_may_read_the_api_alone() -> None:
    async with gateway_to(Model([])) as client:
        for target, is_api in ((ASK, True), (STREAM, True), ("/metrics", False), ("/", False)):
            names = dict((await client.send(target)).headers)
            assert ("access-control-allow-origin" in names) == is_api


@ON_REAL_CLOCK
async def test_page_with_what_it_needs() -> None:
    async with gateway_to(Model([])) as client:
        page = await client.send("/")
        assert page.status == HTTPStatus.OK
        headers = dict(page.headers)
        assert headers["content-type"] == "text/html; charset=utf-8"
        assert headers["content-security-policy"].startswith("default-src 'self'")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        references = re.findall(r'(?:src|href)="(/?static/[^"]+)"', page.body.decode())
        assert len(references) >= 3
        for reference in references:
            found = await client.send(f"/{reference.removeprefix('/')}")
            assert (found.status, bool(found.body)) == (HTTPStatus.OK, True)


async def test_health() -> None:
    async with gateway_to(Model([])) as client:
        exchange = await client.send("/healthz")
    assert (exchange.status, exchange.body) == (HTTPStatus.OK, b"ok\n")


@ON_REAL_CLOCK
@pytest.mark.parametrize("target", ["/nothing", "/static/../app.py", "/static/"])
async def test_what_is_not_there_is_said_in_plain_text(target: str) -> None:
    async with gateway_to(Model([])) as client:
        exchange = await client.send(target)
    assert exchange.status == HTTPStatus.NOT_FOUND
    assert dict(exchange.headers)["content-type"] == "text/plain; charset=utf-8"
    assert exchange.body.count(b"\n") == 1
    assert b"<" not in exchange.body


async def test_other_methods_are_refused_with_those_that_are_not() -> None:
    model = Model(["x"])
    async with gateway_to(model) as client:
        exchange = await client.send(ASK, method="PUT")
    assert exchange.status == HTTPStatus.METHOD_NOT_ALLOWED
    headers = dict(exchange.headers)
    assert headers["content-type"] == "application/problem+json"
    assert set(headers["allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}
    assert model.requests == []


async def test_bug_of_ours_shows_nothing_of_itself(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> None:
        await trio.lowlevel.checkpoint()
        raise ZeroDivisionError(SECRET)

    monkeypatch.setattr(routes, "read_question", broken)
    async with gateway_to(Model(["x"])) as client:
        exchange = await client.send(ASK)
    assert exchange.status == HTTPStatus.INTERNAL_SERVER_ERROR
    assert dict(exchange.headers)["content-type"] == "application/problem+json"
    assert SECRET not in exchange.body.decode()
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ZeroDivisionError)


# -- what is recorded -----------------------------------------------------------------------------


async def test_done_is_recorded(logs: list[Any]) -> None:
    async with gateway_to(Model([0.25, "x", 0.5, "y"])) as client:
        await client.send(ASK)
        await assert_recorded(client, logs, Cause.DONE)
        metrics = await client.metrics()
    assert ended(logs) == {
        "event": "request ended",
        "log_level": "info",
        "cause": "done",
        "session_id": "s",
        "seconds": 0.75,
        "tokens": 2,
        "first_token_seconds": 0.25,
    }
    assert metrics["relay_tokens_total"] == 2
    assert metrics["relay_time_to_first_token_seconds_sum"] == 0.25
    assert metrics["relay_request_duration_seconds_sum"] == 0.75


async def test_model_error_is_recorded_with_what_the_browser_is_not_told(logs: list[Any]) -> None:
    async with gateway_to(Model(["x", fails(Status.INTERNAL)])) as client:
        exchange = await client.send(f"{ASK}&format=json")
        await assert_recorded(client, logs, Cause.MODEL_ERROR)
    entry = ended(logs)
    assert (entry["status"], entry["detail"]) == ("INTERNAL", SECRET)
    assert SECRET not in exchange.body.decode()
    *_, last = exchange.events
    assert json.loads(last.data)["cause"] == "model_error"


async def test_lost_model_is_recorded(logs: list[Any]) -> None:
    async with gateway_to(Model(["x", fails(Status.UNAVAILABLE)])) as client:
        await client.send(ASK)
        await assert_recorded(client, logs, Cause.MODEL_UNAVAILABLE)


async def test_deadline_is_recorded(logs: list[Any]) -> None:
    async with gateway_to(Model(["x", FOREVER]), deadline_seconds=2) as client:
        start = trio.current_time()
        exchange = await client.send(ASK)
        assert trio.current_time() - start == 2
        await assert_recorded(client, logs, Cause.DEADLINE)
    assert [event.type for event in exchange.events] == ["message", "error"]


async def test_deadline_is_recorded_for_a_browser_that_reads_nothing(logs: list[Any]) -> None:
    """It leaves long after, when the model has been free since the deadline."""
    model, wire = Model(["x" * 1024] * 1000), Wire()
    async with gateway_to(model, wire, deadline_seconds=2) as client:
        start = trio.current_time()
        exchange = client.start(ASK, takes=1)
        await trio.sleep(60)
        assert wire.resets == [(start + 2, ErrorCodes.CANCEL)]
        assert model.ended == [start + 2]
        exchange.leave()
        await assert_recorded(client, logs, Cause.DEADLINE)


@pytest.mark.parametrize(
    ("script", "tokens"), [([FOREVER], 0), (["x", FOREVER], 1)], ids=["thinking", "mid-stream"]
)
async def test_browser_that_leaves_is_recorded(
    logs: list[Any], script: list[Any], tokens: int
) -> None:
    model, wire = Model(script, ["and on"]), Wire()
    async with gateway_to(model, wire) as client:
        exchange = client.start(ASK)
        await wait_all_tasks_blocked()
        assert (await client.metrics())["relay_requests_in_progress"] == 1
        exchange.leave()
        left = trio.current_time()
        await assert_recorded(client, logs, Cause.CLIENT_DISCONNECT)
        assert ended(logs)["tokens"] == tokens
        assert wire.resets == [(left, ErrorCodes.CANCEL)]
        assert model.ended == [left]
        assert texts((await client.send(ASK)).body) == ["and on"]
    assert not exchange.is_complete
    assert len(wire.connections) == 1


async def test_browser_that_reads_nothing_and_leaves(logs: list[Any]) -> None:
    model, wire = Model(["x" * 1024] * 1000), Wire()
    async with gateway_to(model, wire) as client:
        exchange = client.start(ASK, takes=1)
        await wait_all_tasks_blocked()
        assert model.ended == []
        exchange.leave()
        await assert_recorded(client, logs, Cause.CLIENT_DISCONNECT)
    assert [code for _, code in wire.resets] == [ErrorCodes.CANCEL]
    assert len(model.ended) == 1


async def test_browser_that_leaves_before_the_headers_does_not_reach_the_model(
    logs: list[Any],
) -> None:
    model = Model(["x"])
    async with gateway_to(model) as client:
        exchange = client.start(ASK, takes=0)
        await wait_all_tasks_blocked()
        exchange.leave()
        await assert_recorded(client, logs, Cause.CLIENT_DISCONNECT)
    assert ended(logs)["tokens"] == 0
    assert model.requests == []


async def test_browser_that_leaves_before_it_has_asked_is_no_request(logs: list[Any]) -> None:
    async with gateway_to(Model(["x"])) as client:
        exchange = client.start(STREAM, method="POST", body=b'{"prompt"', is_whole=False)
        await wait_all_tasks_blocked()
        exchange.leave()
        await wait_all_tasks_blocked()
        assert (await client.metrics())["relay_request_duration_seconds_count"] == 0
    assert logs == []


async def test_server_that_stops_is_recorded(logs: list[Any]) -> None:
    """It cancels the application's call for each request."""
    model, wire = Model(["x", FOREVER]), Wire()
    async with gateway_to(model, wire) as client:
        exchange = Exchange(ASK)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.run, exchange)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        await assert_recorded(client, logs, Cause.SHUTDOWN)
    assert [code for _, code in wire.resets] == [ErrorCodes.CANCEL]
    assert len(model.ended) == 1


async def test_refused_requests_are_not_counted(logs: list[Any]) -> None:
    async with gateway_to(Model(["x"])) as client:
        await client.send(STREAM)
        await client.send(ASK, method="HEAD")
        metrics = await client.metrics()
    assert metrics["relay_request_duration_seconds_count"] == 0
    assert metrics["relay_requests_in_progress"] == 0
    assert logs == []


async def test_long_session_id_is_logged_in_part(logs: list[Any]) -> None:
    model = Model(["x"])
    async with gateway_to(model) as client:
        await client.send(f"{STREAM}?prompt=hi&session_id={'s' * 1000}")
    assert ended(logs)["session_id"] == "s" * 64
    assert model.requests[0].session_id == "s" * 1000


async def test_metrics_are_there_before_the_first_request() -> None:
    async with gateway_to(Model([])) as client:
        exchange = await client.send("/metrics")
        metrics = await client.metrics()
    assert dict(exchange.headers)["content-type"].startswith("text/plain; version=")
    for cause in Cause:
        assert metrics[f'relay_requests_total{{cause="{cause}"}}'] == 0
    assert metrics["relay_requests_in_progress"] == 0
    assert metrics["relay_tokens_total"] == 0
    assert metrics["relay_model_calls"] == 0
    assert metrics["relay_tasks"] > 0


# -- the channel ----------------------------------------------------------------------------------


async def test_all_requests_share_one_connection() -> None:
    model, wire = Model(["x"]), Wire()
    async with gateway_to(model, wire) as client:
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(client.send, ASK)
        await client.send(ASK)
    assert len(model.requests) == 21
    assert len(wire.connections) == 1


async def test_connection_is_made_by_the_first_request_and_closed_with_the_application() -> None:
    wire = Wire()
    async with gateway_to(Model(["x"]), wire) as client:
        await client.send("/healthz")
        assert wire.connections == []
        await client.send(ASK)
        (connection,) = wire.connections
        assert not any(isinstance(frame, GoAwayFrame) for frame in connection.sent)
    assert any(isinstance(frame, GoAwayFrame) for frame in connection.sent)


async def test_two_applications_count_apart() -> None:
    async with gateway_to(Model(["x"])) as one, gateway_to(Model(["x"])) as other:
        await one.send(ASK)
        assert (await one.metrics())["relay_tokens_total"] == 1
        assert (await other.metrics())["relay_tokens_total"] == 0
