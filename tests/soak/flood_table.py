"""Every flood against every server, and the tables that come of it.

For example, two seconds of each against our gateway and its peer, once::

    figures = run("gateway", seconds=2.0, runs=1, advance=print)
    print(table("gateway", figures))
"""

from collections.abc import Callable, Mapping

import trio

from bench.document import DOCUMENT, fill, markdown
from tests.soak.floods import FLOODS, Flood
from tests.soak.measure import Figures, Memory, measure
from tests.soak.servers import SERVERS, Server

__all__ = ["HEAD", "broken_limits", "document", "rows", "run", "servers"]

_MS = 1_000
#: The row without a flood: what machine and clients add by themselves.
_NONE = "none"

Measured = dict[tuple[str, str], Figures]


def servers(kind: str) -> list[Server]:
    """List the servers of a kind, ours first."""
    return [server for server in SERVERS.values() if server.kind == kind]


def cases(names: list[str]) -> Mapping[str, Flood | None]:
    """List the floods with these names, or all, and first of all none."""
    return {_NONE: None} | {name: FLOODS[name] for name in names or FLOODS}


def run(
    kind: str, names: list[str], *, seconds: float, runs: int, advance: Callable[[str], None]
) -> Measured:
    """Measure each flood against each server of a kind; the servers take turns.

    Args:
        kind: "gateway" or "model".
        names: of floods; all if it is empty.
        seconds: for one flood.
        runs: how often; the lowest times count.
        advance: is called with what is measured next.

    """
    figures: Measured = {}
    for name, flood in cases(names).items():
        for _ in range(runs):
            for server in servers(kind):
                advance(f"{server.name}: {name}")
                measured = trio.run(measure, server, flood, seconds)
                key = (server.name, name)
                figures[key] = figures[key].best(measured) if key in figures else measured
    return figures


HEAD = ["flood", "server", "longest gap, ms", "health check, ms", "CPU", "memory, MiB"]


def rows(figures: Measured) -> list[list[str]]:
    """Return the rows of a table with :data:`HEAD`."""
    return [[flood, server, *_cells(measured)] for (server, flood), measured in figures.items()]


def _cells(figures: Figures) -> list[str]:
    if figures.has_ended:
        return ["it ended", "-", "-", "-"]
    return [
        f"{figures.gap * _MS:,.0f}",
        f"{figures.check * _MS:,.0f}",
        f"{figures.busy:.0%}",
        _memory(figures.memory),
    ]


def _memory(memory: Memory) -> str:
    steps = [memory.before, memory.most, memory.after]
    steps += [] if memory.again is None else [memory.again]
    return " → ".join(f"{step:.0f}" for step in steps)


def broken_limits(kind: str, figures: Measured) -> list[str]:
    """Say where a server of ours has not kept to the limits."""
    ours = {server.name for server in servers(kind) if server.is_ours}
    return [
        f"{server}, {name}: {broken}"
        for (server, name), measured in figures.items()
        if server in ours
        for broken in measured.broken_limits()
    ]


def contents() -> str:
    """Return the table of what a client writes in each flood."""
    head = ["flood", "a write", "connections", "a write of each connection every"]
    lines = [
        [flood.name, flood.content, f"{flood.connections:,}", f"{flood.interval:g} s"]
        for flood in FLOODS.values()
    ]
    return markdown(head, lines)


def document(kind: str, figures: Measured, settings: str) -> None:
    """Write the tables into docs/performance.md.

    Args:
        kind: "gateway" or "model".
        figures: what was measured.
        settings: a sentence on how.

    """
    fill("floods: contents", contents(), DOCUMENT)
    fill(f"floods: {kind}", f"{markdown(HEAD, rows(figures))}\n\n{settings}", DOCUMENT)
