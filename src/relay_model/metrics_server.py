"""Metrics over HTTP, for Prometheus: one small answer to each connection, in the event loop."""

from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

import anyio
import h11
from anyio.abc import SocketAttribute
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from structlog.stdlib import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyio.abc import SocketListener, SocketStream, TaskGroup, TaskStatus
    from prometheus_client import CollectorRegistry

__all__ = ["serve"]

_PATH = b"/metrics"

# A request has come and is answered in this time, or not at all.
_SECONDS = 5.0

# Connections at a time, with the one that is being accepted; those after it wait in the system's
# backlog for as long as that.
_CONNECTIONS = 8

# What a client may send before its request is complete; h11 refuses more.
_MAX_REQUEST_BYTES = 16_384

# After a connection that could not be accepted, for want of descriptors.
_PAUSE = 0.5

_log = get_logger(__name__)


async def serve(
    registry: "CollectorRegistry",
    host: str,
    port: int,
    *,
    task_status: "TaskStatus[int]" = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Answer ``GET /metrics`` until cancelled, which closes every connection.

    Args:
        registry: what to answer with.
        host: the address to listen on.
        port: the port, any free one if 0.
        task_status: is told the port.

    Raises:
        OSError: the address cannot be listened on.

    """
    room = anyio.Semaphore(_CONNECTIONS)
    async with (
        await anyio.create_tcp_listener(local_host=host, local_port=port) as listener,
        anyio.create_task_group() as tasks,
    ):
        # anyio types them by what they accept.
        for each in cast("Sequence[SocketListener]", listener.listeners):
            tasks.start_soon(_accept, each, registry, room, tasks)
        bound = listener.extra(SocketAttribute.local_port)
        _log.info("metrics", host=host, port=bound, path=_PATH.decode())
        task_status.started(bound)


async def _accept(
    listener: "SocketListener",
    registry: "CollectorRegistry",
    room: anyio.Semaphore,
    tasks: "TaskGroup",
) -> None:
    while True:
        async with room:
            stream = await _accept_one(listener)
        tasks.start_soon(_serve_one, stream, registry, room)


async def _accept_one(listener: "SocketListener") -> "SocketStream":
    while True:
        try:
            return await listener.accept()
        except (OSError, anyio.BrokenResourceError):  # on asyncio and on trio
            await anyio.sleep(_PAUSE)


async def _serve_one(
    stream: "SocketStream", registry: "CollectorRegistry", room: anyio.Semaphore
) -> None:
    async with room, stream:
        with anyio.move_on_after(_SECONDS), suppress(anyio.BrokenResourceError):
            await _answer(stream, registry)


async def _answer(stream: "SocketStream", registry: "CollectorRegistry") -> None:
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_REQUEST_BYTES)
    with suppress(anyio.EndOfStream, h11.RemoteProtocolError):  # has left, or speaks no HTTP
        request = await _read_request(stream, http)
        status = _status_for(request)
        body = generate_latest(registry) if status == HTTPStatus.OK else b""
        await stream.send(_response(http, status, body))


async def _read_request(stream: "SocketStream", http: h11.Connection) -> h11.Request:
    while True:
        http.receive_data(await stream.receive())
        event = http.next_event()
        if isinstance(event, h11.Request):
            return event


def _status_for(request: h11.Request) -> HTTPStatus:
    if request.target.partition(b"?")[0] != _PATH:
        return HTTPStatus.NOT_FOUND
    return HTTPStatus.OK if request.method == b"GET" else HTTPStatus.METHOD_NOT_ALLOWED


def _response(http: h11.Connection, status: HTTPStatus, body: bytes) -> bytes:
    headers = [
        ("Content-Type", CONTENT_TYPE_LATEST),
        ("Content-Length", str(len(body))),
        ("Connection", "close"),
    ]
    events = (
        h11.Response(status_code=status, headers=headers),
        h11.Data(data=body),
        h11.EndOfMessage(),
    )
    return b"".join(http.send(event) or b"" for event in events)
