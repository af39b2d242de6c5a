"""Which models there are, as the model service says, asked again every few seconds.

A service from before conversations answers ``ListModels`` with UNIMPLEMENTED. It reads nothing but
a prompt, and drops the rest in silence; so whoever asks it for more is refused here.
"""

import math

import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from grpclib_anyio.client import Channel
from relay_proto.ai import AiServiceStub, ListModelsRequest, ListModelsResponse

__all__ = ["Catalogue"]

#: Seconds for which an answer is taken for the truth, and that the service has to give it.
_FRESH_SECONDS, _TIMEOUT = 10.0, 5.0


class Catalogue:
    """What the model service has, as it said last."""

    def __init__(self, model: Channel) -> None:
        """Ask through a channel when somebody wants to know."""
        self._stub = AiServiceStub(model)
        self._known: ListModelsResponse | None = None
        self._asked = -math.inf
        self._asking = trio.Lock()

    async def models(self) -> ListModelsResponse | None:
        """Return the models; None if the service knows nothing but prompts.

        A checkpoint, and several callers wait for one question. Cancelling one of them has another
        ask.

        Raises:
            GRPCError: the service cannot be asked.

        """
        async with self._asking:
            if trio.current_time() - self._asked > _FRESH_SECONDS:
                self._known = await self._ask()
                self._asked = trio.current_time()
            return self._known

    async def _ask(self) -> ListModelsResponse | None:
        try:
            return await self._stub.list_models(ListModelsRequest(), timeout=_TIMEOUT)
        except GRPCError as error:
            if error.status is Status.UNIMPLEMENTED:
                return None
            raise
