"""One HTTP request to the Quart application, with fewer tasks than quart-trio takes for it.

quart-trio starts two: one for the request, and one that waits for its body and for the client's
leaving. Here the request is handled in the task that the server has for it. The other one is needed
for a body, and where the server does not cancel a scope itself (see ``disconnect``).

An answer may take minutes. While it is sent, neither the request is held nor the response, which
are as large as a task each.
"""

from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import trio
from quart import Response
from quart_trio.asgi import TrioASGIHTTPConnection

from relay_gateway.extensions import client_of
from relay_gateway.web.body import RelayBody

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
        client = client_of(self.scope)
        if client is not None and self.scope["method"] in _WITHOUT_BODY:
            with trio.CancelScope() as scope:
                client.cancel_on_disconnect(scope)
                await self._send(await self._handle_without_body(send), send)
        else:
            request = self._create_request_from_scope(send)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.handle_messages, nursery, request, receive)
                await self._send(await self.app.handle_request(request), send)
                nursery.cancel_scope.cancel()

    async def _handle_without_body(self, send: "ASGISendCallable") -> "ResponseTypes":
        request = self._create_request_from_scope(send)
        request.body.set_complete()
        return await self.app.handle_request(request)

    async def _send(self, response: "ResponseTypes", send: "ASGISendCallable") -> None:
        if isinstance(response, Response) and isinstance(response.response, RelayBody):
            # Without a timeout: the relay has its own, and an event that says so.
            body, status = response.response, response.status_code
            headers = _encoded(tuple(response.headers.items()))
            del response  # see the module's docstring
            await send({"type": "http.response.start", "status": status, "headers": headers})
            async with body:
                async for chunk in body:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            with trio.move_on_after(cast("Any", self.app).config["RESPONSE_TIMEOUT"]):
                await self._send_response(send, response)


@lru_cache(maxsize=16)
def _encoded(headers: tuple[tuple[str, str], ...]) -> tuple[tuple[bytes, bytes], ...]:
    """Encode headers for ASGI; hypercorn keeps them, and one copy does for all answers."""
    return tuple((name.lower().encode(), value.encode()) for name, value in headers)
