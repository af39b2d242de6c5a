"""``python -m tests.soak``: see what is left of rude clients, with a progress bar."""

import argparse
import random
import sys

from rich.console import Console
from rich.progress import Progress

from tests.soak.soak import Report, soak


def main() -> int:
    """Run the program and return its exit code: 1 if anything is left."""
    parser = argparse.ArgumentParser("soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=2000, help="clients that come (2000)")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))  # noqa: S311 - no secret
    arguments = parser.parse_args()
    console = Console()
    with Progress(console=console) as progress:
        task = progress.add_task(f"seed {arguments.seed}", total=arguments.requests)
        report = soak(arguments.requests, arguments.seed, lambda: progress.advance(task))
    _print(report, console)
    return bool(report.leaks)


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
