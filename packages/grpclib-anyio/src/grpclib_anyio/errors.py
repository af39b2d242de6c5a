"""What a call can raise: each is a ``GRPCError`` with a status.

For example, a caller that tries another server when this one is away::

    try:
        reply = await stub.ask(question, timeout=5)
    except GRPCError as error:
        if error.status is not Status.UNAVAILABLE:
            raise
"""

from grpclib.const import Status

from grpclib_anyio._base.errors import (
    DeadlineExceededError,
    GRPCError,
    TerminatedError,
    UnprocessedError,
)

__all__ = ["DeadlineExceededError", "GRPCError", "Status", "TerminatedError", "UnprocessedError"]
