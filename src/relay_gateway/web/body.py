"""The relay as the body of a Quart response.

Quart enters and leaves a body in one task, and asks it for chunks in between. So the nursery lives
in ``__aenter__`` and ``__aexit__``, and no generator yields inside it (PEP 789).
"""

from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Self

import trio
from quart.wrappers.response import ResponseBody

from relay_gateway.extensions import Client
from relay_gateway.relay.relay import Relay
from relay_gateway.web.accounting import RequestLog
from relay_gateway.web.shutdown import Shutdown

__all__ = ["RelayBody"]


class RelayBody(ResponseBody):
    """Asks the model when Quart starts to send the body; leaving it ends the request's tasks."""

    def __init__(
        self,
        relay: AbstractAsyncContextManager[Relay],
        record: RequestLog,
        shutdown: Shutdown,
        client: Client | None = None,
    ) -> None:
        """Take a relay that is not open yet, and who is to know of it."""
        self._context = relay
        self._record = record
        self._shutdown = shutdown
        self._client = client

    async def __aenter__(self) -> Self:
        """Start the request's tasks; not a checkpoint."""
        self._relay = self._record.relay = await self._context.__aenter__()
        self._shutdown.add(self._relay)
        if self._client is not None:
            self._client.on_disconnect(self._relay.disconnect)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Cancel the tasks and wait for them, which takes no time: they only clean up."""
        self._shutdown.discard(self._relay)
        await self._context.__aexit__(exc_type, exc_value, tb)  # noqa: ASYNC102 - cancels first

    def __aiter__(self) -> Self:
        """Iterate over the chunks, once."""
        return self

    async def __anext__(self) -> bytes:
        """Wait for the next chunk; with a writer, for the end: it has written all of them."""
        try:
            if (writer := self._relay.writer) is None:
                return await self._relay.next_chunk()
            while True:
                if chunk := await self._relay.next_chunk():
                    await writer.write(chunk)
                else:
                    await writer.flush()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None
