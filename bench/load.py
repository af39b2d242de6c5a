"""Browsers that load a gateway, as a program of its own.

For example::

    python -m bench.load '{"port": 8080, "mode": "answers", "work": {"tokens": 100}}'

It prints a line when the measurement begins and another when it ends, so that its parent can
look at the gateway at these moments. The streams of ``flow`` and ``idle`` are still open then. A
line on standard input closes them, and the program prints its result as JSON. The modes:

- ``answers``: all streams are opened at once and read to their ends;
- ``flow``: all streams are open and have their first token; tokens are counted for ``seconds``;
- ``idle``: all streams are open and have their headers; held for ``seconds``;
- ``churn``: ``requests`` requests are made, ``streams`` at a time, and the browser disconnects
  after ``tokens_read`` tokens of each.
"""

import json
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

from bench.browsers import Browser, Crowd
from bench.work import Work

#: Unanswered requests at a time while streams are opened; below the backlog of any listener.
_OPENING = 64
_OPENING_SECONDS = 120.0
_NS = 1e9


@dataclass(frozen=True)
class Job:
    """What to do: a mode of this module, and its numbers; times in seconds."""

    port: int
    mode: str
    work: Work
    streams: int = 1
    seconds: float = 5.0
    requests: int = 0
    tokens_read: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the argument of the command line."""
        fields = json.loads(text)
        work = Work(**fields.pop("work"))
        return cls(work=work, **fields)


def _say(moment: str) -> None:
    print(json.dumps(moment), flush=True)


def _check(browser: Browser) -> None:
    if browser.error:
        raise SystemExit(f"a stream failed: {browser.error!r}")


def _open_all(crowd: Crowd, job: Job, is_open: Callable[[Browser], int]) -> None:
    """Open every stream, and wait until ``is_open`` is true for each."""
    waiting: set[Browser] = set()

    def look(browser: Browser) -> None:
        _check(browser)
        if is_open(browser):
            waiting.discard(browser)

    def wait(is_enough: Callable[[], bool]) -> None:
        if not crowd.read_until(is_enough, _OPENING_SECONDS, look):
            raise SystemExit(f"{len(waiting)} of {job.streams} streams do not open")

    for _ in range(job.streams):
        waiting.add(crowd.open(job.work))
        wait(lambda: len(waiting) < _OPENING)
    wait(lambda: not waiting)


def _answers(crowd: Crowd, job: Job) -> dict[str, Any]:
    _say("begins")
    began = time.monotonic_ns()
    browsers = [crowd.open(job.work) for _ in range(job.streams)]
    open_ones = set(browsers)

    def look(browser: Browser) -> None:
        _check(browser)
        if browser.is_over:
            open_ones.discard(browser)

    if not crowd.read_until(lambda: not open_ones, job.seconds, look):
        raise SystemExit(f"{len(open_ones)} of {job.streams} answers take {job.seconds} s")
    _say("ends")
    return {
        "tokens": sum(browser.tokens for browser in browsers),
        "seconds": (time.monotonic_ns() - began) / _NS,
        "first_token": [(browser.first_token_at - began) / _NS for browser in browsers],
        "latency": [latency / _NS for browser in browsers for latency in browser.latencies],
    }


def _flow(crowd: Crowd, job: Job) -> dict[str, Any]:
    _open_all(crowd, job, lambda browser: browser.first_token_at)
    browsers = list(crowd.browsers)
    before = sum(browser.tokens for browser in browsers)
    for browser in browsers:
        browser.latencies.clear()
    began = time.monotonic_ns()
    _say("begins")
    crowd.read_until(lambda: False, job.seconds, _check)
    _say("ends")
    seconds = (time.monotonic_ns() - began) / _NS
    tokens = sum(browser.tokens for browser in browsers) - before
    return {
        "tokens": tokens,
        "seconds": seconds,
        "first_token": [(b.first_token_at - b.asked_at) / _NS for b in browsers],
        "latency": [latency / _NS for b in browsers for latency in b.latencies],
    }


def _idle(crowd: Crowd, job: Job) -> dict[str, Any]:
    _open_all(crowd, job, lambda browser: browser.headers_at)
    _say("begins")
    crowd.read_until(lambda: False, job.seconds, _check)
    _say("ends")
    return {
        "streams": len(crowd),
        # Seconds to each ping from the one before it, or from the request.
        "pings": [
            (ping - before) / _NS
            for browser in crowd.browsers
            for before, ping in pairwise([browser.asked_at, *browser.pings])
        ],
    }


def _churn(crowd: Crowd, job: Job) -> dict[str, Any]:
    left_at: dict[int, int] = {}
    to_open = job.requests

    def open_next() -> None:
        nonlocal to_open
        if to_open:
            to_open -= 1
            crowd.open(job.work)

    def look(browser: Browser) -> None:
        _check(browser)
        if browser.tokens >= job.tokens_read:
            left_at[browser.work.name] = crowd.leave(browser)
            open_next()

    _say("begins")
    for _ in range(job.streams):
        open_next()
    if not crowd.read_until(lambda: len(left_at) == job.requests, job.seconds, look):
        raise SystemExit(f"{len(left_at)} of {job.requests} requests in {job.seconds} s")
    _say("ends")
    return {"left_at": left_at}


_MODES = {"answers": _answers, "flow": _flow, "idle": _idle, "churn": _churn}


def main() -> None:
    """Do the job that the command line describes."""
    job = Job.parse(sys.argv[1])
    with closing(Crowd(job.port)) as crowd:
        result = _MODES[job.mode](crowd, job)
        sys.stdin.readline()
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
