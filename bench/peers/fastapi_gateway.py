"""The gateway's peer: FastAPI, sse-starlette and grpcio on uvicorn with uvloop and httptools.

For example::

    python -m bench.peers.fastapi_gateway --port 8080 --model-target 127.0.0.1:50051
"""

import argparse
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import grpc.aio
import uvicorn
from fastapi import FastAPI, Query
from sse_starlette import EventSourceResponse, ServerSentEvent

from bench.peers import import_stubs

_HEARTBEAT_SECONDS = 15
_DEADLINE_SECONDS = 180

messages, services = import_stubs()


def create_app(model_target: str) -> FastAPI:
    """Make the application, with one channel to the model for the whole process."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with grpc.aio.insecure_channel(model_target) as channel:
            app.state.stub = services.AIServiceStub(channel)
            yield

    app = FastAPI(lifespan=lifespan)

    async def events(prompt: str, session_id: str) -> AsyncGenerator[ServerSentEvent]:
        request = messages.GenerateRequest(prompt=prompt, session_id=session_id)
        call = app.state.stub.Generate(request, timeout=_DEADLINE_SECONDS)
        try:
            async for response in call:
                if response.done:
                    break
                yield ServerSentEvent(response.token, sep="\n")
            yield ServerSentEvent("[DONE]", event="done", sep="\n")
        except grpc.aio.AioRpcError as error:
            yield ServerSentEvent(error.code().name, event="error", sep="\n")
        finally:
            call.cancel()

    async def stream(
        prompt: Annotated[str, Query(min_length=1)], session_id: str = ""
    ) -> EventSourceResponse:
        return EventSourceResponse(
            events(prompt, session_id),
            sep="\n",
            ping=_HEARTBEAT_SECONDS,
            headers={"X-Accel-Buffering": "no"},
        )

    app.add_api_route("/api/ai/stream", stream, response_class=EventSourceResponse)
    return app


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers.fastapi_gateway")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model-target", required=True)
    arguments = parser.parse_args()
    options: dict[str, Any] = {"loop": "uvloop", "http": "httptools", "log_level": "warning"}
    uvicorn.run(create_app(arguments.model_target), port=arguments.port, **options)


if __name__ == "__main__":
    main()
