"""The trace that a request is part of, from its ``traceparent`` (W3C Trace Context § 3.2)."""

import re

__all__ = ["trace_id"]

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
