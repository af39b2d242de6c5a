"""Peers with grpclib's interface: ours on the test's event loop, grpclib's own in a thread."""

import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import anyio.to_thread
import grpclib.client
import grpclib.server
from anyio.from_thread import BlockingPortal, start_blocking_portal
from betterproto.lib.google.protobuf import StringValue
from grpclib.client import (
    StreamStreamMethod,
    StreamUnaryMethod,
    UnaryStreamMethod,
    UnaryUnaryMethod,
)
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError

import grpclib_anyio.client
import grpclib_anyio.server
from grpclib_anyio._base.config import Configuration
from grpclib_anyio.betterproto.handlers import close_generators
from harness.ai import AiServiceStub, GenerateRequest, GenerateResponse
from interop.contract import (
    GENERATE,
    PATIENCE,
    Failure,
    Metadata,
    Reply,
    Witness,
)
from interop.peer import Call, Client, Endpoint, Untyped
from interop.services import EchoService, RawDetails, TokenService

if TYPE_CHECKING:
    from grpclib._typing import IServable

__all__ = ["grpclib_client", "grpclib_server", "our_client", "our_server"]

T = TypeVar("T")


@asynccontextmanager
async def our_server(
    endpoint: Endpoint, witness: Witness, config: Configuration | None = None
) -> AsyncGenerator[Endpoint, None]:
    server = grpclib_anyio.server.Server(
        [TokenService(witness), EchoService(witness)],
        status_details_codec=RawDetails(),
        config=config,
    )
    security = endpoint.security
    where: dict[str, Any] = {"host": "127.0.0.1", "port": endpoint.port}
    serve = partial(
        server.serve,
        **({"path": endpoint.path} if endpoint.path else where),
        ssl=None if security is None else security.server_context(),
    )
    async with anyio.create_task_group() as tasks:
        (address,) = await tasks.start(serve)
        yield endpoint if endpoint.path else Endpoint(address[1], None, security)
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def our_client(
    endpoint: Endpoint, config: Configuration | None = None
) -> AsyncGenerator[Client, None]:
    channel = grpclib_anyio.client.Channel(
        **_channel_options(endpoint), status_details_codec=RawDetails(), config=config
    )
    async with channel:
        yield GrpclibClient(channel)


@asynccontextmanager
async def grpclib_server(endpoint: Endpoint, witness: Witness) -> AsyncGenerator[Endpoint, None]:
    running = _grpclib_server(endpoint, witness)
    with (
        start_blocking_portal("asyncio") as portal,
        portal.wrap_async_context_manager(running) as bound,
    ):
        yield bound


@asynccontextmanager
async def _grpclib_server(endpoint: Endpoint, witness: Witness) -> AsyncGenerator[Endpoint, None]:
    services: list[IServable] = [TokenService(witness), EchoService(witness)]
    for service in services:
        close_generators(
            service
        )  # else a cancelled handler's clean-up waits for the garbage collector
    server = grpclib.server.Server(services, status_details_codec=RawDetails())
    security = endpoint.security
    context = None if security is None else security.server_context()
    if endpoint.path:
        await server.start(path=endpoint.path, ssl=context)
    else:
        # asyncio sets TCP_NODELAY only where the protocol is named.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", endpoint.port))
        endpoint = Endpoint(listener.getsockname()[1], None, security)
        await server.start(sock=listener, ssl=context)
    try:
        yield endpoint
    finally:
        server.close()
        with anyio.CancelScope(shield=True), anyio.fail_after(PATIENCE):
            await server.wait_closed()


@asynccontextmanager
async def grpclib_client(endpoint: Endpoint) -> AsyncGenerator[Client, None]:
    connected = _grpclib_client(endpoint)
    with (
        start_blocking_portal("asyncio") as portal,
        portal.wrap_async_context_manager(connected) as client,
    ):
        yield _InPortal(portal, client)


@asynccontextmanager
async def _grpclib_client(endpoint: Endpoint) -> AsyncGenerator[Client, None]:
    options = _channel_options(endpoint)
    async with grpclib.client.Channel(**options, status_details_codec=RawDetails()) as channel:
        yield GrpclibClient(channel)
        transport = _transport_of(channel)
    with anyio.CancelScope(shield=True), anyio.fail_after(PATIENCE):
        await _abort(transport)


def _transport_of(channel: Untyped) -> Untyped:
    """Find what grpclib deletes when it closes the connection, and does not wait for."""
    connection = getattr(channel._protocol, "connection", None)  # noqa: SLF001 - no other way
    return getattr(connection, "_transport", None)


async def _abort(transport: Untyped) -> None:
    """Close the socket now: asyncio gives the good-byes of TLS half a minute."""
    if transport is None:
        return
    sock = transport.get_extra_info("socket")
    transport.abort()
    while sock.fileno() != -1:  # noqa: ASYNC110 - asyncio has no event for it
        await anyio.sleep(0.001)


def _channel_options(endpoint: Endpoint) -> dict[str, Any]:
    security = endpoint.security
    where = (
        {"path": endpoint.path} if endpoint.path else {"host": "127.0.0.1", "port": endpoint.port}
    )
    return {**where, "ssl": security and security.client_context()}


