"""Which models there are, as the model service says, asked again every few seconds.

A service from before conversations answers ``ListModels`` with UNIMPLEMENTED. It reads nothing but
a prompt, and would drop the rest in silence, so a request for more is refused here::

    await catalogue.check(asked, request)     # RefusedError: the model takes no temperature: …
"""

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus

import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from grpclib_anyio.client import Channel
from relay_gateway.web.conversation import DEFAULT_MODEL, ConversationRequest
from relay_gateway.web.refusal import RefusedError
from relay_proto.ai import (
    AiServiceStub,
    GenerateRequest,
    ListModelsRequest,
    ListModelsResponse,
    Model,
)

__all__ = ["Catalogue", "no_such_model"]

#: Seconds for which an answer is taken for the truth, and that anybody waits for it.
_FRESH_SECONDS, _TIMEOUT = 10.0, 5.0
#: A request for the list has nothing that could be wrong, so its caller is not told so.
_CALLERS_FAULT = frozenset({Status.INVALID_ARGUMENT, Status.NOT_FOUND})
#: Characters of a model's name that are repeated.
_SHOWN_LENGTH = 100
#: Fields that say how the answer is written; the model service never sees them.
_NOT_DROPPED = {
    "format",
    "messages",
    "model",
    "prompt",
    "session_id",
    "stream",
    "stream_options",
}
#: What fields may ask for and get from every service.
_DONE_ANYWAY: Mapping[str, Sequence[object]] = {
    "response_format": [{"type": "text"}],
    "stop": [[]],
    "tool_choice": ["auto", "none"],
    "tools": [[]],
}


class Catalogue:
    """What the model service has, as it said last."""

    def __init__(self, model: Channel) -> None:
        """Ask through a channel when somebody wants to know."""
        self._stub = AiServiceStub(model)
        self._known: ListModelsResponse | None = None
        self._asked = -math.inf
        self._asking = trio.Lock()

    async def models(self) -> list[Model]:
        """Return the models, the one that answers by default first; a checkpoint.

        Raises:
            GRPCError: the service cannot be asked.

        """
        known = await self._fresh()
        return [Model(DEFAULT_MODEL)] if known is None else known.models

    async def check(self, asked: ConversationRequest, request: GenerateRequest) -> None:
        """Refuse what a service that knows nothing but prompts would drop in silence.

        A checkpoint only if there is something that it would drop.

        Raises:
            RefusedError: with the field that would be dropped.
            GRPCError: the service cannot be asked.

        """
        dropped = _beyond_prompt(asked, request)
        if dropped is None or await self._fresh() is not None:
            return
        if dropped == "model":
            raise no_such_model(request.model)
        raise RefusedError(f"the model takes no {dropped}: leave it out", param=dropped)

    async def _fresh(self) -> ListModelsResponse | None:
        """Return what the service says; None if it knows nothing but prompts.

        Several callers wait for one question. When the one that asks is cancelled, the next one
        asks. Each waits for ``_TIMEOUT`` at most, the time until it is its turn included: otherwise
        every caller of a service that hangs would wait for all those before it.

        Raises:
            GRPCError: the service cannot be asked, or not in time.

        """
        with trio.move_on_after(_TIMEOUT) as scope:
            async with self._asking:
                if trio.current_time() - self._asked > _FRESH_SECONDS:
                    self._known = await self._ask(scope.deadline - trio.current_time())
                    self._asked = trio.current_time()
                return self._known
        raise GRPCError(Status.DEADLINE_EXCEEDED, "the models were not listed in time")

    async def _ask(self, seconds: float) -> ListModelsResponse | None:
        try:
            return await self._stub.list_models(ListModelsRequest(), timeout=seconds)
        except GRPCError as error:
            if error.status is Status.UNIMPLEMENTED:
                return None
            if error.status in _CALLERS_FAULT:
                raise GRPCError(Status.INTERNAL, error.message) from error
            raise


def _beyond_prompt(asked: ConversationRequest, request: GenerateRequest) -> str | None:
    """Name the first thing that is asked besides a prompt; None if there is nothing."""
    if request.model:
        return "model"
    if not request.prompt:
        return "messages"
    given = asked.model_dump(exclude_none=True, exclude=_NOT_DROPPED)
    return next((name for name in given if given[name] not in _DONE_ANYWAY.get(name, ())), None)


def no_such_model(name: str) -> RefusedError:
    """Make the refusal of a model that nobody has."""
    return RefusedError(
        f"there is no model {name[:_SHOWN_LENGTH]!r}",
        param="model",
        code="model_not_found",
        status=HTTPStatus.NOT_FOUND,
    )
