"""What the page says when an answer does not come, or does not end as one would like."""

import json
import re
import socket
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from harness.programs import Program
from tests.support.browsing import Visit, seen_by_model, visit
from tests.support.front import (
    Front,
    Question,
    Script,
    answered,
    forwarded_until,
    reset,
    run_front,
    silent,
    streamed,
)
from tests.support.gateway_program import run_gateway

pytestmark = pytest.mark.browser

SILENT = re.compile(r"Nothing has come from the gateway for 3 seconds")
LOST = "The connection was lost before the answer was complete."
UNREADABLE = "The gateway sent something that this page cannot read."
NO_GATEWAY = re.compile("Something answered in the gateway's place")
TOKEN = b'data: {"token":"Half"}\n\n'
DONE = b'event: done\ndata: {"finish_reason":"stop","usage":null}\n\n'


@pytest.fixture(scope="module")
def origin(model_target: str) -> Iterator[str]:
    """Run a gateway whose heartbeats come as often as the page looks for them."""
    settings = {"RELAY_HEARTBEAT_SECONDS": "1", "RELAY_HOLD_SECONDS": "0.1"}
    with run_gateway(model_target, **settings) as (_, address):
        yield address


def expect_error(visited: Visit, words: str | re.Pattern[str]) -> None:
    """Wait for these words; what Chromium itself says of a network that fails is no complaint."""
    visited.expect_ended("Ended with an error")
    expect(visited.problem).to_have_text(words)
    expect(visited.announcer).to_contain_text(words)
    assert len(visited.questions) == 1
    assert all("Failed to load" in each or "net::ERR_" in each for each in visited.complaints)
    visited.complaints.clear()


def ask_front(browser: Browser, origin: str, script: Script, words: str | re.Pattern[str]) -> Front:
    """Ask through a front, and wait for the words of an error."""
    with run_front(origin, script) as front, visit(browser, front.origin) as visited:
        visited.ask("anyone there?")
        expect_error(visited, words)
        front.wait_until_left()
    return front


def body_that_stalls(question: Question) -> None:
    """Say how much there is to come, and do not send it."""
    question.send(
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: application/problem+json\r\n"
        b"Content-Length: 1000\r\n\r\n{"
    )
    question.wait_until_left()


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(silent, id="before the headers"),
        pytest.param(streamed(), id="before the first token"),
        pytest.param(streamed(TOKEN), id="in mid-answer"),
        pytest.param(streamed(TOKEN, b"data: {"), id="within an event"),
        pytest.param(streamed(b": ping\n\n"), id="after a heartbeat"),
        pytest.param(body_that_stalls, id="within a refusal"),
    ],
)
def test_silence_ends_the_answer(browser: Browser, origin: str, script: Script) -> None:
    ask_front(browser, origin, script, SILENT)


def test_front_that_stops_forwarding(browser: Browser, origin: str, model: Program) -> None:
    script = forwarded_until(b"line 10")
    with run_front(origin, script) as front, visit(browser, front.origin) as visited:
        visited.ask("endless")
        expect(visited.answer).to_contain_text("line 10", use_inner_text=True)
        expect_error(visited, SILENT)
        front.wait_until_left()
        assert seen_by_model(model, "ended", visited.session_id)["outcome"] == "abandoned"


def test_heartbeats_keep_an_answer_alive(browser: Browser, origin: str) -> None:
    with visit(browser, origin) as visited:
        visited.ask("silent")
        # More than the page waits for, with nothing but heartbeats in it.
        expect(visited.figure("Elapsed")).to_have_text(re.compile(r"^[5-9]\.\d s$"))
        expect(visited.state).to_have_text("Waiting for the first token")
        visited.stop.click()
        visited.expect_ended("Stopped by you")


@pytest.mark.parametrize(
    ("status", "headers", "words"),
    [
        ("400 Bad Request", {}, re.compile("The gateway could not read what this page sent")),
        ("401 Unauthorized", {}, "The gateway does not know who you are. Log in, and try again."),
        ("403 Forbidden", {}, "The gateway does not let you ask from here."),
        ("404 Not Found", {}, "There is no gateway at this address."),
        ("413 Content Too Large", {}, "The prompt is too long."),
        ("418 I'm a teapot", {}, "The gateway answered with the status 418."),
        ("421 Misdirected Request", {}, "The gateway does not serve this address."),
        (
            "429 Too Many Requests",
            {"Retry_After": "7"},
            "There were too many requests. Please try again in 7 seconds.",
        ),
        ("500 Internal Server Error", {}, "The gateway failed. Please try again in a moment."),
        (
            "502 Bad Gateway",
            {},
            "A proxy could not reach the gateway. Please try again in a moment.",
        ),
        (
            "503 Service Unavailable",
            {"Retry_After": "1"},
            "The service is busy or restarting. Please try again in a second.",
        ),
        (
            "503 Service Unavailable",
            {"Retry_After": "Wed, 21 Oct 2015 07:28:00 GMT"},
            "The service is busy or restarting. Please try again in a moment.",
        ),
        (
            "504 Gateway Timeout",
            {"Retry_After": "soon"},
            "The gateway did not answer in time. Please try again in a moment.",
        ),
        ("302 Found", {"Location": "/login"}, NO_GATEWAY),
        ("200 OK", {}, NO_GATEWAY),
        ("204 No Content", {}, NO_GATEWAY),
    ],
)
def test_words_fit_the_status(
    browser: Browser, origin: str, status: str, headers: dict[str, str], words: str
) -> None:
    html = b"" if status.startswith("204") else b"<html><h1>Bad luck</h1><script>alert(1)</script>"
    ask_front(browser, origin, answered(status, html, **headers), words)


