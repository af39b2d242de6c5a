"""schemathesis asks a real gateway with a real model what its OpenAPI document allows, and forbids.

Each request is made from the document, and the same in every run: the edges of each field, wrong
types, values by the hundred, other methods. No answer is a 5xx that is not documented, none has a
shape or a status that is not described, and none takes longer than ten seconds.
"""

import os
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

from harness.programs import OUTPUT_TIMEOUT, Program, run_module
from tests.support.gateway_program import run_gateway

CONFIG = Path(__file__).parents[1] / "support/schemathesis.toml"
#: It takes ten on a quiet machine.
SECONDS = 50
CHECKS = "tests.support.schemathesis_checks"
ARGUMENTS = (
    f"--config-file={CONFIG}",
    "run",
    "--generation-deterministic",
    # Random requests for each operation, beside some hundred that are at the edges.
    "--max-examples=20",
    "--request-timeout=10",
    "--checks=all",
    # Ours knows which refusals are the model's.
    "--exclude-checks=positive_data_acceptance",
    "--no-color",
)


@contextmanager
def run_model() -> Generator[tuple[Program, str]]:
    """Run the demo backend without its pauses; gives its address as well."""
    arguments = ("--backend=demo", "--demo-delay=0", "--port=0", "--log-format=json")
    with run_module("relay_model", *arguments) as program:
        port = program.wait_for(r'"addresses": \[\["127\.0\.0\.1", (\d+)\]')[1]
        yield program, f"127.0.0.1:{port}"


def test_what_the_document_says_is_so() -> None:
    with run_model() as (model, target), run_gateway(target) as (gateway, origin):
        arguments = (*ARGUMENTS, f"{origin}/openapi.json")
        done = subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", *arguments],
            capture_output=True,
            check=False,
            encoding="utf-8",
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(sys.path),  # its hooks are one of our helpers
                "SCHEMATHESIS_HOOKS": CHECKS,
            },
            timeout=SECONDS,
        )
        assert done.returncode == 0, _shortened(done.stdout + done.stderr)
        assert "No issues found" in done.stdout
        _wait_until_nothing_is_open(origin)
    for program in (gateway, model):
        with pytest.raises(AssertionError, match="no line matches"):
            program.wait_for("Traceback")


def _shortened(output: str) -> str:
    """Leave out what a request of two megabytes looks like."""
    return "\n".join(line[:500] for line in output.splitlines())


def _wait_until_nothing_is_open(origin: str) -> None:
    deadline = time.monotonic() + OUTPUT_TIMEOUT
    text = ""
    while "relay_requests_in_progress 0.0" not in text:
        assert time.monotonic() < deadline, text
        with urlopen(f"{origin}/metrics") as response:  # noqa: S310 - of the gateway above
            text = response.read().decode()
