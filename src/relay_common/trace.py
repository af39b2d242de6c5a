"""The trace that a request is part of, from its ``traceparent`` (W3C Trace Context § 3.2).

It is held by the task that serves the request, and by those which that one starts.
"""

import re
from contextvars import ContextVar
from typing import TYPE_CHECKING

from structlog.contextvars import bind_contextvars

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["join_trace", "trace_id", "trace_metadata"]

# A later version may go on after a dash; "ff" is none. An id is not all zeros.
_TRACEPARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})"
    r"-(?P<trace>(?!0{32})[0-9a-f]{32})"
    r"-(?!0{16})[0-9a-f]{16}"
    r"-[0-9a-f]{2}(?P<more>-.*)?"
)

# The longest that is looked at: version 0 has 55 characters, and the standard knows no other.
_MAX_LENGTH = 512


def trace_id(traceparent: str) -> str | None:
    """Return the trace id of a header's value, 32 hex digits; None if the value is malformed."""
    match = _TRACEPARENT.fullmatch(traceparent) if len(traceparent) <= _MAX_LENGTH else None
    if match is None or (match["version"] == "00" and match["more"]):
        return None
    return match["trace"]


_traceparent: ContextVar[str | None] = ContextVar("traceparent", default=None)


def join_trace(traceparents: "Sequence[str]") -> None:
    """Be part of the trace that a request's headers name, from now to the end of the task.

    Every line that is logged then has its ``trace_id``. A malformed value is ignored, and so are
    several: nobody knows which of them is meant.
    """
    if len(traceparents) == 1 and (trace := trace_id(traceparents[0])) is not None:
        _traceparent.set(traceparents[0])
        bind_contextvars(trace_id=trace)


def trace_metadata() -> dict[str, str] | None:
    """Return what tells the next service of the trace, if there is one."""
    traceparent = _traceparent.get()
    return None if traceparent is None else {"traceparent": traceparent}
