"""`grpc.health.v1`, asked by our channel and by grpcio."""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a task group may swallow what its body raises; a test would have failed.

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio.to_thread
import grpc
import pytest
from grpclib.client import UnaryStreamMethod, UnaryUnaryMethod
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError

from grpclib_anyio.client import Channel
from grpclib_anyio.health import (
    Health,
    HealthCheckRequest,
    HealthCheckResponse,
    HealthListRequest,
    HealthListResponse,
    ServingStatus,
)
from grpclib_anyio.server import Server
from grpclib_anyio.testing import ChannelFor

pytestmark = pytest.mark.anyio

CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
LIST = "/grpc.health.v1.Health/List"
SERVICE = "ai.AIService"
#: Seconds that a call of grpcio's may take.
PATIENCE = 10.0

UNKNOWN, SERVING, NOT_SERVING, SERVICE_UNKNOWN = list(ServingStatus)


def types(kind: type[Any], channel: Channel, path: str) -> Any:
    return kind(channel, path, HealthCheckRequest, HealthCheckResponse)


async def check(channel: Channel, service: str = "") -> ServingStatus:
    reply = await types(UnaryUnaryMethod, channel, CHECK)(HealthCheckRequest(service))
    status: ServingStatus = reply.status
    return status


class Watcher:
    """Watches one service in a task of its own."""

    def __init__(self, channel: Channel, service: str = SERVICE) -> None:
        self.seen: list[ServingStatus] = []
        self.scope = anyio.CancelScope()
        self._channel = channel
        self._service = service

    async def run(self) -> None:
        call = types(UnaryStreamMethod, self._channel, WATCH).open()
        with self.scope:
            async with call as stream:
                await stream.send_message(HealthCheckRequest(self._service), end=True)
                async for reply in stream:
                    self.seen.append(reply.status)


# -- Check ----------------------------------------------------------------------------------------


async def test_server_as_a_whole_is_serving() -> None:
    async with ChannelFor([Health()]) as channel:
        assert await check(channel) is SERVING


@pytest.mark.parametrize("status", list(ServingStatus))
async def test_check_tells_the_status_that_is_set(status: ServingStatus) -> None:
    health = Health()
    async with ChannelFor([health]) as channel:
        health.set(SERVICE, status)
        assert await check(channel, SERVICE) is status
        assert await check(channel) is SERVING


async def test_check_of_an_unknown_service_is_not_found() -> None:
    async with ChannelFor([Health({SERVICE: SERVING})]) as channel:
        for service in ("", "ai", "ai.AIService.Generate"):
            with pytest.raises(GRPCError) as caught:
                await check(channel, service)
            assert caught.value.status is Status.NOT_FOUND
        assert await check(channel, SERVICE) is SERVING


async def test_all_services_at_once() -> None:
    """As a server says that is about to stop."""
    health = Health({"": SERVING, SERVICE: SERVING})
    async with ChannelFor([health]) as channel:
        health.set_all(NOT_SERVING)
        assert [await check(channel, name) for name in ("", SERVICE)] == [NOT_SERVING] * 2


# -- List -----------------------------------------------------------------------------------------


async def list_all(channel: Channel) -> dict[str, ServingStatus]:
    method: Any = UnaryUnaryMethod(channel, LIST, HealthListRequest, HealthListResponse)
    reply: HealthListResponse = await method(HealthListRequest())
    return {name: status.status for name, status in reply.statuses.items()}


async def test_list_tells_every_status() -> None:
    """Also the one that is zero, and that of the server, whose name is empty."""
    health = Health({"": SERVING, SERVICE: NOT_SERVING, "new": UNKNOWN})
    async with ChannelFor([health]) as channel:
        assert await list_all(channel) == {"": SERVING, SERVICE: NOT_SERVING, "new": UNKNOWN}
        health.shutdown()
        assert set((await list_all(channel)).values()) == {NOT_SERVING}


