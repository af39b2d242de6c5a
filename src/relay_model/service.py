"""``ai.AIService`` over a backend: text becomes messages, an end a status and a log line."""

import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple, Self

import anyio
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib_anyio.betterproto import maker

from relay_model.accounting import Metrics, RequestLog
from relay_model.admission import Admission
from relay_model.errors import BackendError
from relay_proto.ai import AiServiceBase, FinishReason, GenerateResponse, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from relay_model.backends.protocol import Backend, Pieces
    from relay_model.outcome import Outcome
    from relay_proto.ai import GenerateRequest

__all__ = ["AiService", "Answer"]

# A caller whose own time is up resets the call in the moment in which ours is.
_DEADLINE_SLACK_SECONDS = 0.1

_NANOSECONDS = 1_000_000_000

_response = maker(GenerateResponse)


class AiService(AiServiceBase):
    """Answers ``Generate`` with what a backend says."""

    def __init__(self, backend: "Backend | None" = None, turns: Admission | None = None) -> None:
        """Answer with a backend that is open, or say that it is not until it is.

        Args:
            backend: answers prompts; may be given later, see :meth:`begin`.
            turns: how many of them at a time.

        """
        self._backend = backend
        self._turns = turns or Admission()
        self._stopped_from = math.inf
        self.metrics = Metrics(self._turns)

    def generate(self, generate_request: "GenerateRequest") -> "Answer":
        """Answer a prompt with its text in pieces and then a last message that says ``done``."""
        return Answer(self._respond(generate_request))

    def begin(self, backend: "Backend") -> None:
        """Answer with ``backend`` from now on."""
        self._backend = backend

    def stop(self, grace: float = 0.0) -> None:
        """Take every cancellation as the end of the service, for the log.

        Args:
            grace: seconds from now for which callers can still be the ones who cancel.

        """
        self._stopped_from = anyio.current_time() + grace

    @asynccontextmanager
    async def _respond(self, request: "GenerateRequest") -> "AsyncGenerator[_Responses]":
        """One request from its first moment to its line in the log.

        No task and no scope is held across the yield but those of the backend's own context.
        """
        deadline = anyio.current_effective_deadline()
        measure = RequestLog(request.session_id, self.metrics)
        cause, status = "model_error", Status.INTERNAL
        try:
            backend = self._ready_for(request)
            async with self._turns.turn():
                measure.begin_turn()
                async with backend.stream(request.prompt, session_id=request.session_id) as pieces:
                    responses = _Responses(pieces, measure)
                    yield responses
            cause, status = responses.ending
        except BackendError as error:
            cause, status = _ending_of(error)
            measure.note(error=error.detail or error.message)
            raise GRPCError(error.status, error.message, _details(error)) from error
        except GRPCError:  # from sending: there is nobody to send to
            cause, status = _LEFT
            raise
        except Exception as error:
            measure.note(exc_info=error)
            raise GRPCError(Status.INTERNAL, "The model failed.") from error
        except BaseException:
            cause, status = self._ending_by_cancellation(deadline)
            raise
        finally:
            measure.end(cause=cause, status=status.name)

    def _ready_for(self, request: "GenerateRequest") -> "Backend":
        if not request.prompt:
            raise BackendError(Status.INVALID_ARGUMENT, "The prompt is empty.")
        if self._backend is None:
            message = "The model is still being loaded: try again in a moment."
            raise BackendError(Status.UNAVAILABLE, message)
        return self._backend

    def _ending_by_cancellation(self, deadline: float) -> "_Ending":
        # A call is cancelled in the same way whatever ended it; the clock is what tells them apart.
        # Minus infinity is no deadline: the request was cancelled before it began.
        now = anyio.current_time()
        if -math.inf < deadline <= now + _DEADLINE_SLACK_SECONDS:
            return _Ending("deadline", Status.DEADLINE_EXCEEDED)
        return _Ending("shutdown", Status.UNAVAILABLE) if now >= self._stopped_from else _LEFT


class _Ending(NamedTuple):
    """How a request ended: for the log and the metrics, and for the caller."""

    cause: str
    status: Status


_DONE = _Ending("done", Status.OK)
_LEFT = _Ending("client_disconnect", Status.CANCELLED)


def _ending_of(error: BackendError) -> _Ending:
    is_away = error.status is Status.UNAVAILABLE
    return _Ending("model_unavailable" if is_away else "model_error", error.status)


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

    def __init__(self, pieces: "Pieces", measure: RequestLog) -> None:
        self._pieces = pieces
        self._measure = measure
        self._is_done = False

    @property
    def ending(self) -> _Ending:
        """How the request ended if nothing was raised."""
        return _DONE if self._is_done else _LEFT

    async def __anext__(self) -> GenerateResponse:
        if self._is_done:
            raise StopAsyncIteration
        piece = await anext(self._pieces, None)
        if piece is None:
            self._is_done = True
            self._measure.outcome = self._pieces.outcome
            return _last_message(self._measure.outcome)
        self._measure.count()
        return _response(token=piece)


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
