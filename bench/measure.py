"""One run: fresh programs, a warm-up, a load, and what the program under test cost meanwhile.

For example, the CPU time of one token when 40 streams send one every 20 ms::

    job = Job(Work(10**9, interval=0.02), mode="flow", streams=40)
    measure_gateway("token-relay", job)["cpu_us_a_token"]
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from bench.programs import Program, free_port, started
from bench.work import Work

__all__ = ["GATEWAYS", "MODELS", "OURS", "Figures", "Job", "measure_gateway", "measure_model"]

OURS = "token-relay"
GATEWAYS: Mapping[str, str] = {
    OURS: "relay_gateway",
    "fastapi-grpcio": "bench.peers.fastapi_gateway",
}
MODELS: Mapping[str, str] = {OURS: "bench.own_model", "grpcio.aio": "bench.peers.grpcio_model"}

#: The name of a figure has its unit.
Figures = dict[str, Any]

_US, _MS = 1e6, 1e3
#: A distribution is kept as quantiles, in this number of steps.
_POINTS = 200
#: Requests before the measurement; the browser disconnects after one token of each.
_WARM_UP_REQUESTS = 100


@dataclass(frozen=True)
class Job:
    """A load, as ``bench.load`` and ``bench.grpc_load`` describe it; times in seconds."""

    work: Work
    mode: str = "flow"
    streams: int = 1
    seconds: float = 5.0
    requests: int = 0
    tokens_read: int = 0

    def to_json(self, port: int) -> str:
        """Return it as the argument of the load's command line."""
        return json.dumps({"port": port, **asdict(self)})


_ENVIRONMENT: Mapping[str, str] = {
    "RELAY_LOG_LEVEL": "warning",  # the peer logs no requests either
    "RELAY_DEADLINE_SECONDS": "3600",  # on a busy machine, ten thousand streams take long to open
}

_WARM_UP = Job(
    Work(10**6, interval=0.001),
    mode="churn",
    streams=4,
    seconds=30.0,
    requests=_WARM_UP_REQUESTS,
    tokens_read=1,
)


@dataclass
class _Meter:
    """The CPU time of programs between two moments."""

    programs: Mapping[str, Program]
    before: dict[str, float] = field(default_factory=dict[str, float])

    def start(self) -> None:
        self.before = {name: program.cpu_seconds for name, program in self.programs.items()}

    def stop(self) -> dict[str, float]:
        """Return the CPU seconds of each program since the start."""
        return {name: p.cpu_seconds - self.before[name] for name, p in self.programs.items()}


def measure_gateway(name: str, job: Job) -> Figures:
    """Measure a gateway between browsers and the token source.

    Raises:
        RuntimeError: a program does not start, or ends without a result.

    """
    with ExitStack() as programs:
        source = programs.enter_context(started("bench.token_source"))
        port, target = free_port(), f"127.0.0.1:{source.read()}"
        gateway = programs.enter_context(
            started(
                GATEWAYS[name],
                f"--port={port}",
                f"--model-target={target}",
                environment=_ENVIRONMENT,
            )
        )
        gateway.wait_for(port)
        _load(_WARM_UP, port, {})
        source.ask()  # so that it forgets the resets of the warm-up
        resident = gateway.resident_kib
        held: list[int] = []
        result, cpu = _load(
            job,
            port,
            {"gateway": gateway, "source": source},
            on_end=lambda: held.append(gateway.resident_kib),
        )
        figures = _SUMMARIES[job.mode](result, cpu, source)
        figures["kib_a_stream"] = (held[0] - resident) / job.streams
        return figures


def measure_model(name: str, job: Job) -> Figures:
    """Measure a model service that sends to grpcio's client.

    Raises:
        RuntimeError: a program does not start, or ends without a result.

    """
    port = free_port()
    with started(MODELS[name], f"--port={port}") as service:
        service.wait_for(port)
        load = json.dumps({"port": port, "streams": job.streams, "work": asdict(job.work)})
        with started("bench.grpc_load", load) as client:
            meter = _Meter({"service": service, "load": client})
            client.read()
            meter.start()
            result = client.read()
            cpu = meter.stop()
    return {
        "cpu_us_a_token": cpu["service"] / result["tokens"] * _US,
        "tokens_a_second": result["tokens"] / result["seconds"],
        "load_busy": cpu["load"] / result["seconds"],
    }


def _load(
    job: Job,
    port: int,
    programs: Mapping[str, Program],
    on_end: Callable[[], None] = lambda: None,
) -> tuple[Any, dict[str, float]]:
    """Run browsers; return their result, and the CPU seconds of the programs meanwhile."""
    with started("bench.load", job.to_json(port)) as load:
        meter = _Meter({**programs, "load": load})
        load.read()
        meter.start()
        load.read()
        cpu = meter.stop()
        on_end()
        return load.ask(), cpu


def _flow(result: Any, cpu: Mapping[str, float], _source: Program) -> Figures:
    tokens, seconds = max(1, result["tokens"]), result["seconds"]
    figures: Figures = {
        "cpu_us_a_token": cpu["gateway"] / tokens * _US,
        "tokens_a_second": tokens / seconds,
        "first_token_p50_ms": median(result["first_token"]) * _MS,
        "busy": cpu["gateway"] / seconds,
        "source_busy": cpu["source"] / seconds,
        "load_busy": cpu["load"] / seconds,
    }
    if result["latency"]:
        figures |= _distribution("latency", result["latency"])
    return figures


def _churn(result: Any, cpu: Mapping[str, float], source: Program) -> Figures:
    left_at: dict[str, int] = result["left_at"]
    seen: dict[str, int] = source.ask()
    latencies = [(seen[name] - at) / 1e9 for name, at in left_at.items() if name in seen]
    return {
        "cpu_us_a_request": cpu["gateway"] / len(left_at) * _US,
        "never_cancelled": len(left_at) - len(latencies),
        **_distribution("cancel", latencies),
        "cancel_points_ms": [value * _MS for value in _points(latencies)],
    }


def _idle(result: Any, cpu: Mapping[str, float], _source: Program) -> Figures:
    figures: Figures = {
        "streams": result["streams"],
        "cpu_ms_a_stream": cpu["gateway"] / result["streams"] * _MS,
        "pings": len(result["pings"]),
    }
    if result["pings"]:
        figures["ping_seconds_least"] = min(result["pings"])
        figures |= {
            f"ping_seconds_{name}": quantile(result["pings"], part)
            for name, part in (("p50", 0.5), ("p99", 0.99), ("most", 1.0))
        }
    return figures


_SUMMARIES: Mapping[str, Callable[[Any, Mapping[str, float], Program], Figures]] = {
    "answers": _flow,
    "flow": _flow,
    "churn": _churn,
    "idle": _idle,
}


def quantile(values: Sequence[float], part: float) -> float:
    """Return a quantile: for example, ``part`` is 0.5 for the median and 1.0 for the largest."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def _points(values: Sequence[float]) -> list[float]:
    return [quantile(values, point / _POINTS) for point in range(_POINTS + 1)]


def _distribution(name: str, seconds: Sequence[float]) -> Figures:
    return {
        f"{name}_{title}_ms": quantile(seconds, part) * _MS
        for title, part in (("p50", 0.5), ("p99", 0.99), ("most", 1.0))
    }
