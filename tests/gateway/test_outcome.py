"""Why a request ended, as far as the error of its call tells."""

import pytest
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from h2.errors import ErrorCodes

from grpclib_anyio._base.errors import http_status_error, reset_error, unavailable
from relay_gateway.relay.outcome import Cause, outcome_of


@pytest.mark.parametrize("code", list(ErrorCodes), ids=lambda code: code.name)
def test_a_stream_that_is_reset_has_lost_its_model(code: ErrorCodes) -> None:
    """Whatever the code: with a status, the model would have spoken."""
    outcome = outcome_of(reset_error(code))
    assert (outcome.cause, outcome.code) == (Cause.MODEL_UNAVAILABLE, "UNAVAILABLE")


@pytest.mark.parametrize("status", ["502", "503", "504", "429"])
def test_a_proxys_own_answer_means_the_same(status: str) -> None:
    assert outcome_of(http_status_error(status)).cause is Cause.MODEL_UNAVAILABLE


def test_a_lost_connection_is_a_lost_model() -> None:
    assert outcome_of(unavailable("gone")).cause is Cause.MODEL_UNAVAILABLE


@pytest.mark.parametrize(
    "status", [Status.INTERNAL, Status.UNKNOWN, Status.CANCELLED, Status.RESOURCE_EXHAUSTED]
)
def test_a_status_of_the_model_is_its_own(status: Status) -> None:
    outcome = outcome_of(GRPCError(status, "mine"))
    assert (outcome.cause, outcome.code) == (Cause.MODEL_ERROR, status.name)


@pytest.mark.parametrize("seconds", [0, 1, 2**62, -5])
def test_any_delay_can_be_read(seconds: int) -> None:
    retry = RetryInfo()
    retry.retry_delay.seconds = seconds
    outcome = outcome_of(GRPCError(Status.RESOURCE_EXHAUSTED, "", [retry]))
    assert outcome.retry_after == seconds


def test_a_refusal_is_shown_as_far_as_it_is_short() -> None:
    violation = BadRequest.FieldViolation(field="f" * 1000, description="d" * 1000)
    details = [BadRequest(field_violations=[violation])]
    outcome = outcome_of(GRPCError(Status.INVALID_ARGUMENT, "", details))
    assert outcome.message == "d" * 500
    assert outcome.field == "f" * 500


def test_details_that_nobody_knows_change_nothing() -> None:
    outcome = outcome_of(GRPCError(Status.INTERNAL, "", [object(), BadRequest()]))
    assert (outcome.field, outcome.retry_after) == (None, None)


@pytest.mark.parametrize(
    ("of_contract", "of_json"),
    [
        ("parameters.stop", "stop"),
        ("parameters.parallel_tool_calls", "parallel_tool_calls"),
        ("messages[0].parts[1]", "messages[0]"),
        ("messages[12].parts[3].tool_call.arguments", "messages[12]"),
        ("messages[0].parts[1]\nmore", "messages[0]"),
        ("messages[0].role", "messages[0].role"),
        ("tools[0].parameters", "tools[0].parameters"),
        ("response_format", "response_format"),
        ("prompt", "prompt"),
        ("", ""),
    ],
)
def test_a_field_has_the_name_that_its_caller_gave_it(of_contract: str, of_json: str) -> None:
    description = f"{of_contract}: the backend has no {of_contract}"
    violation = BadRequest.FieldViolation(field=of_contract, description=description)
    details = [BadRequest(field_violations=[violation])]
    outcome = outcome_of(GRPCError(Status.INVALID_ARGUMENT, "", details))
    assert outcome.field == of_json
    assert outcome.message == f"{of_json}: the backend has no {of_contract}"
