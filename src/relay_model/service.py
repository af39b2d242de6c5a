"""``ai.AIService`` over a backend: text becomes messages, an end a status and a log line."""

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self

import anyio
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from structlog.stdlib import get_logger

from relay_model.errors import BackendError
from relay_model.measure import Measure
from relay_proto.ai import AiServiceBase, FinishReason, GenerateResponse, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from relay_model.backends import Backend, Pieces
    from relay_model.outcome import Outcome
    from relay_proto.ai import GenerateRequest

__all__ = ["AiService", "Answer"]

# A session id comes from outside; this much of it tells two apart.
_LOGGED_SESSION_ID = 64

# A caller whose own time is up resets the call in the moment in which ours is.
_DEADLINE_SLACK_SECONDS = 0.1

_NANOSECONDS = 1_000_000_000

_log = get_logger(__name__)


class AiService(AiServiceBase):
    """Answers ``Generate`` with what a backend says."""

    def __init__(self, backend: "Backend") -> None:
        """Serve an open backend."""
        self._backend = backend
        self._is_stopping = False

    def generate(self, generate_request: "GenerateRequest") -> "Answer":
        """Answer a prompt with its text in pieces and then a last message that says ``done``."""
        return Answer(self._respond(generate_request))

    def stop_nowait(self) -> None:
        """Take every cancellation from now on as the end of the service, for the log."""
        self._is_stopping = True

    @asynccontextmanager
    async def _respond(self, request: "GenerateRequest") -> "AsyncGenerator[_Responses]":
        """One request from its first moment to its line in the log.

        No task and no scope is held across the yield but those of the backend's own context.
        """
        deadline = anyio.current_effective_deadline()
        measure = Measure()
        cause = "model_error"
        try:
            _check(request)
            async with self._backend.stream(
                request.prompt, session_id=request.session_id
            ) as pieces:
                responses = _Responses(pieces, measure)
                yield responses
            cause = responses.cause
        except BackendError as error:
            measure.note(status=error.status.name, error=error.detail or error.message)
            raise GRPCError(error.status, error.message, _details(error)) from error
        except GRPCError:  # from sending: there is nobody to send to
            cause = "client_disconnect"
            raise
        except Exception as error:
            measure.note(exc_info=error)
            raise GRPCError(Status.INTERNAL, "The model failed.") from error
        except BaseException:
            cause = self._cause_of_cancellation(deadline)
            raise
        finally:
            session_id = request.session_id[:_LOGGED_SESSION_ID]
            measure.log(_log, cause=cause, session_id=session_id)

    def _cause_of_cancellation(self, deadline: float) -> str:
        # A call is cancelled in the same way whatever ended it; the clock is what tells them apart.
        if anyio.current_time() >= deadline - _DEADLINE_SLACK_SECONDS:
            return "deadline"
        return "shutdown" if self._is_stopping else "client_disconnect"


def _check(request: "GenerateRequest") -> None:
    if not request.prompt:
        raise BackendError(Status.INVALID_ARGUMENT, "The prompt is empty.")


def _details(error: BackendError) -> list[RetryInfo] | None:
    if error.retry_after is None:
        return None
    delay = Duration()
    delay.FromNanoseconds(round(error.retry_after * _NANOSECONDS))
    return [RetryInfo(retry_delay=delay)]


def _last_message(outcome: "Outcome") -> GenerateResponse:
    message = GenerateResponse(
        done=True, finish_reason=FinishReason.try_value(outcome.finish_reason)
    )
    if outcome.usage is not None:
        message.usage = Usage(*outcome.usage)
    return message


class _Responses:
    """A backend's pieces as messages, and the last message after them."""

    def __init__(self, pieces: "Pieces", measure: Measure) -> None:
        self._pieces = pieces
        self._measure = measure
        self._is_done = False

    @property
    def cause(self) -> str:
        """How the request ended if nothing was raised."""
        return "done" if self._is_done else "client_disconnect"

    async def __anext__(self) -> GenerateResponse:
        if self._is_done:
            raise StopAsyncIteration
        piece = await anext(self._pieces, None)
        if piece is None:
            self._is_done = True
            return _last_message(self._pieces.outcome)
        self._measure.count()
        return GenerateResponse(token=piece)


class Answer:
    """What ``generate`` returns: the messages of one answer, to be read inside its context.

    It is a context manager because a backend may hold a scope for the whole of an answer, which
    an async generator could not (PEP 789). Leaving the context stops the backend, and has done so
    when it is left.

    Raises:
        GRPCError: from entering, reading or leaving: what the caller is to be told.

    """

    def __init__(self, responses: "AbstractAsyncContextManager[_Responses]") -> None:
        """Prepare an answer; nothing happens until it is entered."""
        self._context = responses
        self._responses: _Responses | None = None

    async def __aenter__(self) -> Self:
        """Give the prompt to the backend; may wait for its turn."""
        self._responses = await self._context.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: "type[BaseException] | None",
        exc_value: "BaseException | None",
        traceback: "TracebackType | None",
    ) -> bool | None:
        """Stop the backend, and write how the request ended to the log."""
        # The backend's context bounds what it awaits.
        return await self._context.__aexit__(exc_type, exc_value, traceback)  # noqa: ASYNC102

    def __aiter__(self) -> Self:
        """Read the messages, once."""
        return self

    async def __anext__(self) -> GenerateResponse:
        """Wait for the next message; the last one has ``done`` set."""
        if self._responses is None:
            message = "an answer is read inside its context: async with service.generate(...)"
            raise RuntimeError(message)
        return await anext(self._responses)
