"""The floods in small, without limits of time; `nox -s soak -- --floods` is the whole of it."""

import pytest
import trio

from bench.document import DOCUMENT
from tests.soak import flood_table
from tests.soak.floods import FLOODS
from tests.soak.leavers import leave_together
from tests.soak.measure import Figures, Memory, measure
from tests.soak.servers import SERVERS

#: Seconds of a flood: a write or two.
_SECONDS = 0.3


@pytest.mark.parametrize(
    ("server", "flood"),
    [
        ("relay-gateway", "requests taken back"),
        ("relay-gateway", "small DATA"),
        ("relay-model", "provoked resets"),
        ("hypercorn", "PING"),
        ("grpcio", "SETTINGS"),
    ],
)
def test_flood_is_survived_and_measured(server: str, flood: str) -> None:
    figures = trio.run(measure, SERVERS[server], FLOODS[flood], _SECONDS)
    assert figures.connections >= 1
    assert figures.failures == ()
    assert figures.gap > 0
    assert figures.check > 0
    assert figures.memory.before <= figures.memory.most


def test_browsers_that_leave_together_harm_nobody() -> None:
    departure = leave_together(120)
    assert departure.failures == []
    assert departure.browsers == 120


def test_documented_table_has_every_flood() -> None:
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    rows = [line.split(" | ") for line in lines]
    cells = [row for row in rows if len(row) == len(flood_table.HEAD) and row[1] in SERVERS]
    floods = list(flood_table.cases([]))
    for server in SERVERS:
        assert [cell[0].strip("| ") for cell in cells if cell[1] == server] == floods


def test_limits_are_reported() -> None:
    slow = Figures(gap=0.3, check=0.2, busy=1.0, memory=Memory(100, 300, 200, again=300))
    assert [text.split()[0] for text in slow.broken_limits()] == ["a", "a", "memory"]
    assert flood_table.broken_limits("gateway", {("hypercorn", "PING"): slow}) == []
    assert len(flood_table.broken_limits("gateway", {("relay-gateway", "PING"): slow})) == 3


def test_memory_that_is_kept_for_later_is_no_leak() -> None:
    assert Memory(100, 300, 105).is_back
    assert Memory(100, 300, 250, again=260).is_back
    assert not Memory(100, 300, 250, again=400).is_back