async def test_list_is_bounded() -> None:
    """health.proto allows for a hundred."""
    health = Health({str(number): SERVING for number in range(100)})
    async with ChannelFor([health]) as channel:
        assert len(await list_all(channel)) == 100
        health.set("one more", SERVING)
        with pytest.raises(GRPCError, match="more than 100 services") as caught:
            await list_all(channel)
        assert caught.value.status is Status.RESOURCE_EXHAUSTED


# -- Watch ----------------------------------------------------------------------------------------


async def test_watcher_is_told_at_once_and_of_each_change() -> None:
    health = Health({SERVICE: SERVING, "other": SERVING})
    async with ChannelFor([health]) as channel, anyio.create_task_group() as tasks:
        tasks.start_soon((watcher := Watcher(channel)).run)
        await anyio.wait_all_tasks_blocked()
        assert watcher.seen == [SERVING]
        health.set(SERVICE, NOT_SERVING)
        await anyio.wait_all_tasks_blocked()
        health.set("other", NOT_SERVING)  # which it did not ask about
        health.set(SERVICE, NOT_SERVING)  # which is no change
        await anyio.wait_all_tasks_blocked()
        health.set(SERVICE, SERVING)
        await anyio.wait_all_tasks_blocked()
        watcher.scope.cancel()
    assert watcher.seen == [SERVING, NOT_SERVING, SERVING]


async def test_watcher_of_an_unknown_service_waits_for_it() -> None:
    """SERVICE_UNKNOWN is no failure: the service may be added."""
    health = Health()
    async with ChannelFor([health]) as channel, anyio.create_task_group() as tasks:
        tasks.start_soon((watcher := Watcher(channel)).run)
        await anyio.wait_all_tasks_blocked()
        assert watcher.seen == [SERVICE_UNKNOWN]
        health.set(SERVICE, SERVING)
        await anyio.wait_all_tasks_blocked()
        watcher.scope.cancel()
    assert watcher.seen == [SERVICE_UNKNOWN, SERVING]


async def test_changes_in_one_go_are_told_as_one() -> None:
    health = Health({SERVICE: SERVING})
    async with ChannelFor([health]) as channel, anyio.create_task_group() as tasks:
        tasks.start_soon((watcher := Watcher(channel)).run)
        await anyio.wait_all_tasks_blocked()
        for status in (NOT_SERVING, SERVING, UNKNOWN):
            health.set(SERVICE, status)
        await anyio.wait_all_tasks_blocked()
        watcher.scope.cancel()
    assert watcher.seen == [SERVING, UNKNOWN]


async def test_each_of_several_watchers_is_told() -> None:
    """One of them leaves, the others are told still."""
    health = Health({SERVICE: SERVING})
    async with ChannelFor([health]) as channel, anyio.create_task_group() as tasks:
        watchers = [Watcher(channel), Watcher(channel), Watcher(channel, "")]
        for watcher in watchers:
            tasks.start_soon(watcher.run)
        await anyio.wait_all_tasks_blocked()
        watchers[0].scope.cancel()
        health.set(SERVICE, NOT_SERVING)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert [watcher.seen for watcher in watchers] == [
        [SERVING],
        [SERVING, NOT_SERVING],
        [SERVICE_UNKNOWN],
    ]


async def test_shut_down_it_tells_watchers_and_lets_them_go() -> None:
    health = Health({"": SERVING, SERVICE: SERVING})
    async with ChannelFor([health]) as channel:
        watchers = [Watcher(channel), Watcher(channel, "no.such.service")]
        async with anyio.create_task_group() as tasks:
            for watcher in watchers:
                tasks.start_soon(watcher.run)
            await anyio.wait_all_tasks_blocked()
            health.shutdown()
        assert [watcher.seen for watcher in watchers] == [
            [SERVING, NOT_SERVING],
            [SERVICE_UNKNOWN],
        ]
        health.set(SERVICE, SERVING)
        health.set_all(SERVING)
        assert [await check(channel, name) for name in ("", SERVICE)] == [NOT_SERVING] * 2
        await (late := Watcher(channel)).run()
        assert late.seen == [NOT_SERVING]


