"""Peers made with grpcio: C code with threads of its own, driven through its blocking interface.

grpcio knows nothing of our stubs: it is given paths and functions that make bytes of messages.
"""

import threading
from collections.abc import (
    AsyncGenerator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, TypeVar

import anyio.to_thread
import grpc
from betterproto import Message
from betterproto.lib.google.protobuf import StringValue
from grpclib.const import Status

from harness.ai import GenerateRequest, GenerateResponse
from interop.contract import (
    DETAILS,
    GENERATE,
    MESSAGE,
    PATIENCE,
    Failure,
    Metadata,
    Reply,
    Witness,
    flood,
    token,
)
from interop.peer import Call, Client, Endpoint, Untyped

__all__ = ["GrpcioServer", "grpcio_client", "grpcio_server"]

T = TypeVar("T")

#: Calls at the same time, each of which blocks a thread at either end.
CALLS = 100

DETAILS_KEY = "grpc-status-details-bin"

STATUS_CODES = {Status[code.name]: code for code in grpc.StatusCode}


class GrpcioServer:
    """The contract's services on a grpcio server."""

    def __init__(
        self, endpoint: Endpoint, witness: Witness, options: Mapping[str, Any] | None = None
    ) -> None:
        self._threads = ThreadPoolExecutor(CALLS)
        self._server = grpc.server(
            self._threads,
            [_token_service(witness), _echo_service()],
            options=list({"grpc.so_reuseport": 0, **(options or {})}.items()),
        )
        self.endpoint = self._bind(endpoint)
        self._server.start()

    def _bind(self, endpoint: Endpoint) -> Endpoint:
        if endpoint.security is None:
            port = self._server.add_insecure_port(endpoint.target)
        else:
            credentials = endpoint.security.server_credentials()
            port = self._server.add_secure_port(endpoint.target, credentials)
        return endpoint if endpoint.path else Endpoint(port, None, endpoint.security)

    def stop(self, grace: float | None) -> threading.Event:
        """Take no new calls; end the others after ``grace`` seconds, at once if None."""
        return self._server.stop(grace)

    def close(self) -> None:
        self._server.stop(None).wait(PATIENCE)
        self._threads.shutdown()


@asynccontextmanager
async def grpcio_server(
    endpoint: Endpoint, witness: Witness, options: Mapping[str, Any] | None = None
) -> AsyncGenerator[Endpoint, None]:
    async with running(GrpcioServer(endpoint, witness, options)) as server:
        yield server.endpoint


@asynccontextmanager
async def running(server: GrpcioServer) -> AsyncGenerator[GrpcioServer, None]:
    """Close the server at the end, without blocking the event loop that its clients run in."""
    try:
        yield server
    finally:
        with anyio.CancelScope(shield=True):  # bounded: close() is
            await anyio.to_thread.run_sync(server.close)


def _token_service(witness: Witness) -> grpc.GenericRpcHandler:
    method = grpc.unary_stream_rpc_method_handler(
        partial(_generate, witness),
        request_deserializer=GenerateRequest.FromString,
        response_serializer=bytes,
    )
    return grpc.method_handlers_generic_handler("ai.AIService", {"Generate": method})


def _generate(
    witness: Witness, request: GenerateRequest, context: grpc.ServicerContext
) -> Iterator[GenerateResponse]:
    what, _, number = request.prompt.partition(" ")
    ended = witness.ended(request.session_id)
    assert context.add_callback(ended.set)
    witness.peers.add(context.peer())
    witness.started(request.session_id).set()
    if what == "sizes":
        yield from (GenerateResponse("0" * int(size)) for size in number.split())
        number = "0"
    for index in range(int(number)):
        if what == "step":
            witness.steps(request.session_id).acquire(timeout=PATIENCE)
        yield GenerateResponse((flood if what == "flood" else token)(index))
    match what:
        case "hang":
            ended.wait(PATIENCE)
        case "fail":
            _abort(context, Status.ABORTED)
        case "reset":
            context.cancel()
            ended.wait(PATIENCE)
        case "crash":
            raise LookupError("a bug in the handler")
        case _:
            yield GenerateResponse(done=True)


def _echo_service() -> grpc.GenericRpcHandler:
    messages: dict[str, Any] = {
        "request_deserializer": StringValue.FromString,
        "response_serializer": bytes,
    }
    unary = grpc.unary_unary_rpc_method_handler
    return grpc.method_handlers_generic_handler(
        "interop.Echo",
        {
            "Echo": unary(_echo, **messages),
            "Remaining": unary(_remaining, **messages),
            "Fail": unary(_fail, **messages),
            "Crash": unary(_crash, **messages),
            "Zeros": unary(_zeros, **messages),
            "Join": grpc.stream_unary_rpc_method_handler(_join, **messages),
            "Chat": grpc.stream_stream_rpc_method_handler(_chat, **messages),
        },
    )


def _echo(request: StringValue, context: grpc.ServicerContext) -> StringValue:
    own = _own(context.invocation_metadata())
    context.send_initial_metadata(own)
    context.set_trailing_metadata(tuple((f"trailing-{key}", value) for key, value in own))
    return request


def _remaining(_request: StringValue, context: grpc.ServicerContext) -> StringValue:
    return StringValue(str(context.time_remaining()))


def _fail(request: StringValue, context: grpc.ServicerContext) -> StringValue:
    status, _, message = request.value.partition(" ")
    _abort(context, Status[status], message or MESSAGE)
    return request


def _abort(context: grpc.ServicerContext, status: Status, message: str = MESSAGE) -> None:
    context.set_trailing_metadata(((DETAILS_KEY, DETAILS),))
    context.abort(STATUS_CODES[status], message)


def _crash(_request: StringValue, _context: grpc.ServicerContext) -> StringValue:
    raise LookupError("a bug in the handler")


def _zeros(request: StringValue, _context: grpc.ServicerContext) -> StringValue:
    return StringValue("0" * int(request.value.split()[0]))


def _join(requests: Iterator[StringValue], _context: grpc.ServicerContext) -> StringValue:
    return StringValue("".join(request.value for request in requests))


def _chat(requests: Iterator[StringValue], _context: grpc.ServicerContext) -> Iterator[StringValue]:
    return requests


@asynccontextmanager
async def grpcio_client(
    endpoint: Endpoint, options: Mapping[str, Any] | None = None
) -> AsyncGenerator[Client, None]:
    # grpcio shares connections between channels of equal arguments, even of another test.
    own = list({"grpc.use_local_subchannel_pool": 1, **(options or {})}.items())
    if endpoint.security is None:
        channel = grpc.insecure_channel(endpoint.target, own)
    else:
        credentials = endpoint.security.channel_credentials()
        channel = grpc.secure_channel(endpoint.target, credentials, own)
    try:
        yield GrpcioClient(channel)
    finally:
        channel.close()


class GrpcioClient:
    """grpcio's client; each of its blocking calls in a thread, and none without a deadline."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self._limiter = anyio.CapacityLimiter(CALLS)

    async def unary(
        self, method: str, text: str, *, metadata: Metadata = (), within: float | None = None
    ) -> Reply:
        call = self._prepare(self._channel.unary_unary, method)
        start = partial(call.with_call, metadata=metadata, timeout=within or PATIENCE)
        reply, outcome = await self._in_thread(start, StringValue(text))
        initial, trailing = outcome.initial_metadata(), outcome.trailing_metadata()
        return Reply(reply.value, _own(initial), _own(trailing))

    async def join(self, texts: Sequence[str]) -> str:
        call = partial(self._prepare(self._channel.stream_unary, "Join"), timeout=PATIENCE)
        reply: StringValue = await self._in_thread(call, map(StringValue, texts))
        return reply.value

    async def chat(self, texts: Sequence[str]) -> list[str]:
        call = partial(self._prepare(self._channel.stream_stream, "Chat"), timeout=PATIENCE)
        replies = await self._in_thread(lambda: list(_in_turns(call, texts)))
        return [reply.value for reply in replies]

    async def generate(
        self, prompt: str, session: str = "", *, within: float | None = None
    ) -> list[str]:
        answer = self._start(prompt, session, within)
        messages = await self._in_thread(lambda: list(answer))
        return [message.token for message in messages if not message.done]

    @asynccontextmanager
    async def open(
        self, prompt: str, session: str = "", *, within: float | None = None
    ) -> AsyncGenerator[Call, None]:
        answer = self._start(prompt, session, within)
        try:
            yield _GrpcioCall(answer, self._in_thread)
        finally:
            answer.cancel()

    def _start(self, prompt: str, session: str, within: float | None) -> Untyped:
        call = self._channel.unary_stream(
            GENERATE,
            request_serializer=bytes,
            response_deserializer=GenerateResponse.FromString,
        )
        return call(GenerateRequest(prompt, session), timeout=within or PATIENCE)

    def _prepare(self, kind: Callable[..., Any], method: str) -> Untyped:
        return kind(
            method if "/" in method else f"/interop.Echo/{method}",
            request_serializer=bytes,
            response_deserializer=StringValue.FromString,
        )

    async def _in_thread(self, function: Callable[..., T], *arguments: Untyped) -> T:
        with _failures():
            return await anyio.to_thread.run_sync(function, *arguments, limiter=self._limiter)


class _GrpcioCall:
    def __init__(self, answer: Untyped, in_thread: Callable[..., Any]) -> None:
        self._answer = answer
        self._in_thread = in_thread

    async def receive(self) -> str | None:
        message = await self._in_thread(next, self._answer, None)
        if message is None or not message.done:
            return message and message.token  # type: ignore[no-any-return]
        return await self.receive()  # the status follows

    async def cancel(self) -> None:
        self._answer.cancel()


def _in_turns(
    call: Callable[[Iterable[Message]], Iterator[StringValue]], texts: Sequence[str]
) -> Iterator[StringValue]:
    """Yield each reply before the next request is sent."""
    turn = threading.Semaphore()

    def requests() -> Iterator[StringValue]:
        for text in texts:
            if not turn.acquire(timeout=PATIENCE):
                return
            yield StringValue(text)

    for reply in call(requests()):
        yield reply
        turn.release()


@contextmanager
def _failures() -> Generator[None, None, None]:
    try:
        yield
    except grpc.RpcError as error:
        raise _failure(error) from error


def _failure(error: Untyped) -> Failure:
    trailing: dict[str, Any] = dict(error.trailing_metadata() or ())
    details = trailing.get(DETAILS_KEY)
    return Failure(Status[error.code().name], error.details(), details)


def _own(metadata: Untyped) -> Metadata:
    return tuple((key, value) for key, value in metadata if "x-" in key)
