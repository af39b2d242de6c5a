"""Clients of `/v1/chat/completions` that leave, and how long it takes until their model has ended.

For example, a client closes its socket while the model thinks. The time ends when the generator of
the backend is being left, in another process, which has the same clock.
"""

import json
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from urllib.parse import urlsplit

from harness.programs import Program
from tests.sdks.stages import install_scripted, new_mark, run_service, until
from tests.support.gateway_program import run_gateway

__all__ = ["PHASES", "Latencies", "measure"]

_READ_SIZE = 65_536
#: Seconds until the headers of a stream leave without a token: shorter than by default, because
#: clients wait for them.
_HOLD = "0.05"
#: Seconds until a client leaves, so that the programs sleep by then, as they do in life.
_QUIET = 0.02


@dataclass(frozen=True)
class Phase:
    """When clients leave."""

    #: The word of the scripted backend.
    word: str
    stream: bool
    #: The client leaves when it has read this; without it, when the model waits.
    read: bytes = b""


PHASES = {
    "in mid-stream": Phase("mid-stream", stream=True, read=b"two "),
    "while it thinks, before the headers": Phase("thinking", stream=True),
    "while it thinks, after the headers": Phase("thinking", stream=True, read=b"\r\n\r\n"),
    "not streamed, while it thinks": Phase("thinking", stream=False),
    "not streamed, while it answers": Phase("mid-stream", stream=False),
}


@dataclass(frozen=True)
class Latencies:
    """What came out for one phase, in milliseconds."""

    phase: str
    milliseconds: list[float]

    def percentile(self, percent: int) -> float:
        """Return the time within which this many of a hundred models ended."""
        return quantiles(self.milliseconds, n=100, method="inclusive")[percent - 1]


def measure(count: int, advance: Callable[[], None] = lambda: None) -> Iterator[Latencies]:
    """Have clients leave in each phase, one after the other; `advance` is called for each."""
    with tempfile.TemporaryDirectory() as folder:
        path = install_scripted(Path(folder))
        for name, phase in PHASES.items():
            with (
                run_service("scripted", PYTHONPATH=path) as (model, port),
                run_gateway(f"127.0.0.1:{port}", RELAY_HOLD_SECONDS=_HOLD) as (_, origin),
            ):
                times: list[float] = []
                for _ in range(count):
                    times.append(_leave(origin, model, phase))
                    advance()
                yield Latencies(name, times)


def _leave(origin: str, model: Program, phase: Phase) -> float:
    """Ask and leave; returns how long the model went on, in milliseconds."""
    address = urlsplit(origin)
    prompt = f"{phase.word} {new_mark()}"
    with socket.create_connection((address.hostname, address.port)) as client:
        client.sendall(_request(prompt, stream=phase.stream))
        until(model, "waits", prompt)
        received = b""
        while phase.read not in received:
            received += client.recv(_READ_SIZE)
        time.sleep(_QUIET)
        left = time.monotonic()
    ended = until(model, "ended", prompt)
    assert ended["outcome"] == "cancelled", ended
    return 1000 * (float(ended["at"]) - left)


def _request(prompt: str, *, stream: bool) -> bytes:
    messages = [{"role": "user", "content": prompt}]
    body = json.dumps({"messages": messages, "stream": stream}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Content-Type: application/json\r\n\r\n" + body