class GrpclibClient:
    """Calls on any channel with grpclib's interface."""

    def __init__(self, channel: Untyped) -> None:
        self._channel = channel

    async def unary(
        self, method: str, text: str, *, metadata: Metadata = (), within: float | None = None
    ) -> Reply:
        call = UnaryUnaryMethod(self._channel, _path(method), StringValue, StringValue)
        with _failures(), anyio.fail_after(PATIENCE):
            async with call.open(timeout=within, metadata=metadata) as stream:
                await stream.send_message(StringValue(text), end=True)
                reply = await stream.recv_message()
        assert reply is not None
        return Reply(reply.value, _own(stream.initial_metadata), _own(stream.trailing_metadata))

    async def join(self, texts: Sequence[str]) -> str:
        call = StreamUnaryMethod(self._channel, _path("Join"), StringValue, StringValue)
        with _failures(), anyio.fail_after(PATIENCE):
            reply = await call(list(map(StringValue, texts)))
        return reply.value

    async def chat(self, texts: Sequence[str]) -> list[str]:
        call = StreamStreamMethod(self._channel, _path("Chat"), StringValue, StringValue)
        replies: list[str] = []
        with _failures(), anyio.fail_after(PATIENCE):
            async with call.open() as stream:
                await stream.send_request()
                for text in texts:
                    await stream.send_message(StringValue(text))
                    reply = await stream.recv_message()
                    assert reply is not None
                    replies.append(reply.value)
                await stream.end()
                assert await stream.recv_message() is None
        return replies

    async def generate(
        self, prompt: str, session: str = "", *, within: float | None = None
    ) -> list[str]:
        answer = AiServiceStub(self._channel).generate(
            GenerateRequest(prompt, session), timeout=within
        )
        with _failures(), anyio.fail_after(PATIENCE):
            return [message.token async for message in answer if not message.done]

    @asynccontextmanager
    async def open(
        self, prompt: str, session: str = "", *, within: float | None = None
    ) -> AsyncGenerator[Call, None]:
        method = UnaryStreamMethod(self._channel, GENERATE, GenerateRequest, GenerateResponse)
        with suppress(_Left):
            async with method.open(timeout=within) as stream:
                await stream.send_message(GenerateRequest(prompt, session), end=True)
                yield _GrpclibCall(stream)
                raise _Left  # else it waits for the status


class _Left(Exception):  # noqa: N818 - nothing went wrong
    """The caller has no more interest in the call."""


class _GrpclibCall:
    def __init__(self, stream: Untyped) -> None:
        self._stream = stream

    async def receive(self) -> str | None:
        with _failures(), anyio.fail_after(PATIENCE):
            message = await self._stream.recv_message()
            if message is None or message.done:
                await self._stream.recv_trailing_metadata()
                return None
        return message.token  # type: ignore[no-any-return]

    async def cancel(self) -> None:
        await self._stream.cancel()


class _InPortal:
    """A client that lives in another thread's event loop."""

    def __init__(self, portal: BlockingPortal, client: Client) -> None:
        self._portal = portal
        self._client = client

    async def unary(
        self, method: str, text: str, *, metadata: Metadata = (), within: float | None = None
    ) -> Reply:
        function = partial(self._client.unary, metadata=metadata, within=within)
        return await _call_in(self._portal, function, method, text)

    async def join(self, texts: Sequence[str]) -> str:
        return await _call_in(self._portal, self._client.join, texts)

    async def chat(self, texts: Sequence[str]) -> list[str]:
        return await _call_in(self._portal, self._client.chat, texts)

    async def generate(
        self, prompt: str, session: str = "", *, within: float | None = None
    ) -> list[str]:
        function = partial(self._client.generate, within=within)
        return await _call_in(self._portal, function, prompt, session)

    @asynccontextmanager
    async def open(
        self, prompt: str, session: str = "", *, within: float | None = None
    ) -> AsyncGenerator[Call, None]:
        opened = self._client.open(prompt, session, within=within)
        manager = self._portal.wrap_async_context_manager(opened)
        call = await anyio.to_thread.run_sync(manager.__enter__)
        try:
            yield _CallInPortal(self._portal, call)
        finally:
            with anyio.CancelScope(shield=True):  # bounded: the call gives up by itself
                await anyio.to_thread.run_sync(manager.__exit__, None, None, None)


class _CallInPortal:
    def __init__(self, portal: BlockingPortal, call: Call) -> None:
        self._portal = portal
        self._call = call

    async def receive(self) -> str | None:
        return await _call_in(self._portal, self._call.receive)

    async def cancel(self) -> None:
        await _call_in(self._portal, self._call.cancel)


async def _call_in(
    portal: BlockingPortal, function: Callable[..., Awaitable[T]], *arguments: Untyped
) -> T:
    return await anyio.to_thread.run_sync(portal.call, function, *arguments)


@contextmanager
def _failures() -> Generator[None, None, None]:
    try:
        yield
    except GRPCError as error:
        raise Failure(error.status, error.message, error.details) from error
    except TimeoutError as error:  # grpclib's for a deadline
        raise Failure(Status.DEADLINE_EXCEEDED, str(error)) from error
    except StreamTerminatedError as error:  # grpclib's own has no status
        is_reset = "reset" in str(error)
        status = Status.CANCELLED if is_reset else Status.UNAVAILABLE
        raise Failure(status, str(error)) from error


def _path(method: str) -> str:
    return method if "/" in method else f"/interop.Echo/{method}"


def _own(metadata: Untyped) -> Metadata:
    return tuple((key, value) for key, value in metadata.items() if "x-" in key)
