"""`traceparent`: what is taken for one."""

from contextvars import copy_context

import pytest
from structlog.contextvars import get_contextvars

from relay_common.trace import join_trace, trace_id, trace_metadata

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    "traceparent",
    [
        f"00-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-ff",
        f"01-{TRACE}-{PARENT}-01",
        f"cc-{TRACE}-{PARENT}-01-what-comes-later",
    ],
)
def test_a_trace_is_found(traceparent: str) -> None:
    assert trace_id(traceparent) == TRACE


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        TRACE,
        f"00-{TRACE}-{PARENT}",
        f"00-{TRACE}-{PARENT}-1",
        f"00-{TRACE}-{PARENT}-01-more",
        f"ff-{TRACE}-{PARENT}-01",
        f"0-{TRACE}-{PARENT}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE[1:]}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{PARENT}-01\n",
        f" 00-{TRACE}-{PARENT}-01",
        f"cc-{TRACE}-{PARENT}-01more",
        f"cc-{TRACE}-{PARENT}-01-{'x' * 1000}",
        f"01-{TRACE}-{PARENT}-01-\xe9",
        f"01-{TRACE}-{PARENT}-01-\x7f",
        f"01-{TRACE}-{PARENT}-01-\t",
        f"01-{TRACE}-{PARENT}-01-a b",
        f"01-{TRACE}-{PARENT}-\u0660\u0661",
    ],
)
def test_what_is_malformed_is_none(traceparent: str) -> None:
    assert trace_id(traceparent) is None


def in_a_task(*traceparents: str) -> tuple[dict[str, str] | None, object]:
    """Give what goes on to the next service, and what is in every line of the log."""

    def joined() -> tuple[dict[str, str] | None, object]:
        join_trace(traceparents)
        return trace_metadata(), get_contextvars().get("trace_id")

    return copy_context().run(joined)


def test_a_task_is_part_of_a_trace() -> None:
    traceparent = f"00-{TRACE}-{PARENT}-01"
    assert in_a_task(traceparent) == ({"traceparent": traceparent}, TRACE)
    assert trace_metadata() is None


@pytest.mark.parametrize("traceparents", [[], ["malformed"], [f"00-{TRACE}-{PARENT}-01"] * 2])
def test_what_is_not_clear_is_no_trace(traceparents: list[str]) -> None:
    assert in_a_task(*traceparents) == (None, None)