def problem(**members: object) -> bytes:
    """Write a problem document."""
    return json.dumps({"type": "about:blank", **members}).encode()


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (
            "413 Content Too Large",
            problem(detail="prompt is longer than 9 bytes"),
            "Prompt is longer than 9 bytes.",
        ),
        (
            "404 Not Found",
            problem(detail="there is no model 'x'", code="model_not_found"),
            "There is no model 'x'.",
        ),
        (
            "503 Service Unavailable",
            problem(detail="the gateway is being restarted"),
            "The gateway is being restarted. Please try again in 3 seconds.",
        ),
        (
            "502 Bad Gateway",
            problem(detail="The model failed.", cause="model_error"),
            "The model failed.",
        ),
        ("502 Bad Gateway", b"[", UNREADABLE),
        (
            "502 Bad Gateway",
            b"null",
            "A proxy could not reach the gateway. Please try again in 3 seconds.",
        ),
    ],
)
def test_words_of_the_gateway_are_shown(
    browser: Browser, origin: str, status: str, body: bytes, words: str
) -> None:
    script = answered(status, body, "application/problem+json", Retry_After="3")
    ask_front(browser, origin, script, words)


def cut(question: Question) -> None:
    """Leave out the end of a chunked body."""
    question.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
    question.send(b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(TOKEN), TOKEN))


def closed(_: Question) -> None:
    """Send no more."""


@pytest.mark.parametrize(
    ("script", "words"),
    [
        pytest.param(reset, "The gateway cannot be reached.", id="reset before the headers"),
        pytest.param(closed, "The gateway cannot be reached.", id="closed before the headers"),
        pytest.param(streamed(TOKEN, then=closed), LOST, id="an end without done"),
        pytest.param(streamed(then=closed), LOST, id="no event at all"),
        pytest.param(streamed(TOKEN, DONE[:-1], then=closed), LOST, id="done without its end"),
        pytest.param(streamed(TOKEN, then=reset), LOST, id="reset in mid-answer"),
        pytest.param(cut, LOST, id="a chunked body without its end"),
        pytest.param(streamed(b"data: Half\n\n"), UNREADABLE, id="no JSON"),
        pytest.param(streamed(b'data: {"token":7}\n\n'), UNREADABLE, id="a token that is a number"),
        pytest.param(
            streamed(b"data: " + bytes(17 * 2**20)), UNREADABLE, id="an event without bounds"
        ),
        pytest.param(
            streamed(b'event: error\ndata: {"message":"It failed."}\n\n'), "It failed.", id="error"
        ),
    ],
)
def test_answer_that_is_not_complete(
    browser: Browser, origin: str, script: Script, words: str
) -> None:
    ask_front(browser, origin, script, words)


def test_connection_refused(browser: Browser, origin: str) -> None:
    with visit(browser, origin) as visited, socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
        taken.close()
        visited.page.route("**/stream", lambda route: route.continue_(url=f"{nobody}/x"))
        visited.ask("anyone there?")
        expect_error(visited, "The gateway cannot be reached.")


def test_device_that_is_offline(browser: Browser, origin: str) -> None:
    with visit(browser, origin) as visited:
        visited.page.context.set_offline(True)
        visited.ask("anyone there?")
        expect_error(visited, "This device is offline.")


def test_body_that_does_not_end_after_done_is_not_kept(browser: Browser, origin: str) -> None:
    script = streamed(TOKEN, DONE)
    with run_front(origin, script) as front, visit(browser, front.origin) as visited:
        visited.ask("hello")
        visited.expect_ended("Done")
        front.wait_until_left()


@pytest.mark.parametrize(
    ("prompt", "state", "words", "usage"),
    [
        (
            "cut short",
            "Cut at the length limit",
            "The answer is as long as the model may make it, and not complete.",
            "12 read, 3,456 written",
        ),
        (
            "thoughts only",
            "Cut at the length limit",
            "The model used all that it may write before any text came, perhaps on reasoning.",
            "12 read, 400 written",
        ),
        (
            "withheld answer",
            "Stopped by a content filter",
            "The rest of the answer was withheld.",
            None,
        ),
        (
            "refused answer",
            "Stopped by a content filter",
            "The answer was withheld, or the model refused to give one.",
            None,
        ),
        (
            "odd end",
            "Ended by the model",
            "The model ended the answer for a reason of its own. It may not be complete.",
            None,
        ),
        ("mute model", "Done", "The model ended without writing anything.", "1 read, 0 written"),
        ("all is well", "Done", None, None),
    ],
)
def test_end_of_an_answer_is_told_in_words(
    opened: Visit, prompt: str, state: str, words: str | None, usage: str | None
) -> None:
    opened.ask(prompt)
    opened.expect_ended(state)
    if words is None:
        expect(opened.problem).to_be_hidden()
    else:
        expect(opened.problem).to_have_text(words)
        expect(opened.announcer).to_contain_text(words)
    if usage is None:
        expect(opened.exchange.locator(".usage")).to_be_hidden()
    else:
        expect(opened.figure("Counted by the model")).to_have_text(usage)


def test_page_knows_the_settings_of_its_gateway(opened: Visit) -> None:
    settings = opened.page.evaluate("({...document.documentElement.dataset})")
    assert settings == {
        "heartbeatSeconds": "1.0",
        "holdSeconds": "0.1",
        "maxPromptBytes": "65536",
    }
