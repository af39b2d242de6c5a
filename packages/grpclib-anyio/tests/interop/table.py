"""Writes down which cases passed, between whom and on which event loop, as the run saw it."""

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

Which of the cases of gRPC's [interop-test-descriptions][cases] pass, client → server. "us" is
`grpclib_anyio`, on the event loops that the cell names; the others are {versions}.
h2 plays a server that breaks the rules. An empty cell is a case that makes no sense there.

This file is written by the run of the tests that it is about:

    {command}

[cases]: https://github.com/grpc/grpc/blob/master/doc/interop-test-descriptions.md
"""
COMMAND = "nox -s tests -- tests/grpclib_anyio/interop --interop-table docs/interop.md"


@dataclass(eq=False)  # pytest wants its plugins hashable
class InteropTable:
    """A plugin that collects outcomes, and writes them at the end of the session."""

    path: Path
    #: Whether all tests passed, by case, peer and loop, in the order of the tests.
    _outcomes: dict[str, dict[str, dict[str, bool]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(dict))
    )

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Note the outcome of each part of a test that is a case."""
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
    """Name the loops on which the case passed, and say where it did not."""
    return ", ".join(
        loop if passed else f"**fails on {loop}**" for loop, passed in sorted(loops.items())
    )
