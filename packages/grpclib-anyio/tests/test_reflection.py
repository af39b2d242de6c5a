"""Server reflection: grpclib's service on our server, asked by grpcio and by our channel."""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a task group may swallow what its body raises; a test would have failed.

from typing import Any

import anyio.to_thread
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpclib.const import Cardinality, Handler
from grpclib.reflection.service import ServerReflection
from grpclib.reflection.v1.reflection_grpc import ServerReflectionStub
from grpclib.reflection.v1.reflection_pb2 import ServerReflectionRequest

from grpclib_anyio.health import Health
from grpclib_anyio.server import Server
from grpclib_anyio.testing import ChannelFor
from harness.programs import run_module

pytestmark = pytest.mark.anyio

HEALTH, ECHO = "grpc.health.v1.Health", "test.Echo"


class Echo:
    """A service, as grpclib's generated ones are written."""

    async def say(self, stream: Any) -> None:
        await stream.send_message(await stream.recv_message())

    def __mapping__(self) -> dict[str, Handler]:
        return {"/test.Echo/Say": Handler(self.say, Cardinality.UNARY_UNARY, bytes, bytes)}


def described() -> DescriptorPool:
    """Return a pool with the description of the service, which generated code brings with it."""
    file = FileDescriptorProto(name="test.proto", package="test", syntax="proto3")
    file.message_type.add(name="Word").field.add(name="text", number=1, type=9, label=1)
    service = file.service.add(name="Echo")
    service.method.add(name="Say", input_type=".test.Word", output_type=".test.Word")
    pool = DescriptorPool()
    pool.Add(file)
    return pool


def services() -> list[Any]:
    return ServerReflection.extend([Health(), Echo()], pool=described())


def ask_grpcio(target: str) -> list[str]:
    with run_module("harness.reflection_client", target, ECHO) as program:
        return [program.wait_for(rf"^{what} (.*)")[1] for what in ("services", "methods")]


async def test_grpcio_asks_for_services_and_their_methods() -> None:
    async with anyio.create_task_group() as tasks:
        ((host, port),) = await tasks.start(Server(services()).serve, "127.0.0.1", 0)
        found = await anyio.to_thread.run_sync(ask_grpcio, f"{host}:{port}")
        tasks.cancel_scope.cancel()
    assert found == [f"{HEALTH},{ECHO}", "Say(test.Word)"]


async def test_our_channel_asks() -> None:
    """A conversation: one request after the other, in one call."""
    requests = [
        ServerReflectionRequest(list_services=""),
        ServerReflectionRequest(file_containing_symbol=ECHO),
        ServerReflectionRequest(file_containing_symbol="no.Such"),
    ]
    async with ChannelFor(services()) as channel:
        listed, described_in, missing = await ServerReflectionStub(channel).ServerReflectionInfo(
            requests
        )
    assert [each.name for each in listed.list_services_response.service] == [HEALTH, ECHO]
    (data,) = described_in.file_descriptor_response.file_descriptor_proto
    assert FileDescriptorProto.FromString(data).name == "test.proto"
    assert missing.error_response.error_code == 5
