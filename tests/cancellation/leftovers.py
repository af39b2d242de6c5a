"""What a world must not hold once its requests are over: counted where the product counts it."""

# These are the product's own insides, and hypercorn's: nothing else tells.
# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001

import re
from collections.abc import Iterator

from grpclib_anyio._connection.connection import Connection, ConnectionStatistics
from tests.cancellation.world import World

_NOTHING = ConnectionStatistics(streams=0, waiting_for_slot=0, unsent_bytes=0)

#: Tasks of a gateway that nobody uses, of its connections to the model, and of the tests.
_LASTING = re.compile(
    r"""
      reader | writer | keepalive | <(client|server)\ connection> | connection\ to\ .*
    | deadlines\ of\ calls
    | hypercorn\.(trio\.lifespan|utils)\..* | trio\._highlevel_serve_listeners\._serve_one_listener
    | relay_gateway\.(web\.asgi\.Gateway\.hold_channel | server\.(worker|accept)\..*)
    | tests\..*
    """,
    re.VERBOSE,
)


def leftovers(world: World) -> list[str]:
    """List what is left in a world to which no browser is connected any more."""
    return [*_in_the_channel(world), *_in_windows(world), *_tasks(world), *_in_relays(world)]


def _in_the_channel(world: World) -> Iterator[str]:
    if (statistics := world.channel.statistics()) != _NOTHING:
        yield f"the channel holds {statistics}"
    if timers := len(world.channel._connector.timers):
        yield f"{timers} deadlines are waited for"
    for connection in world.channel._connector.connections:
        if taken := connection.streams.limit.taken:
            yield f"{taken} slots are taken"
    for connection in world.served:
        # What was queued on a connection that is lost goes with it, if it is known to be lost.
        if (
            connection.is_open
            and not _is_cut(world)
            and (statistics := connection.statistics()) != _NOTHING
        ):
            yield f"the model's connection holds {statistics}"
        if connection.streams:
            yield f"streams of the model's connection: {list(connection.streams)}"


def _is_cut(world: World) -> bool:
    return any(link.is_cut for link in world.models.links)


def _in_windows(world: World) -> Iterator[str]:
    """Compare what each side may send with what the other side has not told it yet."""
    clients = {c for c in world.channel._connector.connections if c.is_open}
    servers = {c for c in world.served if c.is_open}
    if len(clients) == len(servers) == 1 and not _is_cut(world):
        yield from _in_window(*clients, *servers)
        yield from _in_window(*servers, *clients)


def _in_window(sender: Connection, receiver: Connection) -> Iterator[str]:
    size = receiver._config.http2_connection_window_size
    may_send = sender._h2.outbound_flow_control_window
    owed = receiver._receiver.window.owed
    if may_send + owed != max(size, 65_535):
        yield f"{sender!r} may send {may_send} + {owed} bytes of {size}"


def _tasks(world: World) -> Iterator[str]:
    yield from (f"task {name}" for name in world.tasks() if not _LASTING.fullmatch(name))
    for peer in (*world.browsers, *world.strangers):
        if not peer.link.far.is_closed and peer.link.far.is_used:
            yield f"the connection of {peer.name}"


def _in_relays(world: World) -> Iterator[str]:
    for relay in world.relays:
        if not hasattr(relay, "_receive"):
            continue  # its browser disconnected before it was entered
        statistics = relay._receive.statistics()
        if statistics.open_send_channels or statistics.open_receive_channels:
            yield f"a request's channel: {statistics}"
        if statistics.current_buffer_used:
            yield f"{statistics.current_buffer_used} events"