async def test_nothing_is_left_of_a_watcher() -> None:
    health = Health({SERVICE: SERVING})
    async with ChannelFor([health]) as channel:
        for _ in range(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(Watcher(channel).run)
                await anyio.wait_all_tasks_blocked()
                tasks.cancel_scope.cancel()
        await anyio.wait_all_tasks_blocked()
        assert channel.statistics().streams == 0
        health.set(SERVICE, NOT_SERVING)
        assert await check(channel, SERVICE) is NOT_SERVING


async def test_methods_have_their_standard_names() -> None:  # noqa: ASYNC124 - on both loops, as all here
    """The names, the cardinalities and the types."""
    mapping: Any = Health().__mapping__()
    assert {name: tuple(handler)[1:] for name, handler in mapping.items()} == {
        CHECK: (Cardinality.UNARY_UNARY, HealthCheckRequest, HealthCheckResponse),
        LIST: (Cardinality.UNARY_UNARY, HealthListRequest, HealthListResponse),
        WATCH: (Cardinality.UNARY_STREAM, HealthCheckRequest, HealthCheckResponse),
    }


# -- grpcio, which shares no code with this, encoding included ------------------------------------


def encode(service: str) -> bytes:
    """Encode HealthCheckRequest: field 1, a string."""
    data = service.encode()
    return bytes([0x0A, len(data)]) + data if data else b""


def decode(data: bytes) -> int:
    """Decode HealthCheckResponse: field 1, an enum; zero is not sent."""
    if not data:
        return 0
    assert data[0] == 0x08
    return data[1]


@asynccontextmanager
async def asked_by_grpcio(health: Health) -> AsyncGenerator[grpc.Channel, None]:
    async with anyio.create_task_group() as tasks:
        ((_, port),) = await tasks.start(Server([health]).serve, "127.0.0.1", 0)
        channel = grpc.insecure_channel(
            f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)]
        )
        try:
            yield channel
        finally:
            channel.close()
            tasks.cancel_scope.cancel()


async def test_grpcio_checks() -> None:
    health = Health({"": SERVING, SERVICE: NOT_SERVING})
    async with asked_by_grpcio(health) as channel:
        call: Any = channel.unary_unary(
            CHECK, request_serializer=encode, response_deserializer=decode
        )

        def ask(service: str) -> int:
            return int(call(service, timeout=PATIENCE))

        assert await anyio.to_thread.run_sync(ask, "") == SERVING
        assert await anyio.to_thread.run_sync(ask, SERVICE) == NOT_SERVING
        with pytest.raises(grpc.RpcError) as caught:
            await anyio.to_thread.run_sync(ask, "missing")
        error: Any = caught.value
        assert error.code() is grpc.StatusCode.NOT_FOUND


async def test_grpcio_watches() -> None:
    health = Health()
    async with asked_by_grpcio(health) as channel:
        call: Any = channel.unary_stream(
            WATCH, request_serializer=encode, response_deserializer=decode
        )
        answer = call(SERVICE, timeout=PATIENCE)
        for status in (SERVICE_UNKNOWN, SERVING, NOT_SERVING):
            if status is not SERVICE_UNKNOWN:
                health.set(SERVICE, status)
            assert await anyio.to_thread.run_sync(next, answer) == status
        answer.cancel()


async def test_grpcio_lists() -> None:
    """With the messages of grpcio's own health package."""
    messages = pytest.importorskip("grpc_health.v1.health_pb2")
    health = Health({"": SERVING, SERVICE: NOT_SERVING})
    async with asked_by_grpcio(health) as channel:
        call: Any = channel.unary_unary(
            LIST,
            request_serializer=messages.HealthListRequest.SerializeToString,
            response_deserializer=messages.HealthListResponse.FromString,
        )

        def ask() -> dict[str, int]:
            answer = call(messages.HealthListRequest(), timeout=PATIENCE)
            return {name: reply.status for name, reply in answer.statuses.items()}

        assert await anyio.to_thread.run_sync(ask) == {"": SERVING, SERVICE: NOT_SERVING}
        for number in range(100):
            health.set(str(number), SERVING)
        with pytest.raises(grpc.RpcError) as caught:
            await anyio.to_thread.run_sync(ask)
        error: Any = caught.value
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
