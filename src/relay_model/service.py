"""``ai.AIService`` over a backend: pieces of text become messages, failures become statuses.

Each request ends with one line in the log that has its cause. For example::

    service = AiService(backend, Admission(max_concurrent=2, max_queued=8))
    server = Server([service])
"""

import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple, Self

import anyio
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from grpclib_anyio.betterproto import maker
from relay_common.shared_text import traceback_without_prompt, without_prompt
from relay_model.accounting import Metrics, RequestLog
from relay_model.admission import Admission
from relay_model.backends.protocol import Lingering
from relay_model.conversation import Conversation, check_size, read_conversation
from relay_model.errors import BackendError
from relay_model.pieces import Reasoning, Refusal, ToolCallDelta
from relay_proto import ai as proto
from relay_proto.ai import (
    AiServiceBase,
    FinishReason,
    GenerateResponse,
    ListModelsResponse,
    Model,
    Usage,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from relay_model.backends.protocol import Backend, Pieces
    from relay_model.outcome import Outcome
    from relay_model.pieces import Piece
    from relay_proto.ai import GenerateRequest, ListModelsRequest

__all__ = ["AiService", "Answer"]

# A caller resets the call when its own clock reaches the deadline, perhaps just before ours does.
_DEADLINE_SLACK_SECONDS = 0.1

_NANOSECONDS = 1_000_000_000

_response = maker(GenerateResponse)
_tool_call = maker(proto.ToolCallDelta)


class AiService(AiServiceBase):
    """Answers ``Generate`` with what a backend gives."""

    def __init__(
        self,
        backend: "Backend | None" = None,
        admission: Admission | None = None,
        *,
        max_prompt_bytes: int = 2**20,
    ) -> None:
        """Answer with an open backend; without one, refuse prompts until :meth:`begin`.

        Args:
            backend: answers prompts.
            admission: limits the prompts that are answered at a time; without it, the defaults.
            max_prompt_bytes: bytes of text and images that a request may have at most.

        """
        self._backend = backend
        self._max_prompt_bytes = max_prompt_bytes
        self._admission = admission or Admission()
        self._stopped_from = math.inf
        self.metrics = Metrics(self._admission)

    def generate(self, generate_request: "GenerateRequest") -> "Answer":
        """Answer a prompt with messages of text and then a last message that has ``done`` set."""
        return Answer(self._respond(generate_request))

    async def list_models(self, list_models_request: "ListModelsRequest") -> ListModelsResponse:
        """Say which models there are, and how many answers are given at a time.

        Raises:
            GRPCError: UNAVAILABLE, the model is still being loaded.

        """
        del list_models_request
        try:
            models = self._loaded().models
        except BackendError as error:
            raise GRPCError(error.status, error.message) from error
        return ListModelsResponse(
            [Model(m.id, m.owned_by, context_tokens=m.context_tokens) for m in models],
            self._admission.max_concurrent,
        )

    def begin(self, backend: "Backend") -> None:
        """Answer with ``backend`` from now on."""
        self._backend = backend

    def stop(self, grace: float = 0.0) -> None:
        """Log cancellations as the end of the service from now on.

        Args:
            grace: seconds from now in which a cancellation still counts as the caller's.

        """
        self._stopped_from = anyio.current_time() + grace

    @asynccontextmanager
    async def _respond(self, request: "GenerateRequest") -> "AsyncGenerator[_Responses]":
        """Serve one request, from its first moment to its line in the log.

        Only the backend's own context may hold a task or a scope across the yield.
        """
        deadline = anyio.current_effective_deadline()
        log = RequestLog(request.session_id, self.metrics)
        cause, status = "model_error", Status.INTERNAL
        try:
            conversation = read_conversation(request)
            check_size(conversation, self._max_prompt_bytes)
            backend = self._ready_for(conversation)
            async with self._admission.admit() as place:
                log.admitted()
                async with backend.stream(conversation) as pieces:
                    if isinstance(pieces, Lingering):
                        pieces.call_when_stopped(place.keep())
                    responses = _Responses(pieces, log)
                    yield responses
            cause, status = responses.outcome
        except BackendError as error:
            cause, status = _outcome_of(error)
            log.add(error=without_prompt(error.detail or error.message, request))
            raise GRPCError(error.status, error.message, _details(error)) from error
        except GRPCError:  # from sending to a caller that has disconnected
            cause, status = _DISCONNECTED
            raise
        except Exception as error:
            log.add(exception=traceback_without_prompt(error, request))
            raise GRPCError(Status.INTERNAL, "The model failed.") from error
        except BaseException:
            cause, status = self._outcome_of_cancellation(deadline)
            raise
        finally:
            log.end(cause=cause, status=status.name)

    def _ready_for(self, conversation: Conversation) -> "Backend":
        backend = self._loaded()
        if conversation.model not in {"", *(model.id for model in backend.models)}:
            raise BackendError(Status.NOT_FOUND, "There is no such model.", field="model")
        return backend

    def _loaded(self) -> "Backend":
        if self._backend is None:
            message = "The model is still being loaded: try again in a moment."
            raise BackendError(Status.UNAVAILABLE, message)
        return self._backend

    def _outcome_of_cancellation(self, deadline: float) -> "_RequestOutcome":
        # Every call is cancelled in the same way, so only the clock tells the causes apart.
        # Minus infinity is not a deadline: the request was cancelled before it began.
        now = anyio.current_time()
        if -math.inf < deadline <= now + _DEADLINE_SLACK_SECONDS:
            return _RequestOutcome("deadline", Status.DEADLINE_EXCEEDED)
        return _SHUTDOWN if now >= self._stopped_from else _DISCONNECTED


class _RequestOutcome(NamedTuple):
    """How a request ended."""

    cause: str
    """For the log and the metrics."""
    status: Status
    """For the caller, and the log."""


_DONE = _RequestOutcome("done", Status.OK)
_DISCONNECTED = _RequestOutcome("client_disconnect", Status.CANCELLED)
_SHUTDOWN = _RequestOutcome("shutdown", Status.UNAVAILABLE)


def _outcome_of(error: BackendError) -> _RequestOutcome:
    is_unavailable = error.status is Status.UNAVAILABLE
    return _RequestOutcome("model_unavailable" if is_unavailable else "model_error", error.status)


def _details(error: BackendError) -> list[RetryInfo | BadRequest] | None:
    details: list[RetryInfo | BadRequest] = []
    if error.retry_after is not None:
        delay = Duration()
        delay.FromNanoseconds(round(error.retry_after * _NANOSECONDS))
        details.append(RetryInfo(retry_delay=delay))
    if error.field is not None:
        violation = BadRequest.FieldViolation(field=error.field, description=error.message)
        details.append(BadRequest(field_violations=[violation]))
    return details or None


def _last_message(outcome: "Outcome") -> GenerateResponse:
    message = GenerateResponse(
        done=True, finish_reason=FinishReason.try_value(outcome.finish_reason)
    )
    if outcome.usage is not None:
        message.usage = Usage(*outcome.usage)
    return message


def _message_of(piece: "Piece") -> GenerateResponse:
    match piece:
        case Reasoning(text):
            return _response(reasoning=text)
        case ToolCallDelta(index, identity, name, arguments):
            call = _tool_call(index=index, id=identity, name=name, arguments=arguments)
            return _response(tool_call=call)
        case Refusal(text):
            return _response(refusal=text)
        case text:
            return _response(token=text)


class _Responses:
    """A backend's pieces as messages, and the last message after them."""

    def __init__(self, pieces: "Pieces", log: RequestLog) -> None:
        self._pieces = pieces
        self._log = log
        self._is_done = False

    @property
    def outcome(self) -> _RequestOutcome:
        """How the request ended, if nothing was raised."""
        return _DONE if self._is_done else _DISCONNECTED

    async def __anext__(self) -> GenerateResponse:
        if self._is_done:
            raise StopAsyncIteration
        piece = await anext(self._pieces, None)
        if piece is None:
            self._is_done = True
            self._log.outcome = self._pieces.outcome
            return _last_message(self._log.outcome)
        self._log.piece_sent()
        return _response(token=piece) if piece.__class__ is str else _message_of(piece)


class Answer:
    """What ``generate`` returns: the messages of one answer, to be read inside its context.

    It is a context manager because a backend may hold a cancel scope during a whole answer, which
    an async generator must not do (PEP 789). When the context has been left, the backend has
    stopped.

    Raises:
        GRPCError: from entering, reading or leaving: the status for the caller.

    """

    def __init__(self, responses: "AbstractAsyncContextManager[_Responses]") -> None:
        """Prepare an answer; the request begins when the context is entered."""
        self._context = responses
        self._responses: _Responses | None = None

    async def __aenter__(self) -> Self:
        """Give the prompt to the backend, after a wait for admission if others are first."""
        self._responses = await self._context.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: "type[BaseException] | None",
        exc_value: "BaseException | None",
        traceback: "TracebackType | None",
    ) -> bool | None:
        """Stop the backend, and write how the request ended to the log."""
        return await self._context.__aexit__(  # noqa: ASYNC102 - a backend bounds its clean-up
            exc_type, exc_value, traceback
        )

    def __aiter__(self) -> Self:
        """Read the messages, once."""
        return self

    async def __anext__(self) -> GenerateResponse:
        """Wait for the next message; a checkpoint. The last message has ``done`` set."""
        if self._responses is None:
            message = "an answer is read inside its context: async with service.generate(...)"
            raise RuntimeError(message)
        return await anext(self._responses)
