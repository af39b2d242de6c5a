"""The model service's peer: a grpcio.aio server.

For example::

    python -m bench.peers.grpcio_model --port 50051
"""

import argparse
import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import grpc.aio
import uvloop

from bench.peers import import_stubs
from bench.work import Work

messages, services = import_stubs()


class AIService:
    """Does the work that a prompt describes."""

    async def Generate(  # noqa: N802 - the contract's name
        self, request: Any, context: Any
    ) -> AsyncGenerator[Any]:
        """Answer with the tokens of the prompt's work, then with the message that ends it."""
        del context
        work = Work.parse(request.prompt)
        token = "x" * work.size
        for _ in range(work.tokens):
            if work.interval:
                await asyncio.sleep(work.interval)
            yield messages.GenerateResponse(token=token)
        yield messages.GenerateResponse(done=True)


async def _serve(port: int) -> None:
    server = grpc.aio.server()
    services.add_AIServiceServicer_to_server(AIService(), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers.grpcio_model")
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(_serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
