"""``python -m tests.soak``: see what is left of rude clients, with a progress bar."""

import argparse
import random
import sys

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from tests.soak.aborts import PHASES, Latencies, measure
from tests.soak.soak import Report, soak


def main() -> int:
    """Run the program and return its exit code: 1 if anything is left."""
    parser = argparse.ArgumentParser("soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=2000, help="clients that come (2000)")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))  # noqa: S311 - no secret
    parser.add_argument(
        "--aborts", type=int, help="instead, clients that leave in each phase: how soon is it known"
    )
    arguments = parser.parse_args()
    console = Console()
    if arguments.aborts:
        _measure_aborts(arguments.aborts, console)
        return 0
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
