"""Tables of figures, for the terminal and for docs/performance.md.

For example, the table of the part ``gateway`` has a row for ``idle``. It shows the KiB per stream
of both gateways, and their ratio.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from bench.measure import OURS
from bench.results import Results

__all__ = ["Table", "tables_of"]


class Table(NamedTuple):
    """Rows of cells under a head."""

    title: str
    head: list[str]
    rows: list[list[str]]


#: The title of each figure, and its number of decimal places.
_FIGURES: Mapping[str, tuple[str, int]] = {
    "cpu_us_a_token": ("CPU µs a token", 1),
    "tokens_a_second": ("tokens a second", 0),
    "first_token_p50_ms": ("first token p50, ms", 1),
    "latency_p50_ms": ("token latency p50, ms", 2),
    "latency_p99_ms": ("token latency p99, ms", 2),
    "cpu_us_a_request": ("CPU µs a request", 0),
    "cancel_p50_ms": ("cancel p50, ms", 2),
    "cancel_p99_ms": ("cancel p99, ms", 2),
    "kib_a_stream": ("KiB a stream", 1),
}
#: The figures that are compared in each scenario; the file of results has others as well.
_COMPARED: Mapping[str, tuple[str, ...]] = {
    "single": ("cpu_us_a_token",),
    "multi": ("cpu_us_a_token", "first_token_p50_ms"),
    "paced": ("cpu_us_a_token", "latency_p50_ms", "latency_p99_ms"),
    "paced-light": ("cpu_us_a_token", "latency_p50_ms", "latency_p99_ms"),
    "churn": ("cpu_us_a_request", "cancel_p50_ms", "cancel_p99_ms"),
    "idle": ("kib_a_stream",),
}
_OVER: Mapping[str, str] = {
    "rate": "tokens a second",
    "streams": "streams",
    "size": "bytes a token",
    "memory": "idle streams",
}


def tables_of(part: str, results: Results) -> Iterator[Table]:
    """Make the tables of a part, in order."""
    if part in ("gateway", "model"):
        yield _comparison(results)
        return
    for scenario in results.names("scenario"):
        if scenario == "heartbeats":
            yield _heartbeats(results)
        else:
            name = "kib_a_stream" if scenario == "memory" else "cpu_us_a_token"
            yield _growth(results, scenario, name)


def _comparison(results: Results) -> Table:
    programs = results.names("program")
    peer = next(name for name in programs if name != OURS)
    rows = [
        [scenario, _FIGURES[name][0], *_compared(results, scenario, peer, name)]
        for scenario in results.names("scenario")
        for name in _COMPARED.get(scenario, ("cpu_us_a_token", "tokens_a_second"))
    ]
    return Table("beside the peer", ["scenario", "figure", OURS, peer, "ratio"], rows)


def _compared(results: Results, scenario: str, peer: str, name: str) -> list[str]:
    ours, theirs = (results.figure(scenario, program, name) for program in (OURS, peer))
    ratio = f"{ours / theirs:.2f}" if ours is not None and theirs else ""
    return [_written(ours, name), _written(theirs, name), ratio]


def _written(value: float | None, name: str) -> str:
    return "" if value is None else f"{value:,.{_FIGURES[name][1]}f}"


def _growth(results: Results, scenario: str, name: str) -> Table:
    programs = results.names("program")
    latencies = scenario == "rate"
    shown = [name, *(("latency_p50_ms", "latency_p99_ms") if latencies else ())]
    head = [f"{program}, {_FIGURES[figure][0]}" for figure in shown for program in programs]
    values = dict.fromkeys(run["x"] for run in results.runs if run["scenario"] == scenario)
    rows = [
        [
            f"{x:,}",
            *(
                _written(results.figure(scenario, program, figure, x), figure)
                for figure in shown
                for program in programs
            ),
        ]
        for x in values
    ]
    return Table(scenario, [_OVER[scenario], *head], rows)


def _heartbeats(results: Results) -> Table:
    run = next(run for run in results.runs if run["scenario"] == "heartbeats")
    figures = run["figures"]
    rows = [
        ["streams", f"{figures['streams']:,}"],
        ["KiB a stream", f"{figures['kib_a_stream']:.1f}"],
        ["pings", f"{figures['pings']:,}"],
        *(
            [f"seconds between two pings, {name}", f"{figures[f'ping_seconds_{name}']:.2f}"]
            for name in ("least", "p50", "p99", "most")
        ),
        ["CPU ms a stream while they were held", f"{figures['cpu_ms_a_stream']:.2f}"],
    ]
    return Table("heartbeats", ["", OURS], rows)
