"""The contract for servers with grpclib's interface: grpclib's own on asyncio, and ours.

One code for both: that is what a drop-in is.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import anyio.to_thread
from grpclib import GRPCError, Status
from grpclib.const import Handler
from grpclib.encoding.base import StatusDetailsCodecBase

from harness.ai import AiServiceBase, GenerateRequest, GenerateResponse
from interop.contract import (
    DETAILS,
    ECHO_METHODS,
    GENERATE,
    MESSAGE,
    StringValue,
    Witness,
    flood,
    token,
)
from interop.peer import Untyped

__all__ = ["EchoService", "RawDetails", "TokenService"]

Generated = Callable[[Any], Awaitable[None]]

#: The call that a generated handler serves, which it does not pass on.
_stream: ContextVar[Any] = ContextVar("_stream")


class RawDetails(StatusDetailsCodecBase):
    """Status details as the bytes they are on the wire."""

    def encode(self, status: Status, message: str | None, details: bytes) -> bytes:  # noqa: ARG002
        return details

    def decode(self, status: Status, message: str | None, data: bytes) -> bytes:  # noqa: ARG002
        return data


class TokenService(AiServiceBase):
    """Does what the prompt says; for example, "hang 3" sends three tokens and then hangs."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness

    def __mapping__(self) -> dict[str, Handler]:
        mapping = super().__mapping__()
        method = mapping[GENERATE]
        generated: Generated = cast("Any", method).func
        return {GENERATE: method._replace(func=partial(self._call, generated))}

    async def _call(self, generated: Generated, stream: Untyped) -> None:
        previous = _stream.set(stream)
        try:
            await generated(stream)
        finally:
            _stream.reset(previous)

    async def generate(  # noqa: ASYNC900 - the transport closes it
        self, generate_request: GenerateRequest
    ) -> AsyncIterator[GenerateResponse]:
        what, _, number = generate_request.prompt.partition(" ")
        session = generate_request.session_id
        self._witness.peers.add(str(_stream.get().peer.addr()))
        self._witness.started(session).set()
        try:
            if what == "sizes":
                for size in number.split():
                    yield GenerateResponse("0" * int(size))
                number = "0"
            for index in range(int(number)):
                if what == "step":
                    await anyio.to_thread.run_sync(self._witness.steps(session).acquire)
                yield GenerateResponse((flood if what == "flood" else token)(index))
            match what:
                case "hang":
                    await anyio.sleep_forever()
                case "fail":
                    raise GRPCError(Status.ABORTED, MESSAGE, DETAILS)
                case "reset":
                    await _stream.get().cancel()
                case "crash":
                    raise LookupError("a bug in the handler")
                case _:
                    yield GenerateResponse(done=True)
        finally:
            self._witness.ended(session).set()


@dataclass
class EchoService:
    """Handlers as they are written without betterproto."""

    witness: Witness
    _methods: dict[str, Callable[[Any], Awaitable[None]]] = field(init=False)

    def __post_init__(self) -> None:
        self._methods = {
            "Echo": self.echo,
            "Remaining": self.remaining,
            "Fail": self.fail,
            "Crash": self.crash,
            "Zeros": self.zeros,
            "Join": self.join,
            "Chat": self.chat,
        }

    def __mapping__(self) -> dict[str, Handler]:
        return {
            f"/interop.Echo/{name}": Handler(
                self._methods[name], cardinality, StringValue, StringValue
            )
            for name, cardinality in ECHO_METHODS.items()
        }

    async def echo(self, stream: Untyped) -> None:
        request = await stream.recv_message()
        own = [(key, value) for key, value in stream.metadata.items() if key.startswith("x-")]
        await stream.send_initial_metadata(metadata=own)
        await stream.send_message(request)
        await stream.send_trailing_metadata(
            metadata=[(f"trailing-{key}", value) for key, value in own]
        )

    async def remaining(self, stream: Untyped) -> None:
        await stream.recv_message()
        await stream.send_message(StringValue(str(stream.deadline.time_remaining())))

    async def fail(self, stream: Untyped) -> None:
        request = await stream.recv_message()
        status, _, message = request.value.partition(" ")
        raise GRPCError(Status[status], message or MESSAGE, DETAILS)

    async def crash(self, stream: Untyped) -> None:
        await stream.recv_message()
        raise LookupError("a bug in the handler")

    async def zeros(self, stream: Untyped) -> None:
        request = await stream.recv_message()
        await stream.send_message(StringValue("0" * int(request.value.split()[0])))

    async def join(self, stream: Untyped) -> None:
        texts = [request.value async for request in stream]
        await stream.send_message(StringValue("".join(texts)))

    async def chat(self, stream: Untyped) -> None:
        async for request in stream:
            await stream.send_message(request)
