"""HTTP/2 codes, HTTP statuses and gRPC statuses in terms of one another."""

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError
from h2.errors import ErrorCodes

from grpclib_anyio._base.errors import (
    STATUS_OF_CODE,
    DeadlineExceededError,
    TerminatedError,
    goaway_message,
    http_status_error,
    reset_error,
    unavailable,
)


@pytest.mark.parametrize("code", ErrorCodes)
def test_every_code_is_named_to_the_caller(code: ErrorCodes) -> None:
    error = reset_error(code)
    assert error.message == f"Stream reset by the peer: {code.name}"
    assert error.status is STATUS_OF_CODE.get(code, Status.UNKNOWN)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (ErrorCodes.CANCEL, Status.CANCELLED),
        (ErrorCodes.REFUSED_STREAM, Status.UNAVAILABLE),
        (ErrorCodes.ENHANCE_YOUR_CALM, Status.RESOURCE_EXHAUSTED),
        (ErrorCodes.INADEQUATE_SECURITY, Status.PERMISSION_DENIED),
        (ErrorCodes.NO_ERROR, Status.INTERNAL),
        (ErrorCodes.INTERNAL_ERROR, Status.INTERNAL),
        (0xFFFF, Status.UNKNOWN),
    ],
)
def test_status_of_a_reset(code: int, status: Status) -> None:
    assert reset_error(code).status is status


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ("400", Status.INTERNAL),
        ("401", Status.UNAUTHENTICATED),
        ("403", Status.PERMISSION_DENIED),
        ("404", Status.UNIMPLEMENTED),
        ("429", Status.UNAVAILABLE),
        ("502", Status.UNAVAILABLE),
        ("503", Status.UNAVAILABLE),
        ("504", Status.UNAVAILABLE),
        ("418", Status.UNKNOWN),
        ("\xb2", Status.UNKNOWN),
        ("", Status.UNKNOWN),
    ],
)
def test_status_of_an_http_status(value: str, status: Status) -> None:
    assert http_status_error(value).status is status


def test_errors_are_those_of_grpclib() -> None:
    """Code that was written for grpclib catches them."""
    assert issubclass(TerminatedError, StreamTerminatedError)
    assert issubclass(TerminatedError, GRPCError)
    assert issubclass(DeadlineExceededError, TimeoutError)
    assert issubclass(DeadlineExceededError, GRPCError)


def test_copy_is_equal_and_not_the_same() -> None:
    error = unavailable("gone")
    copy = error.copy()
    assert copy is not error
    assert (copy.status, copy.message, copy.details) == (Status.UNAVAILABLE, "gone", None)


def test_debug_data_of_a_goaway_is_shown_whatever_it_is() -> None:
    expected = "The peer closed the connection: ENHANCE_YOUR_CALM (slow \ufffd)"
    assert goaway_message(ErrorCodes.ENHANCE_YOUR_CALM, b"slow \xff") == expected
    assert goaway_message(0x77, b"") == "The peer closed the connection: 0x77"
    assert len(goaway_message(0, b"x" * 10_000)) < 200
