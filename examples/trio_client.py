"""Ask a model service from trio, and print its answer as it comes.

Start a service in one terminal and ask it from another::

    relay-model --backend demo
    python examples/trio_client.py 127.0.0.1 50051 "What is a token?"
"""

import sys

import trio

from grpclib_anyio.client import Channel
from grpclib_anyio.errors import GRPCError
from relay_proto.ai import AiServiceStub, GenerateRequest


async def ask(host: str, port: int, prompt: str) -> None:
    # Cancelling this function resets the call: the service then stops working on the answer.
    async with Channel(host, port) as channel:
        answer = AiServiceStub(channel).generate(GenerateRequest(prompt=prompt), timeout=60)
        async for response in answer:
            print(response.token, end="", flush=True)
    print()


if __name__ == "__main__":
    try:
        trio.run(ask, sys.argv[1], int(sys.argv[2]), sys.argv[3])
    except GRPCError as error:
        sys.exit(f"{error.status.name}: {error.message}")
