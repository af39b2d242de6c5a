"""google.protobuf's own messages, with grpclib's method classes and codec."""

from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import StringValue
from grpclib.const import Cardinality, Handler
from grpclib.encoding.base import CodecBase
from grpclib.encoding.proto import ProtoCodec

from grpclib_anyio.betterproto.codec import CompiledCodec
from grpclib_anyio.client import (
    StreamStreamMethod,
    StreamUnaryMethod,
    UnaryStreamMethod,
    UnaryUnaryMethod,
)
from grpclib_anyio.testing import ChannelFor

pytestmark = pytest.mark.anyio

UNARY, SERVER_STREAM = "/test.Echo/Unary", "/test.Echo/ServerStream"
CLIENT_STREAM, BOTH_STREAM = "/test.Echo/ClientStream", "/test.Echo/BothStream"
WORDS = ["one", "two", "three"]


class Echo:
    """Says what it was told, as grpclib's generated services are written."""

    async def join(self, stream: Any) -> None:
        words = [message.value async for message in stream]
        await stream.send_message(StringValue(value=" ".join(words)))

    async def each(self, stream: Any) -> None:
        async for message in stream:
            for word in message.value.split():
                await stream.send_message(StringValue(value=word))

    def __mapping__(self) -> dict[str, Handler]:
        types = (StringValue, StringValue)
        return {
            UNARY: Handler(self.join, Cardinality.UNARY_UNARY, *types),
            SERVER_STREAM: Handler(self.each, Cardinality.UNARY_STREAM, *types),
            CLIENT_STREAM: Handler(self.join, Cardinality.STREAM_UNARY, *types),
            BOTH_STREAM: Handler(self.each, Cardinality.STREAM_STREAM, *types),
        }


@pytest.mark.parametrize("codec", [ProtoCodec(), CompiledCodec()], ids=["grpclib's", "ours"])
async def test_all_kinds_of_call(codec: CodecBase) -> None:
    types = (StringValue, StringValue)
    messages = [StringValue(value=word) for word in WORDS]
    sentence = StringValue(value=" ".join(WORDS))
    async with ChannelFor([Echo()], codec) as channel:
        assert await UnaryUnaryMethod(channel, UNARY, *types)(sentence) == sentence
        assert await UnaryStreamMethod(channel, SERVER_STREAM, *types)(sentence) == messages
        assert await StreamUnaryMethod(channel, CLIENT_STREAM, *types)(messages) == sentence
        assert await StreamStreamMethod(channel, BOTH_STREAM, *types)(messages) == messages
        assert await StreamStreamMethod(channel, BOTH_STREAM, *types)([]) == []
