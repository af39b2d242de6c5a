"""gRPC on trio and asyncio: grpclib's ``Channel`` and ``Server`` on anyio.

A server and its client, in one program::

    async def main():
        async with anyio.create_task_group() as tasks:
            [address] = await tasks.start(Server([Greeter()]).serve, "127.0.0.1", 0)
            async with Channel(*address) as channel:
                print(await GreeterStub(channel).say_hello(HelloRequest("trio")))
            tasks.cancel_scope.cancel()
    trio.run(main)  # or asyncio.run(main())

``grpclib_anyio.client`` and ``grpclib_anyio.server`` take the place of ``grpclib.client`` and
``grpclib.server``. ``config``, ``errors``, ``health``, ``http2`` and ``testing`` are public as
well. What is behind them, in the order in which bytes from the wire meet it:

===============  =============================================================================
folder           what it does
===============  =============================================================================
``_base``        what all others use: configuration, errors, headers, events, the clock
``_fast``        optional short ways past h2 and hpack, and trio's sockets
``_stream``      one call's messages: framing, compression, flow control
``_connection``  one HTTP/2 connection: its tasks, its streams, pings, a drain
``_channel``     the connection of a channel: made, lost and made again
``_call``        one call: at the client from request to status, at the server its handler
``betterproto``  generated code of betterproto and betterproto2 completed, and a faster codec
===============  =============================================================================

Each folder imports only from those before it. Importing any of this imports no betterproto.
"""

from grpclib.metadata import Deadline

from grpclib_anyio.client import Channel
from grpclib_anyio.config import Configuration, Rate
from grpclib_anyio.errors import (
    DeadlineExceededError,
    GRPCError,
    Status,
    TerminatedError,
    UnprocessedError,
)
from grpclib_anyio.server import BoundAddress, Cardinality, Handler, Server, current_call

__all__ = [
    "BoundAddress",
    "Cardinality",
    "Channel",
    "Configuration",
    "Deadline",
    "DeadlineExceededError",
    "GRPCError",
    "Handler",
    "Rate",
    "Server",
    "Status",
    "TerminatedError",
    "UnprocessedError",
    "current_call",
]
