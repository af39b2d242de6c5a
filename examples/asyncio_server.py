"""Serve a betterproto service on asyncio: it answers a prompt in capital letters.

Start it, and ask it with the other example. Ctrl-C ends it, and its calls with it::

    python examples/asyncio_server.py 50051
    python examples/trio_client.py 127.0.0.1 50051 "Why is the sky blue?"
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import suppress

import anyio

from grpclib_anyio.server import Server
from relay_proto.ai import AiServiceBase, GenerateRequest, GenerateResponse


class Capitals(AiServiceBase):
    async def generate(self, generate_request: GenerateRequest) -> AsyncIterator[GenerateResponse]:
        for word in generate_request.prompt.split():
            yield GenerateResponse(token=f"{word.upper()} ")
            await asyncio.sleep(0.1)  # a client that leaves cancels the handler here
        yield GenerateResponse(done=True)


async def main(port: int) -> None:
    async with anyio.create_task_group() as tasks:
        # `start` waits until the server listens, and gives its addresses. Port 0 is any free one.
        ((host, bound),) = await tasks.start(Server([Capitals()]).serve, "127.0.0.1", port)
        print(f"listening on {host}:{bound}", flush=True)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main(int(sys.argv[1])))
