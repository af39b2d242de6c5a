"""``nox -s simulate -- [--neighbours] --seeds N``, or ``--seed K``: one with its schedule."""

import argparse
import logging
import sys
from collections import Counter
from time import monotonic

from tests.cancellation import neighbours, simulation
from tests.cancellation.simulation import Run, run_all

_WIDTH = 30
_SHOWN_FAILURES = 5


class _Progress:
    """The line that says how far it is."""

    def __init__(self, total: int) -> None:
        self.causes: Counter[str] = Counter()
        self.sessions = 0
        self._total = total
        self._done = 0
        self._failed = 0
        self._start = monotonic()

    def add(self, run: Run) -> None:
        """Count a run, and show it at once if it failed."""
        self._done += 1
        self.sessions += run.sessions
        self.causes += run.causes
        if run.failures:
            self._failed += 1
            sys.stderr.write(f"\r\033[Kseed {run.seed}: {run.failures[0]}\n")
        self._draw()

    def _draw(self) -> None:
        bar = "#" * (_WIDTH * self._done // self._total)
        left = (monotonic() - self._start) / self._done * (self._total - self._done)
        sys.stderr.write(
            f"\r\033[K[{bar:<{_WIDTH}}] {self._done}/{self._total} seeds, {self.sessions} sessions,"
            f" {self._failed} failed, {left:.0f} s left"
        )


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line says; the exit code is 1 if a seed failed."""
    parser = argparse.ArgumentParser(prog="nox -s simulate --", description=__doc__)
    parser.add_argument(
        "--neighbours", action="store_true", help="healthy calls among peers that misbehave"
    )
    parser.add_argument("--seeds", type=int, default=1000, help="how many, from 0 or from --first")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="only this one, with its schedule")
    options = parser.parse_args(arguments)
    simulate = neighbours.simulate if options.neighbours else simulation.simulate
    again = "nox -s simulate -- " + "--neighbours " * options.neighbours
    logging.getLogger().setLevel(logging.INFO)  # in which causes are recorded
    if options.seed is not None:
        run = simulate(options.seed)
        sys.stdout.write(f"{run}\n")
        return int(bool(run.failures))
    progress = _Progress(options.seeds)
    seeds = range(options.first, options.first + options.seeds)
    failed = run_all(seeds, progress.add, simulate)
    sys.stderr.write("\n")
    counts = ", ".join(f"{cause} {count}" for cause, count in progress.causes.most_common())
    sys.stdout.write(f"{options.seeds} seeds, {progress.sessions} sessions: {counts}\n")
    for run in failed[:_SHOWN_FAILURES]:
        sys.stdout.write(f"{again}--seed {run.seed}    # {run.failures[0]}\n")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
