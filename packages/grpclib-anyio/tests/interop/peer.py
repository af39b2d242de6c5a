"""What the tests want of a client and of a server, whichever library is behind it."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from interop.contract import Failure, Metadata, Reply, Witness
from interop.security import Security

__all__ = ["Call", "Client", "ClientMaker", "Endpoint", "ServerMaker", "Untyped", "failure_of"]

#: What grpcio has no type for, or what grpclib and we have types of our own for.
Untyped = Any


@dataclass(frozen=True)
class Endpoint:
    """Where a server listens: a port of this machine, any if 0, or the path of a unix socket."""

    port: int = 0
    path: str | None = None
    security: Security | None = None

    @property
    def target(self) -> str:
        """The name that grpcio has for it."""
        return f"unix:{self.path}" if self.path else f"127.0.0.1:{self.port}"


class Call(Protocol):
    """One call of Generate; every method raises ``Failure`` when the call fails."""

    async def receive(self) -> str | None:
        """Return the next token, None after the last one."""

    async def cancel(self) -> None:
        """Give up, as the library's users do."""


async def failure_of(call: Call) -> Failure:
    """Read on until the call fails."""
    try:
        while await call.receive() is not None:
            pass
    except Failure as failure:
        return failure
    raise AssertionError("the call succeeded")


class Client(Protocol):
    """Calls one server, over one connection; ``within`` is sent to it as grpc-timeout."""

    async def unary(
        self, method: str, text: str, *, metadata: Metadata = (), within: float | None = None
    ) -> Reply:
        """Call a method that takes one message and gives one, of Echo or by its whole path."""
        ...

    async def join(self, texts: Sequence[str]) -> str:
        """Send all, get one."""
        ...

    async def chat(self, texts: Sequence[str]) -> list[str]:
        """Send one, get one, and again."""
        ...

    async def generate(
        self, prompt: str, session: str = "", *, within: float | None = None
    ) -> list[str]:
        """Return all tokens of an answer."""
        ...

    def open(
        self, prompt: str, session: str = "", *, within: float | None = None
    ) -> AbstractAsyncContextManager[Call]:
        """Call Generate; the call is cancelled at the end if it goes on."""
        ...


class ClientMaker(Protocol):
    def __call__(self, endpoint: Endpoint) -> AbstractAsyncContextManager[Client]: ...


class ServerMaker(Protocol):
    def __call__(
        self, endpoint: Endpoint, witness: Witness
    ) -> AbstractAsyncContextManager[Endpoint]: ...
