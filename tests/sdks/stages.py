"""The programs that a client talks to: a gateway under hypercorn, a wire, and a model service."""

import json
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from harness.programs import Program, run_module
from tests.sdks.scripted import ENTRY_POINT
from tests.support.gateway_program import run_gateway

__all__ = ["Stage", "install_scripted", "new_mark", "run_service", "staged", "until"]

_marks = count(1)


@dataclass(frozen=True)
class Stage:
    """Programs that run."""

    origin: str
    model: Program
    wire: Program
    gateway: Program

    @property
    def base_url(self) -> str:
        """What clients are given."""
        return f"{self.origin}/v1"

    def until(self, event: str, prompt: str) -> dict[str, Any]:
        """Wait until the scripted backend reports something of a prompt, and give the report."""
        return until(self.model, event, prompt)

    def reported(self, event: str, prompt: str) -> list[dict[str, Any]]:
        """Give what the scripted backend reported of a prompt, before what was waited for last."""
        return [_json(line) for line in self.model.seen(_pattern(event, prompt=prompt))]

    def frames(self, mark: str, *, before: str) -> list[dict[str, Any]]:
        """Give what the wire has seen of a request before another one, by their marks.

        The gateway has one connection to its model, so these are all of its frames if the other
        request has been answered.
        """
        self.wire.wait_for(_pattern("asked", mark=before))
        return [_json(line) for line in self.wire.seen(_pattern(r"[^\"]*", mark=mark))]


def until(model: Program, event: str, prompt: str) -> dict[str, Any]:
    """Wait until a service with the scripted backend reports something of a prompt."""
    return _json(model.wait_for(_pattern(event, prompt=prompt)).string)


def new_mark() -> str:
    """Make a mark that no other request has."""
    return f"m{next(_marks)}."


def _pattern(event: str, **fields: str) -> str:
    ((name, value),) = fields.items()
    return rf'"event": "{event}", "{name}": {json.dumps(value)}'


def _json(line: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(line)
    return report


def install_scripted(path: Path) -> str:
    """Write what installing the backend's package would; gives the PYTHONPATH that has it."""
    info = path / "scripted_backend-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: scripted-backend\nVersion: 1.0\n", encoding="utf-8")
    points = f"[token_relay.backends]\n{ENTRY_POINT}\n"
    (info / "entry_points.txt").write_text(points, encoding="utf-8")
    return os.pathsep.join([str(path), *sys.path])


@contextmanager
def run_service(
    backend: str, *arguments: str, **environment: str
) -> Generator[tuple[Program, str]]:
    """Run a model service with a backend; gives its port as well."""
    service = ("--backend", backend, "--port", "0", "--log-format", "json", *arguments)
    with run_module("relay_model", *service, **environment) as model:
        yield model, model.wait_for(r'"addresses": \[\["127\.0\.0\.1", (\d+)\]')[1]


@contextmanager
def staged(backend: str, *arguments: str, **environment: str) -> Generator[Stage]:
    """Run a model service with a backend, and a gateway in front of it."""
    with (
        run_service(backend, *arguments, **environment) as (model, service_port),
        run_module("tests.sdks.wire", service_port) as wire,
    ):
        port = wire.wait_for(r'"listening", "port": (\d+)')[1]
        with run_gateway(f"127.0.0.1:{port}") as (gateway, origin):
            yield Stage(origin, model, wire, gateway)
