"""The gateway as an application, in front of a model in the same process."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

import trio
from anyio.abc import ByteStream
from grpclib.events import RecvRequest, listen
from trio.testing import wait_all_tasks_blocked

from grpclib_anyio.server import Server
from grpclib_anyio.testing import ChannelOver, memory_pair
from relay_gateway.server.worker import Worker, current_worker
from relay_gateway.settings import GatewaySettings
from relay_gateway.web.access import LocalAccess
from relay_gateway.web.asgi import create_app
from tests.support.asgi import Application, Client, started
from tests.support.models import Model, Wire

STREAM = "/api/ai/stream"
ASK = f"{STREAM}?prompt=hi&session_id=s"


@asynccontextmanager
async def gateway_to(
    model: Model,
    wire: Wire | None = None,
    *,
    access: LocalAccess | None = None,
    **settings: Any,
) -> AsyncGenerator[Client]:
    """Start the application, with one client that calls it as a server does."""
    async with (
        application_to(model, wire, access=access, **settings) as application,
        started(application) as client,
    ):
        yield client


@asynccontextmanager
async def gateway_in_worker(
    model: Model, wire: Wire | None = None, **settings: Any
) -> AsyncGenerator[tuple[Client, Worker]]:
    """Start the application in a worker, which drains it."""
    worker = Worker()
    token = current_worker.set(worker)
    async with gateway_to(model, wire, **settings) as client:
        current_worker.reset(token)
        yield client, worker


@asynccontextmanager
async def stopping(model: Model) -> AsyncGenerator[Client]:
    """Give the client of a gateway that is being stopped."""
    async with gateway_in_worker(model) as (client, worker), trio.open_nursery() as nursery:
        client.start(ASK)
        await wait_all_tasks_blocked()
        assert worker.drain is not None
        nursery.start_soon(worker.drain)
        await wait_all_tasks_blocked()
        yield client
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def application_to(
    model: Model,
    wire: Wire | None = None,
    *,
    access: LocalAccess | None = None,
    **settings: Any,
) -> AsyncGenerator[Application]:
    """Make the application on a channel of its own, which it opens and closes."""
    server, wire = Server([model]), wire or Wire()

    async def note_trace(request: RecvRequest) -> None:  # noqa: ASYNC124 - grpclib awaits it
        model.traceparents.append(cast("str | None", request.metadata.get("traceparent")))

    listen(server, RecvRequest, note_trace)
    async with trio.open_nursery() as nursery:

        async def connect() -> ByteStream:
            await trio.lowlevel.checkpoint()
            near, far = memory_pair()
            nursery.start_soon(server.serve_connection, far)
            return wire.wrap(near)

        given: dict[str, Any] = {"watchdog_seconds": 0, **settings}
        application = create_app(
            GatewaySettings(**given), channel=ChannelOver(connect), access=access
        )
        yield cast("Application", application)
        # No connection outlives the application: the model's side has nothing left to serve.


def causes(logs: list[Any]) -> list[str]:
    """Give why each request has ended that is in the log."""
    return [entry["cause"] for entry in logs if entry["event"] == "request ended"]
