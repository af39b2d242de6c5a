"""Every way to end in every phase: docs/cancellation/matrix.md, and matrix-of-posts.md.

Each row of them is a test. A cell runs the product from the browser's connection to the model's
generator, and compares what was seen with the row. What holds in every cell is asserted in
`cells.py`: the model's clean-up runs before anything else happens on its connection, nothing
follows a reset, one more request is answered, the browser's connection is closed in the end, and
nothing is left.
"""

import pytest

from tests.cancellation.cells import ENDINGS, PHASES_OF, Outcome, run_cell
from tests.cancellation.table import Cell, cells, impossible

CELLS = cells()
#: An ending of its own only beside another one.
ONLY_IN_PAIRS = {"model finishes", "hold ends"}


@pytest.mark.parametrize(("cell", "outcomes"), CELLS.items(), ids=map(str, CELLS))
def test_cell(cell: Cell, outcomes: set[Outcome]) -> None:
    # Which of two comes first is decided by the order of the tasks too: see more than one.
    for seed in range(len(cell.endings)):
        outcome = run_cell(cell.form, cell.phase, cell.endings, cell.http, seed=seed)
        assert outcome in outcomes


def test_no_cell_is_missing() -> None:
    """Each is in the table, over both kinds of HTTP where there are both, or has its reason."""
    expected = {
        Cell(form, phase, (ending,), http)
        for form, phases in PHASES_OF.items()
        for phase in phases
        for ending in ENDINGS
        for http in ("HTTP/1.1", "HTTP/2")
        if ending not in ONLY_IN_PAIRS
        and (phase, ending) not in impossible()
        and not (ending == "RST_STREAM" and http == "HTTP/1.1")
    }
    assert {cell for cell in CELLS if len(cell.endings) == 1} == expected


def test_two_at_one_instant_come_in_both_orders() -> None:
    pairs = {cell for cell in CELLS if len(cell.endings) > 1}
    assert pairs == {Cell(pair.form, pair.phase, pair.endings[::-1], pair.http) for pair in pairs}
