"""The plots of docs/performance.md.

For example, ``draw("idle", results, directory)`` writes ``memory.svg``.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.results import Results

__all__ = ["draw"]

#: Imported without types, because a part of each of its types is unknown.
_matplotlib: Any = import_module("matplotlib")
_figure: Any = import_module("matplotlib.figure")

_SIZE = (6.4, 3.6)
#: With these settings, the same figures give the same file.
_STYLE = {"svg.hashsalt": "bench", "svg.fonttype": "none"}


def draw(part: str, results: Results, directory: Path) -> list[Path]:
    """Draw the plots of a part, one file each; a plot without figures is left out."""
    directory.mkdir(parents=True, exist_ok=True)
    plots = _PLOTS.get(part, {})
    paths = {directory / f"{name}.svg": plot for name, plot in plots.items()}
    return [path for path, plot in paths.items() if _save(plot, results, path)]


def _save(plot: Callable[[Any, Results], None], results: Results, path: Path) -> bool:
    with _matplotlib.rc_context(_STYLE):
        figure = _figure.Figure(figsize=_SIZE, layout="constrained")
        axes = figure.subplots()
        plot(axes, results)
        if not axes.lines:
            return False
        axes.grid(alpha=0.3)
        axes.legend()
        figure.savefig(path, metadata={"Date": None})
    return True


def _line(axes: Any, results: Results, scenario: str, name: str, label: str, **style: Any) -> None:
    """Draw one figure of each program over the ``x`` of its runs."""
    for number, program in enumerate(results.names("program")):
        points = [
            (run["x"], results.figure(scenario, program, name, run["x"]))
            for run in results.runs
            if run["scenario"] == scenario and run["program"] == program and not run["repetition"]
        ]
        if points:
            axes.plot(
                *zip(*points, strict=True), label=f"{program}{label}", color=f"C{number}", **style
            )


def _cpu_over_rate(axes: Any, results: Results) -> None:
    _line(axes, results, "rate", "cpu_us_a_token", "", marker="o")
    axes.set(xscale="log", xlabel="tokens a second, all streams", ylabel="CPU µs a token", ylim=0)


def _latency_over_streams(axes: Any, results: Results) -> None:
    _line(axes, results, "rate", "latency_p50_ms", ", median", linestyle="--", marker=".")
    _line(axes, results, "rate", "latency_p99_ms", ", 99 of 100", marker="o")
    axes.set(xscale="log", yscale="log", ylabel="ms from the model to the browser")
    axes.set(xlabel="tokens a second, ten of each stream")


def _cpu_over_streams(axes: Any, results: Results) -> None:
    _line(axes, results, "streams", "cpu_us_a_token", "", marker="o")
    axes.set(xscale="log", xlabel="streams that share 1,000 tokens a second", ylim=0)
    axes.set(ylabel="CPU µs a token")


def _memory(axes: Any, results: Results) -> None:
    _line(axes, results, "memory", "kib_a_stream", "", marker="o")
    axes.set(xlabel="idle streams", ylabel="KiB a stream", ylim=0)


def _cancel(axes: Any, results: Results) -> None:
    for program in results.names("program"):
        points = _cancel_points(results, program)
        share = [100 * number / max(1, len(points) - 1) for number in range(len(points))]
        axes.plot(points, share, label=program)
    axes.set(xscale="log", xlabel="ms from the browser's close to the model's reset")
    axes.set(ylabel="% of requests")


def _cancel_points(results: Results, program: str) -> list[float]:
    """Return the points of all repetitions as one sorted list."""
    of_program = [run["figures"] for run in results.runs if run["program"] == program]
    return sorted(point for figures in of_program for point in figures.get("cancel_points_ms", ()))


_PLOTS: dict[str, dict[str, Callable[[Any, Results], None]]] = {
    "gateway": {"cancel-latency": _cancel},
    "growth": {
        "cpu-over-rate": _cpu_over_rate,
        "latency-over-streams": _latency_over_streams,
        "cpu-over-streams": _cpu_over_streams,
    },
    "idle": {"memory": _memory},
}
