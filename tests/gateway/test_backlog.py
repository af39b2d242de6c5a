"""A burst of connections finds room until they are accepted."""

import socket
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import pytest
import trio
from hypercorn.config import Config, Sockets

from relay_gateway.server.worker import serve

if TYPE_CHECKING:
    from hypercorn.typing import AppWrapper

#: More than hypercorn lets wait, and seconds after which one is taken to have been dropped.
BURST, SOON = 300, 5.0
CHOSEN = 7


async def _application(_app_scope: Any, receive: Any, send: Any, *_: Any) -> None:
    for stage in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{stage}.complete"})


def _listening(config: Config) -> Sockets:
    """As hypercorn's command line does, which listens before it has loaded the application."""
    sockets = config.create_sockets()
    for sock in sockets.insecure_sockets:
        sock.listen(config.backlog)
    return sockets


@pytest.mark.trio
@pytest.mark.parametrize("listens_before", [False, True])
async def test_a_burst_of_connections_is_kept(*, listens_before: bool) -> None:
    """Nothing is accepted between them: this task does not let the server run."""
    config = Config()
    config.bind, config.errorlog = ["127.0.0.1:0"], None
    sockets = _listening(config) if listens_before else None
    stop = trio.Event()
    run = partial(
        serve, cast("AppWrapper", _application), config, sockets=sockets, shutdown_trigger=stop.wait
    )
    async with trio.open_nursery() as nursery:
        (url,) = await nursery.start(run)
        port = int(url.rpartition(":")[2])
        with ExitStack() as connections:
            for _ in range(BURST):
                connection = socket.create_connection(("127.0.0.1", port), timeout=SOON)
                connections.enter_context(connection)
        stop.set()


@pytest.mark.trio
async def test_a_backlog_that_was_chosen_stays() -> None:
    """An operator knows better."""
    config = Config()
    config.bind, config.errorlog, config.backlog = ["127.0.0.1:0"], None, CHOSEN
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        run = partial(serve, cast("AppWrapper", _application), config, shutdown_trigger=stop.wait)
        await nursery.start(run)
        stop.set()
    assert config.backlog == CHOSEN
