"""``python -m tests.soak``: see what is left of rude clients, with a progress bar.

For example::

    nox -s soak                                  clients that do everything but behave
    nox -s soak -- --floods                      each flood, against our programs and their peers
    nox -s soak -- --floods --only PING --runs 1
    nox -s soak -- --leavers                     thousands of browsers that leave together
"""

import argparse
import os
import platform
import random
import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.programs import raise_descriptor_limit
from tests.soak import flood_table
from tests.soak.aborts import PHASES, Latencies, measure
from tests.soak.floods import FLOODS
from tests.soak.leavers import leave_together
from tests.soak.soak import Report, soak

if TYPE_CHECKING:
    from tests.soak.leavers import Departure

_KINDS = ("gateway", "model")


def main() -> int:
    """Run the program and return its exit code: 1 if anything is left, or a limit is passed."""
    arguments = _parser().parse_args()
    console = Console()
    raise_descriptor_limit()
    if arguments.floods:
        return _flood(arguments, console)
    if arguments.aborts:
        _measure_aborts(arguments.aborts, console)
        return 0
    if arguments.leavers:
        return _leave(arguments, console)
    with Progress(console=console) as progress:
        task = progress.add_task(f"seed {arguments.seed}", total=arguments.requests)
        report = soak(arguments.requests, arguments.seed, lambda: progress.advance(task))
    _print(report, console)
    return bool(report.leaks)


def _measure_aborts(count: int, console: Console) -> None:
    with Progress(console=console) as progress:
        task = progress.add_task("aborts", total=count * len(PHASES))
        measured = list(measure(count, lambda: progress.advance(task)))
    console.print(_table(measured))


def _table(measured: list[Latencies]) -> Table:
    table = Table("left", "clients", "median ms", "p99 ms", "longest ms")
    for one in measured:
        times = (one.percentile(50), one.percentile(99), max(one.milliseconds))
        shown = (f"{milliseconds:.1f}" for milliseconds in times)
        table.add_row(one.phase, str(len(one.milliseconds)), *shown)
    return table


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("soak", description="See what is left of rude clients.")
    parser.add_argument("--requests", type=int, default=2000, help="clients that come (2000)")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))  # noqa: S311 - no secret
    parser.add_argument(
        "--aborts", type=int, help="clients that leave in each phase: how soon is it known"
    )
    parser.add_argument("--floods", action="store_true", help="flood the programs")
    parser.add_argument("--leavers", action="store_true", help="have browsers leave together")
    parser.add_argument("--browsers", type=int, default=6000, help="that leave together (6000)")
    parser.add_argument("--only", nargs="+", default=[], choices=list(FLOODS), metavar="FLOOD")
    parser.add_argument("--kinds", nargs="+", default=_KINDS, choices=_KINDS, help="of servers")
    parser.add_argument("--seconds", type=float, default=10.0, help="for one flood (10)")
    parser.add_argument("--runs", type=int, default=3, help="the lowest times count (3)")
    parser.add_argument("--docs", action="store_true", help="write it into docs/performance.md")
    return parser


def _flood(arguments: argparse.Namespace, console: Console) -> int:
    broken: list[str] = []
    load = os.getloadavg()[0]
    for kind in arguments.kinds:
        figures = flood_table.run(
            kind,
            arguments.only,
            seconds=arguments.seconds,
            runs=arguments.runs,
            advance=lambda text: console.print(text, style="dim"),
        )
        shown = Table(*flood_table.HEAD)
        for row in flood_table.rows(figures):
            shown.add_row(*row)
        console.print(shown)
        broken += flood_table.broken_limits(kind, figures)
        if arguments.docs:
            flood_table.document(kind, figures, _settings(arguments, load))
    for text in broken:
        console.print(f"LIMIT: {text}", style="red")
    return bool(broken)


def _settings(arguments: argparse.Namespace, load: float) -> str:
    times = f"the lowest of {arguments.runs} runs" if arguments.runs > 1 else "one run"
    command = " ".join(["nox -s soak --", *sys.argv[1:]])
    return (
        f"`{command}`: {arguments.seconds:g} s of each flood, {times}; Python"
        f" {platform.python_version()}, {os.cpu_count()} cores, shared, with a load average of"
        f" {load:.1f} when it began."
    )


def _leave(arguments: argparse.Namespace, console: Console) -> int:
    departure: Departure = leave_together(arguments.browsers)
    for line in departure.lines():
        console.print(line)
    for text in departure.failures:
        console.print(f"FAILED: {text}", style="red")
    return bool(departure.failures)


def _print(report: Report, console: Console) -> None:
    clients = report.ways.total()
    console.print(
        f"{clients} clients in {report.seconds:.0f} s; the model died {report.deaths} times"
    )
    for title, counts in (("clients", report.ways), ("answers read", report.endings)):
        console.print(f"{title}:", ", ".join(f"{name} {n}" for name, n in counts.most_common()))
    for name, before, after in report.compared():
        console.print(f"{name:12} {before:>12,} before {after:>12,} after")
    for leak in report.leaks:
        console.print(f"LEAK: {leak}", style="red")


if __name__ == "__main__":
    sys.exit(main())
