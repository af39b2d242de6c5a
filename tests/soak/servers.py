"""The servers that are flooded: ours, and those that they are compared with.

For example, a gateway with its model service, for as long as the block lasts::

    with SERVERS["relay-gateway"].run() as running:
        print(running.port, running.pid)
"""

from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Literal

from harness.programs import Program, run_module

__all__ = ["SERVERS", "Running", "Server"]

#: Seconds between two tokens of every answer.
_DELAY = 0.02

Kind = Literal["gateway", "model"]


@dataclass(frozen=True)
class Running:
    """A server's process."""

    program: Program
    port: int

    @property
    def pid(self) -> int:
        """Its number."""
        return self.program.pid


@dataclass(frozen=True)
class Server:
    """A server, and whether it has to keep to the limits."""

    name: str
    kind: Kind
    run: Callable[[], AbstractContextManager[Running]]
    is_ours: bool = False


def _running(program: Program, pattern: str) -> Running:
    return Running(program, int(program.wait_for(pattern)[1]))


_RUNNING_ON = r"Running on \S*127\.0\.0\.1:(\d+)"


@contextmanager
def _relay_model() -> Generator[Running]:
    arguments = ("--port=0", "--backend=demo", f"--demo-delay={_DELAY}")
    with run_module("relay_model", *arguments) as program:
        yield _running(program, r"event='serving'.*'127\.0\.0\.1', (\d+)")


@contextmanager
def _relay_gateway() -> Generator[Running]:
    with _relay_model() as model:
        target = f"--model-target=127.0.0.1:{model.port}"
        with run_module("relay_gateway", "--port=0", target) as program:
            yield _running(program, _RUNNING_ON)


@contextmanager
def _hypercorn() -> Generator[Running]:
    arguments = ("--worker-class=trio", "--workers=0", "--bind=127.0.0.1:0")
    with run_module("hypercorn", *arguments, "tests.soak.hypercorn_gateway:app") as program:
        yield _running(program, _RUNNING_ON)


@contextmanager
def _grpcio() -> Generator[Running]:
    with run_module("tests.soak.grpcio_model") as program:
        yield _running(program, _RUNNING_ON)


#: Ours first, by kind.
SERVERS: Mapping[str, Server] = {
    server.name: server
    for server in (
        Server("relay-gateway", "gateway", _relay_gateway, is_ours=True),
        Server("hypercorn", "gateway", _hypercorn),
        Server("relay-model", "model", _relay_model, is_ours=True),
        Server("grpcio", "model", _grpcio),
    )
}
