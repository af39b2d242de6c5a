"""How a request ends: the one cause that is recorded, and the words that the person reads.

For example, a model service that cannot be reached answers with the gRPC status UNAVAILABLE. The
cause is then ``model_unavailable``, the page says "The model cannot be reached right now", and what
the service wrote goes to the log only.
"""

from dataclasses import dataclass
from enum import StrEnum

from grpclib.const import Status
from grpclib.exceptions import GRPCError

__all__ = ["CUT_SHORT", "DONE", "INTERNAL", "LATE", "STOPPED", "Cause", "Outcome", "outcome_of"]


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
    #: For the reader of the page: never anything that the model service wrote.
    message: str
    #: For the log.
    detail: str = ""


_CAUSES = {
    Status.UNAVAILABLE: Cause.MODEL_UNAVAILABLE,
    Status.DEADLINE_EXCEEDED: Cause.DEADLINE,
}
_LATE_MESSAGE = "The answer took too long and was stopped."
_GENERAL_MESSAGE = "The model failed to answer. Please try again."
_MESSAGES = {
    Status.UNAVAILABLE: "The model cannot be reached right now. Please try again in a moment.",
    Status.DEADLINE_EXCEEDED: _LATE_MESSAGE,
    Status.RESOURCE_EXHAUSTED: "The model is busy. Please try again in a moment.",
    Status.INVALID_ARGUMENT: "The model cannot answer this prompt. It may be too long.",
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
INTERNAL = Outcome(Cause.MODEL_ERROR, Status.INTERNAL.name, _GENERAL_MESSAGE, "see the traceback")


def outcome_of(error: GRPCError) -> Outcome:
    """Return how an answer ended that ended with a status other than OK."""
    return Outcome(
        _CAUSES.get(error.status, Cause.MODEL_ERROR),
        error.status.name,
        _MESSAGES.get(error.status, _GENERAL_MESSAGE),
        error.message or "",
    )
