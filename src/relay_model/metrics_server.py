"""Metrics over HTTP, for Prometheus: one small answer to each connection, in the event loop.

For example ``relay-model --metrics-port 9100`` and then ``curl http://127.0.0.1:9100/metrics``.
"""

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

# The longest that a connection may take, from its first byte to the end of its answer.
_MAX_SECONDS = 5.0

# Connections served at a time, including the one that is being accepted. Further ones wait in the
# system's backlog, at most until the first of these has reached its limit.
_MAX_CONNECTIONS = 8

# The most bytes of a request that is not complete; h11 refuses more.
_MAX_REQUEST_BYTES = 16_384

# Seconds of pause after a connection that could not be accepted, because no descriptor was left.
_ACCEPT_PAUSE_SECONDS = 0.5

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
        registry: the metrics to answer with.
        host: the address to listen on.
        port: the port to listen on; 0 is any free port.
        task_status: is told the port once it is bound.

    Raises:
        OSError: the address cannot be listened on.

    """
    places = anyio.Semaphore(_MAX_CONNECTIONS)
    async with (
        await anyio.create_tcp_listener(local_host=host, local_port=port) as listener,
        anyio.create_task_group() as tasks,
    ):
        # anyio's type for listeners names only what they accept.
        for each in cast("Sequence[SocketListener]", listener.listeners):
            tasks.start_soon(_accept, each, registry, places, tasks)
        bound = listener.extra(SocketAttribute.local_port)
        _log.info("metrics", host=host, port=bound, path=_PATH.decode())
        task_status.started(bound)


async def _accept(
    listener: "SocketListener",
    registry: "CollectorRegistry",
    places: anyio.Semaphore,
    tasks: "TaskGroup",
) -> None:
    while True:
        async with places:
            stream = await _accept_one(listener)
        tasks.start_soon(_serve_one, stream, registry, places)


async def _accept_one(listener: "SocketListener") -> "SocketStream":
    while True:
        try:
            return await listener.accept()
        except (OSError, anyio.BrokenResourceError):  # on asyncio and on trio
            await anyio.sleep(_ACCEPT_PAUSE_SECONDS)


async def _serve_one(
    stream: "SocketStream", registry: "CollectorRegistry", places: anyio.Semaphore
) -> None:
    async with places, stream:
        with anyio.move_on_after(_MAX_SECONDS), suppress(anyio.BrokenResourceError):
            await _answer(stream, registry)


async def _answer(stream: "SocketStream", registry: "CollectorRegistry") -> None:
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_REQUEST_BYTES)
    with suppress(
        anyio.EndOfStream, h11.RemoteProtocolError
    ):  # disconnected, or does not speak HTTP
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
