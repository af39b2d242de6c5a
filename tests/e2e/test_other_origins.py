"""A page of another origin asks as OpenAI's library does in a browser, in a real one."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page

from harness.programs import run_module
from tests.support.browsing import launched
from tests.support.gateway_program import run_gateway

pytestmark = pytest.mark.browser

#: What openai-node 6 sends from a browser, with every option that adds a header (`client.ts`,
#: `internal/detect-platform.ts`, `lib/ChatCompletionStream.ts`).
HEADERS = {
    "Accept": "application/json",
    "Authorization": "Bearer sk-unused",
    "Content-Type": "application/json",
    "OpenAI-Organization": "org",
    "OpenAI-Project": "project",
    "User-Agent": "OpenAI/JS 6.0.0",
    "X-Stainless-Arch": "unknown",
    "X-Stainless-Helper-Method": "chat.completions.stream",
    "X-Stainless-Lang": "js",
    "X-Stainless-OS": "Unknown",
    "X-Stainless-Package-Version": "6.0.0",
    "X-Stainless-Retry-Count": "0",
    "X-Stainless-Runtime": "browser:chrome",
    "X-Stainless-Runtime-Version": "140.0.0",
    "X-Stainless-Timeout": "600",
}
#: What other clients in browsers add: fetch-event-source, OpenTelemetry, and a name of tomorrow.
OTHERS = {"Last-Event-ID": "1", "Cache-Control": "no-cache", "traceparent": "00-1-2-01", "X-A": "a"}

HI = {"messages": [{"role": "user", "content": "hi"}]}
FETCH = """
    async ([url, options]) => {
        const response = await fetch(url, options);
        const headers = Object.fromEntries(response.headers);
        return [response.status, headers, await response.text()];
    }
"""


@pytest.fixture(scope="module")
def page(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """Open a page that a server on another port has given."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "index.html").write_text("<!doctype html><title>Elsewhere</title>", encoding="utf-8")
    arguments = ("0", "--bind", "127.0.0.1", "--directory", str(folder))
    with run_module("http.server", *arguments) as server, launched(chromium) as browser:
        shown = browser.new_page()
        shown.goto(server.wait_for(r"\((http://127\.0\.0\.1:\d+/)\)")[1])
        yield shown


@pytest.fixture(scope="module")
def gateway() -> Iterator[str]:
    """Run a gateway and a model."""
    arguments = ("--backend", "demo", "--port", "0", "--log-format", "json")
    with run_module("relay_model", *arguments) as model:
        port = model.wait_for(r'"addresses": \[\["127\.0\.0\.1", (\d+)\]')[1]
        with run_gateway(f"127.0.0.1:{port}") as (_, origin):
            yield origin


def fetch(page: Page, url: str, body: Any = None, **headers: str) -> tuple[int, Any, str]:
    """Have the page fetch something, with a body by POST."""
    method = "GET" if body is None else "POST"
    text = None if body is None else json.dumps(body)
    status, seen, answer = page.evaluate(
        FETCH, [url, {"method": method, "headers": headers, "body": text}]
    )
    return status, seen, answer


@pytest.mark.parametrize("stream", [False, True])
def test_openais_library_may_send_its_headers(page: Page, gateway: str, *, stream: bool) -> None:
    body = {**HI, "stream": stream}
    status, _, answer = fetch(page, f"{gateway}/v1/chat/completions", body, **HEADERS, **OTHERS)
    assert status == 200
    assert ("data: [DONE]" in answer) == stream


def test_models_are_listed_with_a_key(page: Page, gateway: str) -> None:
    status, _, answer = fetch(page, f"{gateway}/v1/models", **HEADERS)
    assert (status, json.loads(answer)["data"][0]["id"]) == (200, "demo")


def test_the_native_api_takes_the_same_headers(page: Page, gateway: str) -> None:
    stream = f"{gateway}/api/ai/stream"
    for body, url in (({"prompt": "hi"}, stream), (None, f"{stream}?prompt=hi")):
        status, _, answer = fetch(page, url, body, **HEADERS, **OTHERS)
        assert (status, answer.endswith("event: done\ndata: [DONE]\n\n")) == (200, True)


def test_a_page_reads_why_and_whether_to_ask_again(page: Page, gateway: str) -> None:
    """The library repeats a 400 of its model no more than it would on a server."""
    body = {**HI, "stop": "x"}  # the backend has no such parameter
    status, headers, answer = fetch(page, f"{gateway}/v1/chat/completions", body, **HEADERS)
    assert (status, headers["x-should-retry"]) == (400, "false")
    assert json.loads(answer)["error"]["param"] == "stop"


def test_a_page_reads_when_to_come_back(page: Page) -> None:
    with run_gateway("127.0.0.1:1") as (_, nobody):
        for path, body in (("v1/chat/completions", HI), ("api/ai/stream", {"prompt": "hi"})):
            status, headers, _ = fetch(page, f"{nobody}/{path}", body, **HEADERS)
            assert (status, headers["retry-after"]) == (503, "1")
