"""The page as a person meets it, and what goes on behind it."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

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

# Keeps every EventSource within reach, in the order made: the page keeps its own to itself.
RECORD_SOURCES = """
    window.sources = [];
    window.EventSource = class extends EventSource {
        constructor(...parameters) {
            super(...parameters);
            window.sources.push(this);
        }
    };
"""

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

CLOSED = 2  # EventSource.CLOSED


@dataclass
class Visit:
    """One page, open in a browser."""

    page: Page
    complaints: list[str] = field(default_factory=list[str])
    requests: list[str] = field(default_factory=list[str])

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

    def text(self) -> str:
        """Read the last answer, white space and all."""
        text: str = self.answer.evaluate("element => element.textContent")
        return text

    def expect_ended(self, state: str) -> None:
        """Wait until the last exchange has ended so, and see that nothing goes on behind it."""
        expect(self.state).to_have_text(state)
        expect(self.answer).to_have_attribute("aria-busy", "false")
        expect(self.send).to_be_visible()
        expect(self.stop).to_be_hidden()
        self.expect_all_closed()

    def expect_all_closed(self) -> None:
        """See that no stream is open, or about to be opened again."""
        states = self.page.evaluate("sources.map(source => source.readyState)")
        assert set(states) <= {CLOSED}, states

    @property
    def streams(self) -> list[Mapping[str, list[str]]]:
        """The parameters of each stream that the page has asked for."""
        urls = map(urlsplit, self.page.evaluate("sources.map(source => source.url)"))
        return [parse_qs(url.query) for url in urls]

    @property
    def session_id(self) -> str:
        """What the last stream named as its session."""
        return self.streams[-1]["session_id"][0]


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
        for script in (RECORD_SOURCES, *scripts):
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

    visited.page.on("console", on_console)
    visited.page.on("pageerror", on_error)
    visited.page.on("request", on_request)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
