"""Writes a table of the cases that passed, for each pair of peers and each event loop.

For example, a case that passes on trio and fails on asyncio has the cell
"**fails on asyncio**, trio".
"""

from collections import defaultdict
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

__all__ = ["InteropTable"]

MARKER = "interop_case"

#: The peers in the order of their columns; "us" is grpclib_anyio.
COLUMNS = {
    "grpcio-to-us": "grpcio → us",
    "grpclib-to-us": "grpclib → us",
    "us-to-grpcio": "us → grpcio",
    "us-to-grpclib": "us → grpclib",
    "us-to-us": "us → us",
    "us-to-h2": "us → h2",
}
PEERS = ("grpcio", "grpclib", "h2")

PREFACE = """\
# Interoperability

The table shows the results of gRPC's [interoperability cases][cases]. Each column is a pair of a
client and a server, client → server.

- "us" is `grpclib_anyio`. A cell names the event loops where the case passes.
- The peers are {versions}. h2 plays a server that breaks the rules.
- An empty cell is a case that makes no sense for that pair.

For example, "asyncio, trio" under "us → grpcio" means that our client passes the case with a server
of grpcio, on both event loops.

A run of the tests writes this file, so that it says what the tests saw:

    {command}

[cases]: https://github.com/grpc/grpc/blob/master/doc/interop-test-descriptions.md
"""
#: The session runs in packages/grpclib-anyio.
COMMAND = "nox -s transport -- tests/interop --interop-table ../../docs/interop.md"


@dataclass(eq=False)  # because pytest needs plugins that are hashable
class InteropTable:
    """A plugin of pytest that collects outcomes, and writes them when the session ends."""

    path: Path
    #: By case, peer and event loop: True if all tests passed. In the order of the tests.
    _outcomes: dict[str, dict[str, dict[str, bool]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(dict))
    )

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Record the outcome of each phase of a test with the marker of a case."""
        report = yield
        if (marker := item.get_closest_marker(MARKER)) is not None and not report.skipped:
            self._note(item, marker, passed=report.passed)
        return report

    def _note(self, item: Any, marker: pytest.Mark, *, passed: bool) -> None:
        parameters = item.callspec.params
        peer = marker.kwargs.get("peer") or parameters["pair"]
        loops = self._outcomes[marker.args[0]][peer]
        loop = parameters["anyio_backend"]
        loops[loop] = loops.get(loop, True) and passed

    def pytest_sessionfinish(self) -> None:
        """Write the table."""
        self.path.write_text("\n".join([*self._preface(), *self._table(), ""]), encoding="utf-8")

    def _preface(self) -> Iterator[str]:
        versions = ", ".join(f"{name} {version(name)}" for name in PEERS)
        yield PREFACE.format(versions=versions, command=COMMAND)

    def _table(self) -> Iterator[str]:
        yield _row("case", *COLUMNS.values())
        yield _row(*["---"] * (len(COLUMNS) + 1))
        for case, peers in self._outcomes.items():
            yield _row(f"`{case}`", *(_cell(peers.get(peer, {})) for peer in COLUMNS))


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(loops: dict[str, bool]) -> str:
    """Return the event loops of a case, and mark those where it failed."""
    return ", ".join(
        loop if passed else f"**fails on {loop}**" for loop, passed in sorted(loops.items())
    )
