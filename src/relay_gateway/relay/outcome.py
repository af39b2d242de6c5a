"""How a request ends: the one cause that is recorded, and the words that the person reads.

For example, a model service that cannot be reached answers with the gRPC status UNAVAILABLE. The
cause is then ``model_unavailable``, the page says "The model cannot be reached right now", and what
the service wrote goes to the log only.
"""

import re
from dataclasses import dataclass, replace
from enum import StrEnum

from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from grpclib_anyio.errors import TerminatedError

__all__ = [
    "CUT_SHORT",
    "DONE",
    "INTERNAL",
    "LATE",
    "STOPPED",
    "TOO_LONG",
    "Cause",
    "Outcome",
    "outcome_of",
]


class Cause(StrEnum):
    """Why a request is over. Exactly one is recorded for each, in the log and in the metrics."""

    #: The model finished, and the whole answer was handed to the browser's connection.
    DONE = "done"
    #: The browser disconnected first.
    CLIENT_DISCONNECT = "client_disconnect"
    #: The request took longer than it may.
    DEADLINE = "deadline"
    #: The model answered with an error, or stopped within an answer.
    MODEL_ERROR = "model_error"
    #: There is no connection to the model, or it was lost.
    MODEL_UNAVAILABLE = "model_unavailable"
    #: The gateway stopped.
    SHUTDOWN = "shutdown"


@dataclass(frozen=True)
class Outcome:
    """How an answer ended on the model's side."""

    cause: Cause
    #: The gRPC status, by name.
    code: str
    #: For the reader of the page. Of what the model service wrote it has only a refusal of one of
    #: the request's fields, which is meant for the caller.
    message: str
    #: For the log.
    detail: str = ""
    #: Seconds after which asking again may succeed; None if the model service named none.
    retry_after: float | None = None
    #: The field of the request that the model service refuses; None if it is none of them.
    field: str | None = None


_CAUSES = {
    Status.UNAVAILABLE: Cause.MODEL_UNAVAILABLE,
    Status.DEADLINE_EXCEEDED: Cause.DEADLINE,
}
_NANOSECONDS = 1e9
#: Parts of a field's name that its caller does not know. For example, JSON has ``stop`` where the
#: contract has ``parameters.stop``, and it has the parts of a message in other places.
_ONLY_IN_CONTRACT = re.compile(r"^parameters\.|\.parts\[.*", re.DOTALL)
#: Characters of a refusal that are shown.
_SHOWN_LENGTH = 500
_LATE_MESSAGE = "The answer took too long and was stopped."
_GENERAL_MESSAGE = "The model failed to answer. Please try again."
_MESSAGES = {
    Status.UNAVAILABLE: "The model cannot be reached right now. Please try again in a moment.",
    Status.DEADLINE_EXCEEDED: _LATE_MESSAGE,
    Status.RESOURCE_EXHAUSTED: "The model is busy. Please try again in a moment.",
    Status.INVALID_ARGUMENT: "The model cannot answer this prompt. It may be too long.",
    Status.NOT_FOUND: "There is no such model.",
}

DONE = Outcome(Cause.DONE, Status.OK.name, "")
CUT_SHORT = Outcome(
    Cause.MODEL_ERROR,
    Status.DATA_LOSS.name,
    "The answer was cut short. Please try again.",
    "the stream ended without a last message",
)
LATE = Outcome(Cause.DEADLINE, Status.DEADLINE_EXCEEDED.name, _LATE_MESSAGE, "the deadline passed")
STOPPED = Outcome(
    Cause.SHUTDOWN,
    Status.UNAVAILABLE.name,
    "The service is restarting and stopped the answer. Please try again in a moment.",
)
TOO_LONG = Outcome(
    Cause.MODEL_ERROR,
    Status.OUT_OF_RANGE.name,
    "The answer is too long to be given as a whole. Ask for a stream.",
    "the answer is longer than may be kept",
)
INTERNAL = Outcome(Cause.MODEL_ERROR, Status.INTERNAL.name, _GENERAL_MESSAGE, "see the traceback")


def outcome_of(error: GRPCError) -> Outcome:
    """Return how an answer ended that ended with a status other than OK."""
    # No status came: the stream was reset or cut. A proxy has codes of its own for a model that it
    # has lost, for example Envoy's INTERNAL_ERROR.
    is_lost = isinstance(error, TerminatedError)
    status = Status.UNAVAILABLE if is_lost else error.status
    outcome = Outcome(
        _CAUSES.get(status, Cause.MODEL_ERROR),
        status.name,
        _MESSAGES.get(status, _GENERAL_MESSAGE),
        error.message or "",
    )
    for detail in error.details or ():
        outcome = _with_detail(outcome, detail)
    return outcome


def _with_detail(outcome: Outcome, detail: object) -> Outcome:
    """Add what a service says for the caller's eyes (google/rpc/error_details.proto)."""
    if isinstance(detail, RetryInfo):
        delay = detail.retry_delay
        return replace(outcome, retry_after=delay.seconds + delay.nanos / _NANOSECONDS)
    if isinstance(detail, BadRequest) and detail.field_violations:
        violation = detail.field_violations[0]
        field = _ONLY_IN_CONTRACT.sub("", violation.field)
        return replace(
            outcome,
            message=violation.description.replace(violation.field, field, 1)[:_SHOWN_LENGTH],
            field=field[:_SHOWN_LENGTH],
        )
    return outcome
