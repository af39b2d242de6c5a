"""All runs: each has a scenario, the program under test, and a load.

For example, ``runs_of("gateway", 3, is_quick=False)`` begins with ``single`` for token-relay and
then for its peer.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from bench.measure import GATEWAYS, MODELS, OURS, Job
from bench.work import Work

__all__ = ["PARTS", "Run", "runs_of"]

#: Tokens of an answer that must not end by itself while it is measured.
_ENDLESS = 10**9
#: Seconds after which a load that should end by itself has failed.
_PATIENCE = 120.0
#: Seconds between two pings of a gateway, ours and the peer's.
_HEARTBEAT = 15.0


@dataclass(frozen=True)
class Run:
    """One run; ``x`` is its place on the x-axis of a plot."""

    part: str
    scenario: str
    program: str
    job: Job
    x: float = 0.0
    repetition: int = 0


def _paced(streams: int, interval: float, seconds: float, size: int = 6) -> Job:
    is_stamped = size < 1000  # noqa: PLR2004 - a large token holds no time
    return Job(Work(_ENDLESS, size, interval, is_stamped=is_stamped), "flow", streams, seconds)


#: docs/performance.md describes these scenarios under the same names.
_GATEWAY: Mapping[str, Job] = {
    "single": Job(Work(20_000), "answers", 1, _PATIENCE),
    "multi": Job(Work(1000), "answers", 64, _PATIENCE),
    "paced": _paced(200, 0.02, 5.0),
    "paced-light": _paced(40, 0.02, 5.0),
    "churn": Job(Work(_ENDLESS, interval=0.02), "churn", 16, _PATIENCE, 500, tokens_read=3),
    "idle": Job(Work(1, think=3600.0), "idle", 1000, 3.0),
}

_MODEL: Mapping[str, Job] = {
    "one stream": Job(Work(100_000), streams=1),
    "64 streams": Job(Work(2000), streams=64),
    "40 streams, 50 a second each": Job(Work(250, interval=0.02), streams=40),
}

#: Tokens per second of all streams together; each stream sends ten per second.
_RATES = (1, 10, 100, 500, 1000, 2000, 5000, 10_000)
_RATE_OF_ONE = 10.0
#: Streams that share a thousand tokens per second.
_STREAMS = (1, 10, 100, 1000, 2500, 5000)
_SHARED_RATE = 1000.0
#: Bytes of a token; 20 streams send ten per second each.
_SIZES = (1, 16, 256, 1024, 4096, 16_384, 65_536)
_IDLE = (100, 500, 1000, 2000)
_MANY_IDLE = 10_000


def _by_rate(rate: int) -> Job:
    streams = max(1, round(rate / _RATE_OF_ONE))
    return _paced(streams, streams / rate, 3.0 if rate >= _RATE_OF_ONE else 10.0)


def _by_streams(streams: int) -> Job:
    return _paced(streams, streams / _SHARED_RATE, max(3.0, streams / _SHARED_RATE))


def _by_size(size: int) -> Job:
    work = Work(_ENDLESS, size, interval=0.1)
    return Job(work, "flow", 20, 3.0)


def _gateway() -> Iterator[Run]:
    for scenario, job in _GATEWAY.items():
        yield from (Run("gateway", scenario, program, job) for program in GATEWAYS)


def _model() -> Iterator[Run]:
    for scenario, job in _MODEL.items():
        yield from (Run("model", scenario, program, job) for program in MODELS)


def _growth() -> Iterator[Run]:
    for scenario, values, job_of in (
        ("rate", _RATES, _by_rate),
        ("streams", _STREAMS, _by_streams),
        ("size", _SIZES, _by_size),
    ):
        for value in values:
            yield from (Run("growth", scenario, name, job_of(value), value) for name in GATEWAYS)


def _idle() -> Iterator[Run]:
    job = _GATEWAY["idle"]
    for streams in _IDLE:
        few = replace(job, streams=streams)
        yield from (Run("idle", "memory", program, few, streams) for program in GATEWAYS)
    many = replace(job, streams=_MANY_IDLE, seconds=2 * _HEARTBEAT + 1)
    yield Run("idle", "heartbeats", OURS, many, _MANY_IDLE)


PARTS = {"gateway": _gateway, "model": _model, "growth": _growth, "idle": _idle}


def runs_of(part: str, repetitions: int, *, is_quick: bool) -> list[Run]:
    """List the runs of a part in order.

    Programs take turns in each scenario, and a repetition begins after the one before it is over.
    """
    runs = list(PARTS[part]())
    if is_quick:
        runs = [replace(run, job=_quick(run.job)) for run in runs if run.x <= _QUICK_X]
    return [replace(run, repetition=n) for n in range(repetitions) for run in runs]


#: Limits of a quick run. It shows that everything works, and its figures are rough.
_QUICK_X, _QUICK_SECONDS, _QUICK_PART = 1000, 1.5, 10


def _quick(job: Job) -> Job:
    if job.mode == "answers" or job.work.tokens < _ENDLESS:
        return replace(job, work=replace(job.work, tokens=max(1, job.work.tokens // _QUICK_PART)))
    if job.mode == "churn":
        return replace(job, requests=job.requests // _QUICK_PART)
    return replace(job, seconds=min(job.seconds, _QUICK_SECONDS))
