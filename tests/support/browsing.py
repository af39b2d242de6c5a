"""The page as a person meets it, and what goes on behind it."""

import json
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Error,
    Locator,
    Page,
    Request,
    expect,
    sync_playwright,
)

from harness.programs import Program

# Notes what the page asks, in the order asked, and that it asks in one way only.
RECORD_QUESTIONS = """
    window.asked = [];
    const fetched = window.fetch;
    window.fetch = (url, options) => {
        window.asked.push({ url: String(url), method: options.method, body: options.body });
        return fetched(url, options);
    };
    delete window.EventSource;
"""

# What an answer looks like, and what a text would.
SHOWN = """async (answer, text) => {
    const { MarkdownView } = await import(new URL("static/markdown.js", document.baseURI));
    const expected = document.createElement("div");
    new MarkdownView(expected).append(text);
    return [answer.innerHTML, expected.innerHTML];
}"""

ELSEWHERE = "about:blank"

CHROMIUM_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

# Milliseconds that a machine with better things to do may take to show something.
PATIENCE = 15_000

ENDPOINT = "/api/ai/stream"


@dataclass
class Visit:
    """One page, open in a browser."""

    page: Page
    complaints: list[str] = field(default_factory=list[str])
    requests: list[str] = field(default_factory=list[str])
    #: Requests for an answer whose body has not ended.
    open: set[Request] = field(default_factory=set[Request])

    def __post_init__(self) -> None:
        """Find the page's parts by what a person, or a screen reader, knows them by."""
        role = self.page.get_by_role
        self.prompt = role("textbox", name="Prompt")
        self.send = role("button", name="Send", exact=True)
        self.stop = role("button", name="Stop", exact=True)
        self.exchanges = role("article")
        self.exchange = self.exchanges.last
        self.shown_prompt = self.exchange.locator(".prompt")
        self.answer = self.exchange.locator(".answer")
        self.state = self.exchange.locator(".state")
        self.problem = self.exchange.locator(".problem")
        self.again = self.exchange.get_by_role("button", name="Edit and send again")
        self.notice = self.page.locator("#notice")
        self.announcer = self.page.locator("#announcer")

    def ask(self, prompt: str) -> None:
        """Type a prompt over what is in the box, and press Enter."""
        self.prompt.fill(prompt)
        self.prompt.press("Enter")

    def figure(self, name: str) -> Locator:
        """Find one of the figures under the last answer by its label."""
        label = self.page.get_by_text(name, exact=True)
        return self.exchange.locator("dl div").filter(has=label).get_by_role("definition")

    def expect_shown(self, text: str) -> None:
        """See that the last answer looks as this Markdown does when it comes at once."""
        shown, expected = self.answer.evaluate(SHOWN, text)
        assert shown == expected

    def expect_ended(self, state: str) -> None:
        """Wait until the last exchange has ended so, and see that nothing goes on behind it."""
        expect(self.state).to_have_text(state)
        expect(self.answer).to_have_attribute("aria-busy", "false")
        expect(self.send).to_be_visible()
        expect(self.stop).to_be_hidden()
        self.expect_all_closed()

    def expect_all_closed(self) -> None:
        """Wait until no request for an answer is open."""
        patience = time.monotonic() + PATIENCE / 1000
        while self.open:
            assert time.monotonic() < patience, self.open
            self.page.wait_for_timeout(10)  # Playwright tells of events while it is asked something

    @property
    def questions(self) -> list[dict[str, Any]]:
        """What the page has asked the gateway, oldest first."""
        asked: list[dict[str, str]] = self.page.evaluate("asked")
        assert {(urlsplit(each["url"]).path, each["method"]) for each in asked} <= {
            (ENDPOINT, "POST")
        }
        return [json.loads(each["body"]) for each in asked]

    @property
    def session_id(self) -> str:
        """What the last question named as its session."""
        session_id: str = self.questions[-1]["session_id"]
        return session_id


@contextmanager
def launched(chromium: str) -> Generator[Browser, None, None]:
    """Run the Chromium of a path."""
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def visit(
    browser: Browser, origin: str, *scripts: str, **options: object
) -> Generator[Visit, None, None]:
    """Open the page in a context of its own, with scripts that run before those of the page.

    Once the block is left, fails if the page complained, or asked anyone but its own origin.
    """
    with browser.new_context(**options) as context:  # type: ignore[arg-type] # options of any name
        page = context.new_page()
        for script in (RECORD_QUESTIONS, *scripts):
            page.add_init_script(script)
        visited = Visit(page)
        _listen(visited)
        page.goto(f"{origin}/")
        yield visited
    assert visited.complaints == [], visited.complaints
    assert {_origin(url) for url in visited.requests if url != ELSEWHERE} == {origin}


def _listen(visited: Visit) -> None:
    def on_console(message: ConsoleMessage) -> None:
        visited.complaints.append(f"{message.type}: {message.text}")

    def on_error(error: Error) -> None:
        visited.complaints.append(str(error))

    def on_request(request: Request) -> None:
        visited.requests.append(request.url)
        if urlsplit(request.url).path == ENDPOINT:
            visited.open.add(request)

    visited.page.on("console", on_console)
    visited.page.on("pageerror", on_error)

    def on_end(request: Request) -> None:
        visited.open.discard(request)

    visited.page.on("request", on_request)
    visited.page.on("requestfinished", on_end)
    visited.page.on("requestfailed", on_end)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def seen_by_model(model: Program, event: str, session_id: str) -> dict[str, Any]:
    """Wait for what the model tells of a call in that session, and give it."""
    line = model.wait_for(rf'"event": "{event}".*"session_id": "{session_id}"').string
    report: dict[str, Any] = json.loads(line)
    return report
