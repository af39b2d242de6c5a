"""The gateway as a part of a program: the application, and hypercorn in front of it.

``relay-gateway`` and ``relay-demo`` start it in a nursery::

    urls = await nursery.start(partial(serve, GatewaySettings(port=0), stop=trio.Event()))
"""

import logging
from functools import partial
from typing import TYPE_CHECKING

import trio
from hypercorn.config import Config
from hypercorn.utils import wrap_app  # pyright: ignore[reportUnknownVariableType] - has a bare `dict`

from relay_common.errors import EXIT_FAILURE, StartupError
from relay_gateway.server import worker
from relay_gateway.server.accept import refuse_new_connections
from relay_gateway.web.asgi import create_app
from relay_gateway.web.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hypercorn.config import Sockets

    from relay_gateway.settings import GatewaySettings
    from relay_gateway.web.access import LocalAccess

__all__ = ["listen", "serve"]

#: Bytes of a request's line and headers, whatever HTTP it comes by. A longer prompt comes by POST.
_MAX_HEADERS_SIZE = 64 * 1024


async def serve(  # noqa: ASYNC128 - hypercorn says that it has started
    settings: "GatewaySettings",
    *,
    stop: trio.Event,
    sockets: "Sockets | None" = None,
    metrics: Metrics | None = None,
    last_call: "Callable[[], Awaitable[None]] | None" = None,
    access: "LocalAccess | None" = None,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Listen, and relay answers until told to stop; cancelling ends every request at once.

    Args:
        settings: where to listen, where the model is, and what bounds a request.
        stop: when it is set, new requests are refused. Open answers may end for
            ``settings.shutdown_grace_seconds``, and then end with an event that says so. This
            returns when the last request is over, after ``settings.drain_seconds`` and a second at
            most.
        sockets: where to listen, if others listen there too; made of ``settings`` when left out.
        metrics: what to count in; its own when left out.
        last_call: awaited when all is drained, before the last connections are accepted; when left
            out, no other connection comes.
        access: refuses requests that others may not make; when left out, all may ask.
        task_status: is told the URLs once requests are accepted.

    Raises:
        StartupError: the address cannot be listened on.

    """
    config = _configuration(settings)
    sockets = sockets or listen(settings)
    application = create_app(settings, metrics=metrics, access=access)
    await worker.serve(
        wrap_app(application, config.wsgi_max_body_size, "asgi"),
        config,
        sockets=sockets,
        shutdown_trigger=stop.wait,
        last_call=last_call or partial(_refuse_others, sockets),
        task_status=task_status,
    )


def _configuration(settings: "GatewaySettings") -> Config:
    config = Config()
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    config.bind = [f"{host}:{settings.port}"]
    config.errorlog = logging.getLogger("hypercorn.error")  # in the form of all other lines
    config.include_server_header = False
    config.h11_max_incomplete_size = config.h2_max_header_list_size = _MAX_HEADERS_SIZE
    return config


async def _refuse_others(sockets: "Sockets") -> None:
    await trio.lowlevel.checkpoint()
    for listening in sockets.insecure_sockets:
        refuse_new_connections(listening)


def listen(settings: "GatewaySettings") -> "Sockets":
    """Listen where the settings say.

    Raises:
        StartupError: the address cannot be listened on.

    """
    config = _configuration(settings)
    try:
        sockets = config.create_sockets()
        for sock in sockets.insecure_sockets:
            sock.listen(config.backlog)
    except (OSError, TypeError, UnicodeError) as error:  # the last two: no host's name
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        message = f"cannot listen on {settings.host}:{settings.port}: {reason}"
        raise StartupError(message, exit_code=EXIT_FAILURE) from error
    return sockets
