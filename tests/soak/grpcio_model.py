"""The model service's peer under floods: a server of grpcio.

For example, on a port that it prints::

    python -m tests.soak.grpcio_model
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import grpc.aio

from grpclib_anyio.health import HealthCheckResponse, ServingStatus
from relay_proto.ai import GenerateRequest, GenerateResponse

_INTERVAL = 0.02
_SERVING = bytes(HealthCheckResponse(status=ServingStatus.SERVING))


async def _generate(request: bytes, _context: Any) -> AsyncGenerator[bytes]:  # noqa: ASYNC900 - grpcio closes it
    for word in GenerateRequest.FromString(request).prompt.split():
        yield bytes(GenerateResponse(token=word))
        await asyncio.sleep(_INTERVAL)
    yield bytes(GenerateResponse(done=True))


async def _check(_request: bytes, _context: Any) -> bytes:
    return _SERVING


async def _serve() -> None:
    server = grpc.aio.server()
    handlers: dict[str, dict[str, Any]] = {
        "ai.AIService": {"Generate": grpc.unary_stream_rpc_method_handler(_generate)},
        "grpc.health.v1.Health": {"Check": grpc.unary_unary_rpc_method_handler(_check)},
    }
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(name, of) for name, of in handlers.items()]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"Running on 127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(_serve())
