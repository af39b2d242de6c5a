"""The trace that a request belongs to, from its ``traceparent`` (W3C Trace Context, section 3.2).

The trace is in the context of the task that serves the request, and of the tasks that this task
starts. For example::

    join_trace(["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"])
    log.info("request ended")  # has trace_id='0af7651916cd43dd8448eb211c80319c'
    stub.generate(request, metadata=trace_metadata())  # the next service joins the trace too
"""

import re
from contextvars import ContextVar
from typing import TYPE_CHECKING

from structlog.contextvars import bind_contextvars

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["join_trace", "trace_id", "trace_metadata"]

# Later versions may add fields after a dash. They go on to the model in a header, so they may have
# only the characters that a header can carry. Version "ff" and ids of zeros are invalid.
_TRACEPARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})"
    r"-(?P<trace>(?!0{32})[0-9a-f]{32})"
    r"-(?!0{16})[0-9a-f]{16}"
    r"-[0-9a-f]{2}(?P<more>-[!-~]*)?"
)

# Characters. A longer value is ignored. Version 0, the only one today, has 55 characters.
_MAX_LENGTH = 512


def trace_id(traceparent: str) -> str | None:
    """Return the trace id of a header's value, 32 hex digits; None if the value is malformed."""
    match = _TRACEPARENT.fullmatch(traceparent) if len(traceparent) <= _MAX_LENGTH else None
    if match is None or (match["version"] == "00" and match["more"]):
        return None
    return match["trace"]


_traceparent: ContextVar[str | None] = ContextVar("traceparent", default=None)


def join_trace(traceparents: "Sequence[str]") -> None:
    """Join the trace that a request's headers name, from now to the end of the task.

    Every line that is logged from then on has the ``trace_id``. A malformed value is ignored.
    Several values are ignored too, because it is unclear which of them is right.
    """
    if len(traceparents) == 1 and (trace := trace_id(traceparents[0])) is not None:
        _traceparent.set(traceparents[0])
        bind_contextvars(trace_id=trace)


def trace_metadata() -> dict[str, str] | None:
    """Return gRPC metadata that names the trace; None if the task has joined none."""
    traceparent = _traceparent.get()
    return None if traceparent is None else {"traceparent": traceparent}
