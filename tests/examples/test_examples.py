"""The examples do what their docstrings say: each is run, and asked."""

import os
import re
import sys
import tomllib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest
from playwright.sync_api import expect

from harness.programs import Program, run_module
from tests.support.browsing import launched
from tests.support.gateway_program import run_gateway
from tests.support.node import run_node

EXAMPLES = Path(__file__).parents[2] / "examples"
NODE_CLIENT = ("--experimental-eventsource", EXAMPLES / "event_source/node.mjs")
#: An example is read in one go.
LONGEST = 40


@contextmanager
def run_example(name: str, *arguments: str) -> Generator[Program]:
    with run_module(f"examples.{name}", *arguments) as program:
        yield program


@contextmanager
def run_model(backend: str, *path: Path) -> Generator[tuple[str, str]]:
    """Run the model service, with packages on its path; gives its host and port."""
    found = os.pathsep.join(map(str, [*path, *sys.path]))
    arguments = ("--backend", backend, "--port", "0", "--log-format", "json")
    with run_module("relay_model", *arguments, PYTHONPATH=found) as program:
        yield "127.0.0.1", program.wait_for(r'"addresses": \[\["127\.0\.0\.1", (\d+)\]')[1]


@contextmanager
def served(folder: Path) -> Generator[str]:
    """Serve a folder on an origin of its own, and give its URL."""
    arguments = ("0", "--bind", "127.0.0.1", "--directory", str(folder))
    with run_module("http.server", *arguments) as server:
        yield server.wait_for(r"\((http://127\.0\.0\.1:\d+/)\)")[1]


#: Not what another Python has compiled meanwhile.
FILES = sorted(path for path in EXAMPLES.rglob("*.*") if path.suffix != ".pyc")


@pytest.mark.parametrize("example", FILES, ids=lambda path: str(path.name))
def test_it_is_short_and_says_how_it_is_run(example: Path) -> None:
    text = example.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST
    ways = ("python ", "node ", "pip install", "pyproject.toml")
    assert any(way in text for way in ways)


def test_trio_client_prints_the_answer_of_a_running_service() -> None:
    with run_model("demo") as (host, port), run_example("trio_client", host, port, "hi") as client:
        assert client.output() == "Streaming response to: hi \n"


def test_trio_client_says_when_there_is_no_service() -> None:
    with run_example("trio_client", "127.0.0.1", "1", "hi") as client:
        assert client.output().startswith("UNAVAILABLE: ")


def test_asyncio_server_answers_a_client_on_trio() -> None:
    with run_example("asyncio_server", "0") as server:
        host, port = server.wait_for(r"listening on (\S+):(\d+)").groups()
        with run_example("trio_client", host, port, "why not") as client:
            assert client.output() == "WHY NOT \n"


def test_stream_that_is_left_ends_its_handler() -> None:
    with run_example("cancel_a_stream") as program:
        assert program.output().splitlines() == [
            "client: token 1",
            "client: token 2",
            "client: left the stream; the channel stays open",
            "server: the handler has ended",
        ]


# -- a backend of another package -----------------------------------------------------------------


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Give a folder with the metadata that installing the backend writes, for its entry point."""
    backend = tomllib.loads((EXAMPLES / "backend/pyproject.toml").read_text(encoding="utf-8"))
    ((group, points),) = backend["project"]["entry-points"].items()
    lines = [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    info = tmp_path / "backwards_backend-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: backwards-backend\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path


def test_backend_answers_with_the_prompt_backwards(installed: Path) -> None:
    with (
        run_model("backwards", installed, EXAMPLES / "backend") as (host, port),
        run_example("trio_client", host, port, "one two three") as client,
    ):
        assert client.output() == "three two one \n"


# -- a page on another origin ---------------------------------------------------------------------


@pytest.fixture
def page() -> Iterator[str]:
    """Serve the page as its comment says, and give its URL."""
    with served(EXAMPLES / "browser_page") as url:
        yield url


def test_page_names_the_endpoint(page: str) -> None:
    with urlopen(page) as response:  # noqa: S310 - of the server above
        assert b"/api/ai/stream?" in response.read()


@pytest.mark.browser
def test_page_shows_an_answer_of_a_gateway_on_another_origin(page: str, chromium: str) -> None:
    with (
        run_model("demo") as (host, port),
        run_gateway(f"{host}:{port}") as (_, gateway),
        launched(chromium) as browser,
        browser.new_page() as shown,
    ):
        shown.goto(f"{page}?gateway={gateway}")
        shown.get_by_role("button", name="Ask").click()
        answer = "Streaming response to: Why is the sky blue? \n[done]"
        expect(shown.get_by_role("log")).to_have_text(answer)


# -- an EventSource in ten lines ------------------------------------------------------------------


@contextmanager
def run_demo() -> Generator[str]:
    """Run a gateway in front of the demo backend, and give its origin."""
    with run_model("demo") as (host, port), run_gateway(f"{host}:{port}") as (_, gateway):
        yield gateway


def ended(gateway: str) -> str:
    """Give how many answers have ended at a gateway, by their cause."""
    with urlopen(f"{gateway}/metrics") as response:  # noqa: S310 - of a gateway of ours
        counts = re.findall(r'_requests_total{cause="(\w+)"} ([1-9]\S*)', response.read().decode())
    return str(dict(counts))


#: A client that closes at the last event may be seen to close before the gateway has noted the end.
ASKED_ONCE = ("{'done': '1.0'}", "{'client_disconnect': '1.0'}")


def test_node_ends_when_the_answer_does_and_has_asked_once() -> None:
    """It would not end while an EventSource is open."""
    with run_demo() as gateway:
        done = run_node(*NODE_CLIENT, "Why not?", gateway)
        assert done.stdout == "Streaming response to: Why not? "
        assert done.returncode == 0
        assert ended(gateway) in ASKED_ONCE


def test_node_ends_when_the_answer_breaks() -> None:
    with run_gateway("127.0.0.1:1") as (_, gateway):
        done = run_node(*NODE_CLIENT, "Why not?", gateway)
        assert "The model cannot be reached right now." in done.stderr
        assert (done.stdout, ended(gateway)) == ("", "{'model_unavailable': '1.0'}")


def test_node_ends_when_there_is_no_gateway() -> None:
    done = run_node(*NODE_CLIENT, "Why not?", "http://127.0.0.1:1")
    assert "the connection was lost\n" in done.stderr


@pytest.mark.browser
def test_browser_closes_its_source_on_done_and_on_error(chromium: str) -> None:
    with (
        run_demo() as gateway,
        run_gateway("127.0.0.1:1") as (_, nobody),
        served(EXAMPLES / "event_source") as page,
        launched(chromium) as browser,
        browser.new_page() as shown,
    ):
        for origin, text in (
            (gateway, "Streaming response to: Why not? "),
            (nobody, re.compile("^The model cannot be reached right now")),
        ):
            shown.goto(f"{page}browser.html?prompt=Why+not%3F&gateway={origin}")
            expect(shown.get_by_role("log")).to_have_text(text)
            shown.wait_for_function("source.readyState === EventSource.CLOSED")
        assert ended(gateway) in ASKED_ONCE
        assert ended(nobody) == "{'model_unavailable': '1.0'}"
