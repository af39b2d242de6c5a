"""The gateway as a program: under plain hypercorn."""

from collections.abc import Generator
from contextlib import contextmanager

from harness.programs import Program, run_module

__all__ = ["run_gateway"]


@contextmanager
def run_gateway(
    model_target: str, **environment: str
) -> Generator[tuple[Program, str], None, None]:
    """Run the gateway under plain hypercorn on a free port; gives its origin as well."""
    arguments = ("--worker-class", "trio", "--bind", "127.0.0.1:0", "relay_gateway:app")
    with run_module(
        "hypercorn", *arguments, RELAY_MODEL_TARGET=model_target, **environment
    ) as program:
        yield program, program.wait_for(r"Running on (http://127\.0\.0\.1:\d+)")[1]
