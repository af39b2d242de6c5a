"""One HTTP request to the Quart application, from its headers to its recorded end.

quart-trio starts two tasks for a request: one that answers it, and one that waits for its body and
for the disconnect. Here the request is answered in the task that the server has made for it. The
other task is needed for a body only, and where the server does not tell of the disconnect itself
(see ``extensions``)::

    HTTPConnection ──▶ Quart, routes ──▶ a Response
                   ──▶ its AnswerBody: async with relay: relay.write_to(browser)
                   ──▶ RequestLog.end(relay)

An answer may take minutes. While it is sent, neither the request is held nor the response, since
each is as large as a task.
"""

from collections.abc import Awaitable, Callable
from functools import lru_cache, partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import trio
from quart import Request, Response
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIHTTPConnection

from relay_common.trace import join_trace
from relay_gateway.extensions import CHUNK_WRITER, CLIENT, ChunkWriter, Client
from relay_gateway.web.accounting import RequestLog
from relay_gateway.web.answer import AnswerBody
from relay_gateway.web.shutdown import Shutdown

if TYPE_CHECKING:
    from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope
    from quart.typing import ResponseTypes

    from relay_gateway.relay.relay import Relay

    RawHeaders: TypeAlias = tuple[tuple[bytes, bytes], ...]

__all__ = ["RELAY", "HTTPConnection"]

#: Where a request's ASGI scope holds its ``Relay``, once a route has made one.
RELAY = "relay_gateway.relay"

#: A body means nothing with these methods (RFC 9110 § 9.3.1), and is not read.
_WITHOUT_BODY = frozenset({"GET", "HEAD"})
_TRACE = b"traceparent"


class HTTPConnection(TrioASGIHTTPConnection):
    """Handles a request until it is answered or its client has disconnected."""

    def __init__(
        self, log: RequestLog, shutdown: Shutdown, app: QuartTrio, scope: "HTTPScope"
    ) -> None:
        """Take what all requests share, and then what Quart gives."""
        super().__init__(app, scope)
        self._log = log
        self._shutdown = shutdown
        extensions: dict[str, Any] = cast("Any", scope).get("extensions") or {}
        self._client: Client | None = extensions.get(CLIENT)
        self._writer: ChunkWriter | None = extensions.get(CHUNK_WRITER)
        #: Where the server does not tell: the client has disconnected.
        self._disconnected = False

    async def __call__(self, receive: "ASGIReceiveCallable", send: "ASGISendCallable") -> None:
        """Answer, and record how it ended.

        What the application raises is raised, in a group if there was a second task.
        """
        headers = self.scope["headers"]
        if traces := [value.decode("latin-1") for name, value in headers if name == _TRACE]:
            join_trace(traces)
        is_waited_for = not self._shutdown.has_begun
        self._shutdown.requests += is_waited_for
        try:
            await self._answer(receive, send)
        finally:
            if is_waited_for:
                self._shutdown.request_ended()
            relay: Relay | None = cast("dict[str, Any]", self.scope).get(RELAY)
            if relay is not None:
                self._log.end(relay, disconnected=self._is_disconnected)

    @property
    def _is_disconnected(self) -> bool:
        return self._disconnected if self._client is None else self._client.disconnected

    async def _answer(self, receive: "ASGIReceiveCallable", send: "ASGISendCallable") -> None:
        try:
            request = self._create_request_from_scope(send)
        except ValueError:  # the target is no URL, for example http://[::1
            await self._send_whole(Response("bad target\n", 400), send)
            return
        if self._client is not None and self.scope["method"] in _WITHOUT_BODY:
            request.body.set_complete()
            with trio.CancelScope() as scope:
                self._client.cancel_on_disconnect(scope)
                await self._send(await self.app.handle_request(request), send)
        else:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._receive, nursery, request, receive)
                await self._send(await self.app.handle_request(request), send)
                nursery.cancel_scope.cancel()

    async def _receive(
        self, nursery: trio.Nursery, request: Request, receive: "ASGIReceiveCallable"
    ) -> None:
        """Take the request's body, until the client disconnects; that cancels the answer."""
        await self.handle_messages(nursery, request, receive)
        self._disconnected = True

    async def _send(self, response: "ResponseTypes", send: "ASGISendCallable") -> None:
        if isinstance(response, Response) and isinstance(response.response, AnswerBody):
            body, headers = response.response, _encoded(tuple(response.headers.items()))
            del response  # see the module's docstring
            await self._send_answer(body, headers, send)
        else:
            await self._send_whole(response, send)

    async def _send_answer(
        self, body: AnswerBody, headers: "RawHeaders", send: "ASGISendCallable"
    ) -> None:
        # Without a timeout: the relay has its own, and an event that says so.
        if not body.may_become_another:
            await _send_start(send, headers)
        async with body as relay:
            if self._client is not None:
                self._client.on_disconnect(relay.disconnect)
            if body.may_become_another:
                if (response := await body.another()) is not None:
                    response.headers.extend(_cross_origin(headers))
                    # As the answer, without a timeout: one that ends it would look like its end.
                    await self._send_response(partial(_send_and_mark, send, relay), response)
                    return
                await _send_start(send, headers)
            relay.writer = self._writer
            await relay.write_to(partial(_send_chunk, send))
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_whole(self, response: "ResponseTypes", send: "ASGISendCallable") -> None:
        with trio.move_on_after(cast("Any", self.app).config["RESPONSE_TIMEOUT"]):
            await self._send_response(send, response)


async def _send_start(send: Callable[[Any], Awaitable[None]], headers: "RawHeaders") -> None:
    await send({"type": "http.response.start", "status": HTTPStatus.OK, "headers": headers})


async def _send_and_mark(
    send: Callable[[Any], Awaitable[None]], relay: "Relay", message: Any
) -> None:
    """Send a part of a whole response, which is delivered when only its end is left.

    With its end, the client counts as disconnected.
    """
    if message["type"] == "http.response.body" and not message["more_body"]:
        # A write that failed does not raise: hypercorn has us cancelled, and this lets it.
        await trio.lowlevel.checkpoint()
        relay.mark_delivered()
    await send(message)


async def _send_chunk(send: Callable[[Any], Awaitable[None]], chunk: bytes) -> None:
    await send({"type": "http.response.body", "body": chunk, "more_body": True})


def _cross_origin(headers: "RawHeaders") -> list[tuple[str, str]]:
    """Give what lets a page of another origin read a response."""
    return [
        (name.decode(), value.decode())
        for name, value in headers
        if name.startswith(b"access-control-")
    ]


@lru_cache(maxsize=16)
def _encoded(headers: tuple[tuple[str, str], ...]) -> "RawHeaders":
    """Encode headers for ASGI; hypercorn keeps them, and one copy does for all answers."""
    return tuple((name.lower().encode(), value.encode()) for name, value in headers)
