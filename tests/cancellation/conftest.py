"""Says after a run how much of the matrix it has seen."""

import pytest

from tests.cancellation.table import impossible


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count the cells, which docs/cancellation/evidence.md quotes."""
    passed = [
        report.nodeid
        for report in terminalreporter.stats.get("passed", [])
        if "test_matrix.py::test_cell[" in report.nodeid
    ]
    if passed:
        pairs = sum(" + " in name for name in passed)
        terminalreporter.write_line(
            f"cancellation matrix: {len(passed) - pairs} cells with one ending, {pairs} with two"
            f" at the same instant; {len(impossible())} cannot exist"
        )
