"""Leave a stream early: the server's handler ends. Run `python examples/cancel_a_stream.py`."""

from collections.abc import AsyncIterator
from itertools import count

import trio

from grpclib_anyio.client import Channel
from grpclib_anyio.server import Server
from relay_proto.ai import AiServiceBase, AiServiceStub, GenerateRequest, GenerateResponse

ENDED = trio.Event()


class Endless(AiServiceBase):
    async def generate(self, generate_request: GenerateRequest) -> AsyncIterator[GenerateResponse]:
        try:
            for number in count(1):
                yield GenerateResponse(token=f"{generate_request.prompt} {number}")
                await trio.sleep(0.1)  # the client's reset raises Cancelled here
        finally:
            print("server: the handler has ended")
            ENDED.set()


async def main() -> None:
    async with trio.open_nursery() as nursery:
        ((host, port),) = await nursery.start(Server([Endless()]).serve, "127.0.0.1", 0)
        async with Channel(host, port) as channel:
            request = GenerateRequest(prompt="token")
            async for response in AiServiceStub(channel).generate(request):
                print("client:", response.token)
                if response.token.endswith("2"):
                    break  # resets the stream at once
            print("client: left the stream; the channel stays open")
            await ENDED.wait()
        nursery.cancel_scope.cancel()


trio.run(main)
