"""A model's answer as the body of a Quart response, and the response that may take its place.

The headers of a GET leave at once, because EventSource waits for them. Those of a POST may wait for
the first token: an answer that fails before it becomes a response with a fitting status, instead of
a 200 that has an error in it. An answer that is not streamed is such a response in any case::

    AnswerBody(relay)                                        # a GET
    AnswerBody(relay, hold=1.0, on_failure=problem)          # a POST, for a second at most
    AnswerBody(relay, on_failure=problem, on_end=whole)      # not streamed
"""

import math
from collections.abc import Callable
from types import TracebackType
from typing import Any

import trio
from quart import Response
from quart.wrappers.response import ResponseBody

from relay_gateway.relay.outcome import Outcome
from relay_gateway.relay.relay import Relay

__all__ = ["AnswerBody"]


class AnswerBody(ResponseBody):
    """A model's answer, which is entered and left in the task of its request.

    So no generator yields inside the request's nursery (PEP 789).
    """

    def __init__(
        self,
        relay: Relay,
        *,
        hold: float = 0.0,
        on_failure: Callable[[Outcome], Response] | None = None,
        on_end: Callable[[], Response] | None = None,
    ) -> None:
        """Take a request that has not been entered.

        Args:
            relay: the request.
            hold: seconds for which the headers of a stream wait for the first token.
            on_failure: makes the response when the answer fails before the headers were sent.
            on_end: makes the response from a whole answer, which is then not streamed.

        """
        self._relay = relay
        self._hold = math.inf if on_end is not None else hold
        self._on_failure = on_failure
        self._on_end = on_end

    @property
    def may_become_another(self) -> bool:
        """Whether :meth:`another` has to be asked before the headers are sent."""
        return self._on_failure is not None and self._hold > 0

    async def another(self) -> Response | None:
        """Wait for the first token, or the whole answer, and return the response instead of it.

        A checkpoint. None means that the answer is to be streamed.
        """
        if self._on_end is not None:
            await self._relay.read_to_end()
        else:
            with trio.move_on_after(self._hold):
                await self._relay.until_begun()
        failure = self._relay.failure
        if failure is not None and self._on_failure is not None:
            is_streamed = self._on_end is None and self._relay.tokens > 0
            return None if is_streamed else self._on_failure(failure)
        return None if self._on_end is None else self._on_end()

    async def __aenter__(self) -> Any:  # what Quart would iterate over; ours does not
        """Start the request's tasks, and return its ``Relay``; not a checkpoint."""
        return await self._relay.__aenter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Cancel the tasks and wait for them, which takes no time because they only clean up."""
        await self._relay.__aexit__(exc_type, exc_value, tb)  # noqa: ASYNC102 - it cancels first
