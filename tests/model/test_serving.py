"""The service as a part of a program."""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a task group may swallow what its body raises; a test would have failed.

import math
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest
import structlog
from grpclib.client import UnaryStreamMethod, UnaryUnaryMethod
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from grpclib_anyio.client import Channel
from grpclib_anyio.config import Configuration
from grpclib_anyio.health import HealthCheckRequest, HealthCheckResponse, ServingStatus
from relay_common.errors import EXIT_FAILURE, StartupError
from relay_model import serving
from relay_model.conversation import Conversation
from relay_model.serving import serve
from relay_model.settings import ModelSettings
from relay_proto.ai import (
    AiServiceStub,
    GenerateRequest,
    GenerateResponse,
    Image,
    Message,
    Parameters,
    Part,
    Role,
)
from tests.support.scripted_backend import ScriptedBackend

pytestmark = pytest.mark.anyio

SERVING, NOT_SERVING = ServingStatus.SERVING, ServingStatus.NOT_SERVING


def settings(**values: Any) -> ModelSettings:
    return ModelSettings.model_validate({"port": 0, "demo_delay": 0, **values})


async def test_reports_its_address_and_answers_there() -> None:
    answer: list[GenerateResponse] = []
    async with anyio.create_task_group() as tasks:
        ((host, port),) = await tasks.start(partial(serve, settings()))
        async with Channel(host, port) as channel:
            stub = AiServiceStub(channel)
            answer += [r async for r in stub.generate(GenerateRequest(prompt="hello"))]
        tasks.cancel_scope.cancel()
    assert "".join(r.token for r in answer) == "Streaming response to: hello "
    assert [r.done for r in answer] == [False] * 4 + [True]


async def test_cancelled_it_ends_every_answer_and_knows_why() -> None:
    async def ask(stub: AiServiceStub) -> None:
        async for _ in stub.generate(GenerateRequest(prompt="hello")):
            asked.set()

    asked = anyio.Event()
    with structlog.testing.capture_logs() as log:
        async with anyio.create_task_group() as tasks:
            ((host, port),) = await tasks.start(partial(serve, settings(demo_delay=1000)))
            async with Channel(host, port) as channel, anyio.create_task_group() as callers:
                callers.start_soon(ask, AiServiceStub(channel))
                await asked.wait()
                tasks.cancel_scope.cancel()
    assert [line["cause"] for line in log if line["event"] == "request ended"] == ["shutdown"]


async def test_an_address_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartupError) as raised:
            await serve(settings(port=port))
    assert str(raised.value) == f"cannot listen on 127.0.0.1:{port}: address already in use"
    assert raised.value.exit_code == EXIT_FAILURE


async def test_a_host_that_is_not_there_is_named() -> None:
    with pytest.raises(StartupError, match=r"cannot listen on not-a-host\.invalid:0: "):
        await serve(settings(host="not-a-host.invalid"))


# -- from loading to the end ----------------------------------------------------------------------


