"""One HTTP request to the Quart application, with fewer tasks than quart-trio takes for it.

quart-trio starts two: one for the request, and one that waits for its body and for the client's
leaving. Here the request is handled in the task that the server has for it. The other one is needed
for a body, and where the server does not cancel a scope itself (see ``departure``).
"""

from typing import TYPE_CHECKING, Any, cast

import trio
from quart import Response
from quart_trio.asgi import TrioASGIHTTPConnection

from .departure import client_of

if TYPE_CHECKING:
    from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable
    from quart.typing import ResponseTypes

__all__ = ["HTTPConnection"]

#: A body means nothing with these (RFC 9110 § 9.3.1), and is not read.
_WITHOUT_BODY = frozenset({"GET", "HEAD"})


class HTTPConnection(TrioASGIHTTPConnection):
    """Handles a request until it is answered or its client has left."""

    async def __call__(self, receive: "ASGIReceiveCallable", send: "ASGISendCallable") -> None:
        """Answer; what the application raises is raised, in a group if there was a second task."""
        request = self._create_request_from_scope(send)
        client = client_of(self.scope)
        if client is not None and request.method in _WITHOUT_BODY:
            request.body.set_complete()
            with trio.CancelScope() as scope:
                client.cancel_when_it_leaves(scope)
                response = await self.app.handle_request(request)
                del request  # as large as a task, and an answer may take minutes
                await self._send(response, send)
        else:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.handle_messages, nursery, request, receive)
                await self._send(await self.app.handle_request(request), send)
                nursery.cancel_scope.cancel()

    async def _send(self, response: "ResponseTypes", send: "ASGISendCallable") -> None:
        timeout = cast("float | None", cast("Any", self.app).config["RESPONSE_TIMEOUT"])
        if isinstance(response, Response) and response.timeout is not Ellipsis:
            timeout = cast("float | None", response.timeout)
        if timeout is None:  # as it is for an answer of the model's: a scope less
            await self._send_response(send, response)
        else:
            with trio.move_on_after(timeout):
                await self._send_response(send, response)
