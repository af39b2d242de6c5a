"""The walk of a prompt and of a token: the files and functions that they enter, in order.

Both programs run in this process, on real sockets, with the backend that repeats the prompt. Each
call of a Python function of ours is recorded, once for a prompt and once for a token. A prompt's
walk begins when the browser connects and ends with the first token. A token's walk ends with the
next one. For example::

    python -m bench.walk            the files, in the order of their first call
    python -m bench.walk --docs     write the tables into docs/architecture.md
"""

import argparse
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import trio
import trio.testing

from bench.document import fill, markdown
from relay_gateway.serving import serve as serve_gateway
from relay_gateway.settings import GatewaySettings
from relay_model.serving import serve as serve_model
from relay_model.settings import ModelSettings

__all__ = ["DOCUMENT", "Walk", "walk"]

DOCUMENT = Path(__file__).parent.parent / "docs" / "architecture.md"
PACKAGES = ("relay_gateway", "grpclib_anyio", "relay_model", "relay_common", "relay_proto")
#: Seconds between two tokens. It is long, so that all work for one is over when the next one comes.
_DELAY = 0.2
_REQUEST = b"GET /api/ai/stream?prompt=one+two+three HTTP/1.1\r\nHost: gateway\r\n\r\n"


@dataclass
class Walk:
    """Our functions that were called, in the order of their first call."""

    functions: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    def files(self, package: str) -> list[str]:
        """Return the files of a package, each once, in order."""
        found = [file for file, _ in self.functions if file.startswith(f"{package}/")]
        return list(dict.fromkeys(found))

    def count(self, package: str) -> int:
        """Return how many functions of a package were called."""
        return sum(file.startswith(f"{package}/") for file, _ in self.functions)

    @contextmanager
    def noted(self) -> Generator[None]:
        """Record the calls of this thread while the block runs."""
        seen: dict[tuple[str, str], None] = {}

        def note(frame: FrameType, event: str, _argument: Any) -> None:
            if event == "call" and (file := _file(frame.f_code.co_filename)) is not None:
                seen.setdefault((file, frame.f_code.co_qualname))

        sys.setprofile(note)
        try:
            yield
        finally:
            sys.setprofile(None)
            self.functions.extend(seen)


def _file(name: str) -> str | None:
    """Return the path of one of our files, from its package on; None for other files."""
    parts = Path(name).parts
    for package in PACKAGES:
        if package in parts:
            return "/".join(parts[parts.index(package) :])
    return None


async def _read_event(browser: trio.SocketStream, received: bytearray) -> None:
    """Read to the end of the next event with data."""
    while b"data: " not in received or not received.endswith(b"\r\n"):
        received += await browser.receive_some()
    received.clear()


async def _browse(port: int, prompt: Walk, token: Walk) -> None:
    for walk_ in (Walk(), prompt):  # the first request makes the connection to the model
        received = bytearray()
        with walk_.noted():
            browser = await trio.open_tcp_stream("127.0.0.1", port)
            await browser.send_all(_REQUEST)
            await _read_event(browser, received)
        await _read_event(browser, received)
        with (token if walk_ is prompt else Walk()).noted():
            await _read_event(browser, received)
        await browser.aclose()
        await trio.testing.wait_all_tasks_blocked(_DELAY / 4)  # until the request is over


async def _walk(prompt: Walk, token: Walk) -> None:
    async with trio.open_nursery() as nursery:
        model = ModelSettings(port=0, backend="demo", demo_delay=_DELAY)
        addresses = await nursery.start(partial(serve_model, model))
        host, port = addresses[0]
        gateway = GatewaySettings(port=0, model_target=f"{host}:{port}")
        urls = await nursery.start(partial(serve_gateway, gateway, stop=trio.Event()))
        await _browse(int(urls[0].rpartition(":")[2]), prompt, token)
        nursery.cancel_scope.cancel()


def walk() -> tuple[Walk, Walk]:
    """Return the walks of a prompt, to its first token, and of one more token."""
    prompt, token = Walk(), Walk()
    trio.run(_walk, prompt, token)
    return prompt, token


def _table(walks: dict[str, Walk]) -> str:
    rows = [
        [package, *(f"{len(w.files(package))} / {w.count(package)}" for w in walks.values())]
        for package in PACKAGES
    ]
    return markdown(["package", *(f"{name}: files / functions" for name in walks)], rows)


def main() -> int:
    """Print the walk, and write it into the document if asked to."""
    parser = argparse.ArgumentParser(prog="bench.walk", description="Follow a prompt and a token.")
    parser.add_argument("--docs", action="store_true", help=f"write it into {DOCUMENT.name}")
    options = parser.parse_args()
    prompt, token = walk()
    table = _table({"a prompt, to its first token": prompt, "a token": token})
    files = "\n".join(f"{n}. `{file}`" for n, file in enumerate(prompt.files("relay_gateway"), 1))
    sys.stdout.write(f"{table}\n\n{files}\n")
    if options.docs:
        fill("walk", table, DOCUMENT)
        fill("walk of a GET", files, DOCUMENT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
