"""HTTP/2 for another server in the same process: h2 with our bounds, and no gRPC.

What is wrong with one stream ends that stream, and each frame's events are given before the next
frame is read. :class:`Budgets` counts what a peer does too often, and :class:`MemoryBudget` what is
held for all peers. For example, a web server that reads a connection::

    h2 = Http2(Configuration(max_concurrent_streams=100), client_side=False)
    budgets = Budgets(config, clock=trio.current_time, on_flood=close)
    for event in h2.receive(data):
        if isinstance(event, FrameIgnored):
            budgets.frame_ignored(event, resets_sent=0)
        ...
        if h2.cost > 200:                       # five milliseconds of work
            h2.cost = 0
            await trio.lowlevel.checkpoint()

Subclasses of h2's classes are in it, so its names change with h2's.
"""

from grpclib_anyio._base.memory_budget import Holding, MemoryBudget, Share
from grpclib_anyio._base.rate_limit import Credit
from grpclib_anyio._connection.budgets import Budgets
from grpclib_anyio._connection.http2 import FrameIgnored, Http2, without_values
from grpclib_anyio._connection.stream_errors import Stream, StreamError

__all__ = [
    "Budgets",
    "Credit",
    "FrameIgnored",
    "Holding",
    "Http2",
    "MemoryBudget",
    "Share",
    "Stream",
    "StreamError",
    "without_values",
]
