"""Figures and the settings under which they were measured, kept in a JSON file.

For example, the median of a figure over all repetitions::

    Results.load(path).figure("churn", "token-relay", "cancel_p50_ms")
"""

import json
import os
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Self

from bench.measure import Figures
from bench.plan import Run

__all__ = ["Results", "Settings"]

_PACKAGES = (
    "token-relay",
    "trio",
    "anyio",
    "h2",
    "hypercorn",
    "quart",
    "betterproto",
    "fastapi",
    "uvicorn",
    "uvloop",
    "httptools",
    "sse-starlette",
    "grpcio",
)


def _cpu_model() -> str:
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    match = re.search(r"model name\s*:\s*(.+)", text)
    return match[1] if match else platform.machine()


@dataclass(frozen=True)
class Settings:
    """What figures depend on: command, machine and versions."""

    command: str
    date: str
    python: str
    system: str
    cpu: str
    cores: int
    #: Of the minute before the measurement began: it shows what else ran.
    load_average: float
    versions: Mapping[str, str]

    @classmethod
    def now(cls, command: str) -> Self:
        """Return the settings of this machine."""
        return cls(
            command,
            datetime.now(UTC).date().isoformat(),
            sys.version.split()[0],
            f"{platform.system()} {platform.release().partition('-')[0]}",
            _cpu_model(),
            os.cpu_count() or 1,
            os.getloadavg()[0],
            {name: version(name) for name in _PACKAGES},
        )

    def sentence(self) -> str:
        """Return the settings as text for a document."""
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return (
            f"`{self.command}`, {self.date}; Python {self.python}, {self.system}, "
            f"{self.cores} cores of {self.cpu}, with a load average of {self.load_average:.1f} "
            f"when it began; {versions}."
        )


@dataclass
class Results:
    """The figures of each run of a part."""

    settings: Settings
    runs: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def add(self, run: Run, figures: Figures) -> None:
        """Add the figures of a run."""
        fields = asdict(run)
        del fields["job"]
        self.runs.append({**fields, "figures": figures})

    def figure(
        self, scenario: str, program: str, name: str, x: float | None = None
    ) -> float | None:
        """Return the median of a figure over the repetitions; None if no run has it."""
        values = [
            run["figures"][name]
            for run in self.runs
            if (run["scenario"], run["program"]) == (scenario, program)
            and x in (None, run["x"])
            and name in run["figures"]
        ]
        return median(values) if values else None

    def names(self, key: str) -> list[Any]:
        """List the different values of a field of the runs, in order."""
        return list(dict.fromkeys(run[key] for run in self.runs))

    def save(self, path: Path) -> None:
        """Write everything to a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{json.dumps(asdict(self), indent=1)}\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file that :meth:`save` wrote."""
        fields = json.loads(path.read_text(encoding="utf-8"))
        return cls(Settings(**fields["settings"]), fields["runs"])
