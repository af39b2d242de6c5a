"""Neither betterproto nor betterproto2 is installed: protobuf's messages, and words for the rest.

Each test runs a program in a Python of its own, in which neither can be found.
"""

import subprocess
import sys
from textwrap import dedent

import pytest

#: What is set to None in `sys.modules` is not found, by `import` and by `find_spec`.
HIDDEN = """
import sys
sys.modules["betterproto"] = sys.modules["betterproto2"] = None
"""

#: As grpclib's plugin for protoc writes services and stubs, with one of protobuf's own messages.
GENERATED = """
import anyio
from google.protobuf.wrappers_pb2 import StringValue
from grpclib.client import StreamStreamMethod, UnaryUnaryMethod
from grpclib.const import Cardinality, Handler
from grpclib.encoding.proto import ProtoCodec
from grpclib_anyio import Channel, Server


class EchoBase:
    async def Say(self, stream):
        async for message in stream:
            await stream.send_message(message)

    def __mapping__(self):
        types = (StringValue, StringValue)
        return {
            "/test.Echo/Say": Handler(self.Say, Cardinality.UNARY_UNARY, *types),
            "/test.Echo/Talk": Handler(self.Say, Cardinality.STREAM_STREAM, *types),
        }


class EchoStub:
    def __init__(self, channel):
        self.Say = UnaryUnaryMethod(channel, "/test.Echo/Say", StringValue, StringValue)
        self.Talk = StreamStreamMethod(channel, "/test.Echo/Talk", StringValue, StringValue)


async def main():
    async with anyio.create_task_group() as tasks:
        [address] = await tasks.start(Server([EchoBase()]).serve, "127.0.0.1", 0)
        async with Channel(*address) as channel:
            stub = EchoStub(channel)
            words = [StringValue(value=word) for word in ("one", "two")]
            print((await stub.Say(words[0])).value)
            print([message.value for message in await stub.Talk(words)])
            print(type(channel._client.codec) is ProtoCodec)
        tasks.cancel_scope.cancel()
"""


def output(program: str) -> str:
    """Run a program and return what it prints, errors included."""
    command = [sys.executable, "-W", "error", "-c", HIDDEN + dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_protobufs_stubs_and_services(backend: str) -> None:
    program = f"{GENERATED}\n\nanyio.run(main, backend={backend!r})"
    assert output(program) == "one\n['one', 'two']\nTrue\n"


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import grpclib_anyio.health", "grpclib_anyio.health needs betterproto"),
        ("from grpclib_anyio.betterproto import maker", "maker is for betterproto"),
        ("from grpclib_anyio.betterproto import CompiledCodec", "CompiledCodec is for betterproto"),
    ],
)
def test_what_needs_betterproto_says_how_to_get_it(program: str, words: str) -> None:
    last = output(program).splitlines()[-1]
    assert last == f"ImportError: {words}: pip install 'grpclib-anyio[betterproto]'"


def test_everything_else_can_be_imported() -> None:
    names = "betterproto, client, config, errors, server, testing"
    assert output(f"from grpclib_anyio import {names}") == ""
