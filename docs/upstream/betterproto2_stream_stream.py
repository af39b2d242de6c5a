"""An error in the requests of a betterproto2 call is lost, and the call waits without an end."""

import asyncio

import grpclib.const
import grpclib.server
from betterproto2.grpclib import ServiceStub
from grpclib.client import Channel

METHOD = "/Service/Talk"


class Message(bytes):
    """As a generated message, for grpclib."""

    SerializeToString = bytes.__bytes__
    FromString = classmethod(lambda cls, data: cls(data))


class Service:
    async def talk(self, stream):
        """Answer each request."""
        async for request in stream:
            await stream.send_message(request)

    def __mapping__(self):
        kind = grpclib.const.Cardinality.STREAM_STREAM
        return {METHOD: grpclib.const.Handler(self.talk, kind, Message, Message)}


async def requests():
    yield Message(b"one")
    raise ValueError("no second request")


async def talk(channel):
    answers = ServiceStub(channel)._stream_stream(METHOD, requests(), Message, Message)
    async for _ in answers:
        pass


async def main():
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    server = grpclib.server.Server([Service()])
    await server.start("127.0.0.1", 0)
    port = server._server.sockets[0].getsockname()[1]
    async with Channel("127.0.0.1", port) as channel:
        try:
            await asyncio.wait_for(talk(channel), 1.5)
            outcome = "the call ended"
        except TimeoutError:
            outcome = None
        except ValueError as error:
            outcome = f"the call raised {error!r}"
    server.close()
    print(
        "FAULT: 1.5 s after the error in the requests, the call still waits"
        if outcome is None
        else f"NO FAULT: {outcome}"
    )


asyncio.run(main())