class SlowToOpen:
    """A backend that is ready when a test says so; or that fails then."""

    def __init__(self, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ready = anyio.Event()
        self.failure: Exception | None = None
        self.closed_after: list[str] = []
        self._backend = backend
        monkeypatch.setattr(serving, "open_backend", self._open)

    @asynccontextmanager
    async def _open(self, settings: ModelSettings) -> AsyncGenerator[ScriptedBackend, None]:
        del settings
        await self.ready.wait()
        if self.failure is not None:
            raise self.failure
        try:
            yield self._backend
        finally:
            if self._backend.left.is_set():
                self.closed_after.append("the answer")


class Served:
    """A service that may be loading, and a channel to it."""

    def __init__(self, channel: Channel, drain: anyio.Event) -> None:
        self.channel = channel
        self.stub = AiServiceStub(channel)
        self.drain = drain
        self.is_over = anyio.Event()

    def ask(self, **options: Any) -> AsyncIterator[GenerateResponse]:
        return self.stub.generate(GenerateRequest(prompt="hello"), **options)

    async def status(self) -> Status:
        """Give the status with which a prompt is answered."""
        try:
            _ = [message async for message in self.ask()]
        except GRPCError as error:
            return error.status
        return Status.OK

    async def health(self, service: str = "") -> ServingStatus:
        types: Any = (HealthCheckRequest, HealthCheckResponse)
        path = "/grpc.health.v1.Health/Check"
        check = UnaryUnaryMethod[Any, Any](cast("Any", self.channel), path, *types)
        status: ServingStatus = (await check(HealthCheckRequest(service))).status
        return status

    async def watch(self) -> list[ServingStatus]:
        """Give the statuses that a watcher is told until there are no more."""
        return [reply.status for reply in await self._watcher()(HealthCheckRequest("ai.AIService"))]

    async def until_serving(self) -> None:
        """Return when a watcher is told so."""
        async with self._watcher().open() as stream:
            await stream.send_message(HealthCheckRequest("ai.AIService"), end=True)
            async for reply in stream:
                if reply.status is SERVING:
                    break
            await stream.cancel()

    def _watcher(self) -> UnaryStreamMethod[Any, Any]:
        types: Any = (HealthCheckRequest, HealthCheckResponse)
        path = "/grpc.health.v1.Health/Watch"
        return UnaryStreamMethod[Any, Any](cast("Any", self.channel), path, *types)


@asynccontextmanager
async def served(**values: Any) -> AsyncGenerator[Served, None]:
    """Run the service on a port that is known before it is ready, until the block is left."""
    port = free_port()
    drain = anyio.Event()

    async def run(service: Served) -> None:
        await serve(settings(port=port, **values), drain=drain)
        service.is_over.set()

    async with anyio.create_task_group() as tasks, Channel("127.0.0.1", port) as channel:
        service = Served(channel, drain)
        tasks.start_soon(run, service)
        await until_listening(port)
        yield service
        tasks.cancel_scope.cancel()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


async def until_listening(port: int) -> None:
    with anyio.fail_after(5):
        await anyio.lowlevel.checkpoint()
        while not is_listening(port):  # noqa: ASYNC110 - the system does not say
            await anyio.lowlevel.checkpoint()


def is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


async def test_while_the_model_is_loaded_it_is_not_serving(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend = SlowToOpen(ScriptedBackend("x"), monkeypatch)
    async with served() as service:
        assert await service.health() is NOT_SERVING
        assert await service.health("ai.AIService") is NOT_SERVING
        assert await service.status() is Status.UNAVAILABLE
        backend.ready.set()
        await anyio.wait_all_tasks_blocked()
        assert await service.health("ai.AIService") is await service.health() is SERVING
        assert await service.status() is Status.OK


async def test_a_model_that_cannot_be_loaded_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = SlowToOpen(ScriptedBackend(), monkeypatch)
    backend.failure = StartupError("no such model")
    backend.ready.set()
    with pytest.raises(StartupError, match="no such model"):
        await serve(settings())


async def test_cancelled_while_the_model_is_loaded_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    SlowToOpen(ScriptedBackend(), monkeypatch)
    with anyio.fail_after(5):
        async with served():
            pass


async def test_a_drain_lets_answers_end_and_watchers_know(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[ServingStatus] = []
    backend = SlowToOpen(ScriptedBackend("a", 0.3, "b"), monkeypatch)
    backend.ready.set()

    async def watch() -> None:
        told.extend(await service.watch())

    with structlog.testing.capture_logs() as log, anyio.fail_after(10):
        async with served(drain_seconds=60) as service, anyio.create_task_group() as tasks:
            answer = service.ask()
            said = [(await anext(answer)).token]
            tasks.start_soon(watch)
            await anyio.wait_all_tasks_blocked()
            service.drain.set()
            said += [message.token async for message in answer]
            await service.is_over.wait()
            assert await service.status() is Status.UNAVAILABLE
    assert said == ["a", "b", ""]
    assert told[-1] is NOT_SERVING
    assert [line["cause"] for line in log if line["event"] == "request ended"] == ["done"]
    assert backend.closed_after == ["the answer"]


async def test_a_drain_ends_what_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = SlowToOpen(ScriptedBackend("a", math.inf), monkeypatch)
    backend.ready.set()
    with structlog.testing.capture_logs() as log, anyio.fail_after(10):
        async with served(drain_seconds=0.2) as service:
            answer = service.ask()
            await anext(answer)
            service.drain.set()
            with pytest.raises(GRPCError) as raised:
                await anext(answer)
            await service.is_over.wait()
    assert raised.value.status is Status.UNAVAILABLE
    (line,) = [line for line in log if line["event"] == "request ended"]
    assert (line["cause"], line["status"]) == ("shutdown", "UNAVAILABLE")
    assert backend.closed_after == ["the answer"]


async def test_cancelled_the_backend_outlives_its_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class SlowToStop(ScriptedBackend):
        @asynccontextmanager
        async def stream(self, conversation: Conversation) -> AsyncGenerator[Any, None]:
            async with super().stream(conversation) as pieces:
                try:
                    yield pieces
                finally:
                    with anyio.CancelScope(shield=True):
                        await anyio.sleep(0.1)

    backend = SlowToOpen(SlowToStop("a", math.inf), monkeypatch)
    backend.ready.set()
    with anyio.fail_after(5):
        async with served() as service:
            await anext(service.ask())
    assert backend.closed_after == ["the answer"]


async def test_drained_with_nothing_to_do_it_is_over_at_once() -> None:
    with anyio.fail_after(5):
        async with served(drain_seconds=60) as service:
            assert await service.status() is Status.OK
            service.drain.set()
            await service.is_over.wait()


async def test_drained_while_the_model_is_loaded_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    SlowToOpen(ScriptedBackend(), monkeypatch)
    with anyio.fail_after(5):
        async with served(drain_seconds=60) as service:
            service.drain.set()
            await service.is_over.wait()


# -- what is seen from outside ---------------------------------------------------------------------


async def test_lines_of_a_request_name_its_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    class Noting(ScriptedBackend):
        @asynccontextmanager
        async def stream(self, conversation: Conversation) -> AsyncGenerator[Any, None]:
            seen.append(structlog.contextvars.get_contextvars().get("trace_id"))
            async with super().stream(conversation) as pieces:
                yield pieces

    seen: list[str | None] = []
    SlowToOpen(Noting("x"), monkeypatch).ready.set()
    trace = "0af7651916cd43dd8448eb211c80319c"
    traceparent = ("traceparent", f"00-{trace}-b7ad6b7169203331-01")
    async with served() as service:
        await anyio.wait_all_tasks_blocked()
        for metadata in [
            [traceparent],
            [],
            [("traceparent", "malformed")],
            [traceparent] * 2,
        ]:
            _ = [message async for message in service.ask(metadata=metadata)]
    assert seen == [trace, None, None, None]


async def test_metrics_are_there_when_they_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    SlowToOpen(ScriptedBackend("x"), monkeypatch).ready.set()
    port = free_port()
    async with served(metrics_port=port) as service:
        with anyio.fail_after(5):  # it listens before the model is loaded
            await service.until_serving()
        assert await service.status() is Status.OK
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            response = b""
            with suppress(anyio.EndOfStream):
                while True:
                    response += await stream.receive()
    assert b'relay_model_requests_total{cause="done",status="OK"} 1.0' in response
    assert not is_listening(port)


async def test_a_port_for_metrics_that_is_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartupError) as raised:
            await serve(settings(metrics_port=port))
    assert str(raised.value) == f"cannot listen on 127.0.0.1:{port}: address already in use"


# -- what a request may cost ----------------------------------------------------------------------


async def answered(channel: Channel, request: GenerateRequest) -> None:
    """Ask, and see that the answer is whole."""
    done = [response.done async for response in AiServiceStub(channel).generate(request)]
    assert done[-1]


async def refusal_of(
    request: GenerateRequest, config: Configuration | None = None, **values: Any
) -> GRPCError:
    """Serve with these settings, and return what the service says to a request."""
    refusals: list[GRPCError] = []
    async with anyio.create_task_group() as tasks:
        ((host, port),) = await tasks.start(partial(serve, settings(**values)))
        async with Channel(host, port, config=config) as channel:
            stub = AiServiceStub(channel)
            try:
                async for _ in stub.generate(request):
                    pass
            except GRPCError as error:
                refusals.append(error)
        async with Channel(host, port) as channel:
            await answered(channel, GenerateRequest(prompt="x"))
        tasks.cancel_scope.cancel()
    return refusals[0]


def user(*parts: Part) -> Message:
    return Message(role=cast("Any", Role.USER), parts=list(parts))


TOO_LARGE = {
    "prompt": GenerateRequest(prompt="x" * 101),
    "not ASCII": GenerateRequest(prompt="é" * 50 + "x"),
    "several messages": GenerateRequest(
        messages=[user(Part(text="x" * 60)), user(Part(text="y" * 41))]
    ),
    "an image": GenerateRequest(
        messages=[user(Part(image=Image(data=bytes(92), media_type="image/png")))]
    ),
}


@pytest.mark.parametrize("kind", TOO_LARGE)
async def test_a_prompt_that_is_too_large_is_refused_with_both_numbers(kind: str) -> None:
    error = await refusal_of(TOO_LARGE[kind], max_prompt_bytes=100)
    assert error.status is Status.INVALID_ARGUMENT
    assert error.message == "The prompt has 101 bytes, and 100 is the most."


async def test_a_prompt_of_just_that_size_is_answered() -> None:
    async with anyio.create_task_group() as tasks:
        ((host, port),) = await tasks.start(partial(serve, settings(max_prompt_bytes=100)))
        async with Channel(host, port) as channel:
            request = GenerateRequest(prompt="x" * 100)
            await answered(channel, request)
        tasks.cancel_scope.cancel()


async def test_a_message_that_is_much_too_large_is_not_read() -> None:
    error = await refusal_of(GenerateRequest(prompt="x" * 600_000), max_prompt_bytes=100)
    assert error.status is Status.RESOURCE_EXHAUSTED
    assert error.message == f"Message of 600004 bytes is larger than the limit of {100 + 2**19}"


@pytest.mark.parametrize(
    "request_",
    [
        GenerateRequest(messages=[Message()] * 10_001),
        GenerateRequest(messages=[user(*[Part()] * 5_000)] * 2),
        GenerateRequest(prompt="x", parameters=Parameters(stop=[""] * 10_001)),
    ],
    ids=["messages", "parts", "stops"],
)
async def test_a_request_of_very_many_items_is_not_read(request_: GenerateRequest) -> None:
    """Two bytes may stand for a message, and a mebibyte of them held the event loop for 2 s."""
    error = await refusal_of(request_)
    assert error.status is Status.RESOURCE_EXHAUSTED
    assert error.message == "The message holds more than 10000 items"


async def test_a_compressed_request_is_refused() -> None:
    error = await refusal_of(GenerateRequest(prompt="x" * 1000), Configuration(compression="gzip"))
    assert error.status is Status.UNIMPLEMENTED
    assert error.message == "Compression 'gzip' is not supported"


async def test_a_compressed_request_is_read_if_that_is_asked_for() -> None:
    async with anyio.create_task_group() as tasks:
        ((host, port),) = await tasks.start(partial(serve, settings(accept_compression=True)))
        async with Channel(host, port, config=Configuration(compression="gzip")) as channel:
            request = GenerateRequest(prompt="x" * 1000)
            await answered(channel, request)
        tasks.cancel_scope.cancel()


async def test_a_connection_without_requests_is_closed_and_the_next_request_opens_another() -> None:
    async with anyio.create_task_group() as tasks:
        ((host, port),) = await tasks.start(partial(serve, settings(idle_seconds=0.01)))
        async with Channel(host, port) as channel:
            for _ in range(2):
                await answered(channel, GenerateRequest(prompt="x"))
                connections = channel._connector.connections  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - nothing else tells
                for connection in connections:
                    await connection.wait_closed()
        tasks.cancel_scope.cancel()
