"""``nox -s bench``: compares the programs with their peers, and shows how their cost grows.

For example::

    nox -s bench                         gateway and model service, each with its peer
    nox -s bench -- growth idle          how cost grows; 10,000 idle streams
    nox -s bench -- all --quick          everything, roughly
    nox -s bench -- all --docs           writes tables and plots into docs/performance.md

Programs take turns within each repetition, so that other load on the machine affects all of them.
"""

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as TerminalTable

from bench.document import DOCUMENT, fill, markdown
from bench.measure import Figures, measure_gateway, measure_model
from bench.plan import PARTS, Run, runs_of
from bench.plots import draw
from bench.programs import raise_descriptor_limit
from bench.results import Results, Settings
from bench.tables import Table, tables_of

_ARTIFACTS = Path(__file__).parent.parent / "artifacts" / "bench"
_DEFAULT_PARTS = ["gateway", "model"]
_COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TimeElapsedColumn(),
)


def _measure(run: Run) -> Figures:
    measure = measure_model if run.part == "model" else measure_gateway
    return measure(run.program, run.job)


def _run_all(part: str, runs: list[Run], console: Console, path: Path) -> Results:
    results = Results(Settings.now(" ".join(["nox -s bench --", *sys.argv[1:]])))
    with Progress(*_COLUMNS, console=console) as progress:
        task = progress.add_task(part, total=len(runs))
        for run in runs:
            at = f" {run.x:g}" if run.x else ""
            progress.update(task, description=f"{part}: {run.scenario}{at}, {run.program}")
            try:
                results.add(run, _measure(run))
            except RuntimeError as error:  # the other runs go on and keep their figures
                console.print(f"no figures of {run.scenario}{at}, {run.program}: {error}")
            results.save(path)
            progress.advance(task)
    return results


def _show(table: Table, console: Console) -> None:
    shown = TerminalTable(*table.head, title=table.title)
    for row in table.rows:
        shown.add_row(*row)
    console.print(shown)


def _document(part: str, results: Results) -> None:
    for table in tables_of(part, results):
        fill(f"{part}: {table.title}", markdown(table.head, table.rows))
    plots = draw(part, results, DOCUMENT.with_name(DOCUMENT.stem))
    shown = [f"![{plot.stem}]({plot.relative_to(DOCUMENT.parent)})" for plot in plots]
    fill(f"{part}: settings", "\n\n".join([*shown, results.settings.sentence()]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nox -s bench --", description="Compare the programs with peers."
    )
    choices = [*PARTS, "all"]
    parser.add_argument(
        "parts",
        nargs="*",
        metavar="PART",
        help=f"of {', '.join(choices)}; gateway and model if none is named",
    )
    parser.add_argument("--reps", type=int, help="repetitions; 3, and 1 of growth and idle")
    parser.add_argument("--quick", action="store_true", help="small runs, rough figures")
    parser.add_argument("--output", type=Path, default=_ARTIFACTS, help="for results and plots")
    parser.add_argument("--docs", action="store_true", help="write it into docs/performance.md")
    parser.add_argument("--redraw", action="store_true", help="measure nothing: use the results")
    return parser


def _parts(named: list[str], parser: argparse.ArgumentParser) -> list[str]:
    if unknown := set(named) - {*PARTS, "all"}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    return list(PARTS) if "all" in named else named or _DEFAULT_PARTS


def _stop(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


def main() -> None:
    """Measure, print tables, draw plots."""
    parser = _parser()
    arguments = parser.parse_args()
    console = Console()
    signal.signal(signal.SIGTERM, _stop)  # so that the programs it started are stopped, too
    raise_descriptor_limit()
    for part in _parts(arguments.parts, parser):
        path = arguments.output / f"{part}.json"
        if arguments.redraw:
            results = Results.load(path)
        else:
            usual = 3 if part in _DEFAULT_PARTS and not arguments.quick else 1
            runs = runs_of(part, arguments.reps or usual, is_quick=arguments.quick)
            results = _run_all(part, runs, console, path)
        for table in tables_of(part, results):
            _show(table, console)
        draw(part, results, arguments.output)
        if arguments.docs:
            _document(part, results)


if __name__ == "__main__":
    main()
