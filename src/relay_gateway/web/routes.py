"""What the gateway answers on which path.

======================================  ========================================================
``/``                                   the page
``/api/ai/stream``                      a prompt's answer as server-sent events, GET or POST
``/v1/…``                               OpenAI's API, see ``openai``
``/openapi.json``, ``/docs``            the description of all this, for programs and for people
``/metrics``                            figures for Prometheus
``/healthz``, ``/readyz``               whether the process serves, and whether it takes requests
======================================  ========================================================
"""

from math import ceil
from typing import Any, cast

import trio
from grpclib.exceptions import GRPCError
from prometheus_client import CONTENT_TYPE_LATEST
from quart import Request, Response, has_request_context
from quart import request as current_request
from quart import websocket as current_websocket
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException, ServiceUnavailable

from grpclib_anyio.client import Channel
from relay_gateway.relay.outcome import outcome_of
from relay_gateway.relay.relay import Relay
from relay_gateway.settings import GatewaySettings
from relay_gateway.web.accounting import RequestLog
from relay_gateway.web.answer import AnswerBody
from relay_gateway.web.catalogue import Catalogue
from relay_gateway.web.cross_origin import allow_all_origins
from relay_gateway.web.description.routes import add_description
from relay_gateway.web.http_connection import RELAY
from relay_gateway.web.metrics import Metrics
from relay_gateway.web.openai.routes import OpenAIRoutes, error_response
from relay_gateway.web.page import page_of
from relay_gateway.web.problem import problem_of_failure, problem_of_refusal
from relay_gateway.web.prompt import read_question
from relay_gateway.web.shutdown import Shutdown

__all__ = ["Routes"]

_STREAM_HEADERS = {
    "Content-Type": "text/event-stream",
    # Caches and proxies that would hold back or rewrite a stream are told not to.
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}
_PAGE_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-cache",  # a page must not outlive the gateway it came from
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_NATIVE, _OPENAI = "/api/", "/v1/"
#: Answered until the process ends, because monitoring wants to see the gateway stop.
_MONITORING = frozenset({"alive", "expose_metrics"})


class Routes:
    """The routes' functions, and what they share.

    They are coroutines although few of them wait, because Quart runs plain functions in threads.
    """

    def __init__(
        self, settings: GatewaySettings, model: Channel, log: RequestLog, shutdown: Shutdown
    ) -> None:
        """Answer from ``model``, and tell ``log`` of each request for an answer."""
        self._model = model
        self._log = log
        self._shutdown = shutdown
        self._limits = settings.limits
        self._max_prompt_bytes = settings.max_prompt_bytes
        self._hold = settings.hold_seconds
        self._catalogue = Catalogue(model)
        self._openai = OpenAIRoutes(settings, model, self._catalogue, self._begin, _STREAM_HEADERS)
        self._retry_after = max(1, ceil(settings.shutdown_grace_seconds + settings.drain_seconds))
        self._page = page_of(settings)

    def add_to(self, app: QuartTrio, metrics: Metrics) -> None:
        """Add the routes to an application."""

        async def page() -> Response:
            return Response(self._page, headers=_PAGE_HEADERS)

        async def expose_metrics() -> Response:
            try:
                text = await metrics.exposition()
            except trio.TooSlowError:
                raise ServiceUnavailable("the other workers cannot be asked") from None
            return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})

        app.add_url_rule("/", view_func=page)
        app.add_url_rule("/api/ai/stream", view_func=self.stream, methods=["GET", "POST"])
        app.add_url_rule("/metrics", view_func=expose_metrics)
        app.add_url_rule("/healthz", endpoint="alive", view_func=_alive)
        app.add_url_rule("/readyz", endpoint="ready", view_func=_alive)
        self._openai.add_to(app)
        add_description(app, _PAGE_HEADERS)
        app.before_request(self.refuse_when_stopping)
        app.register_error_handler(HTTPException, _error_response)
        app.after_request(_allow_all_origins)
        app.after_request(self.close_when_stopping)

    async def stream(self) -> Response:
        """Answer a prompt with server-sent events."""
        # Quart's global looks the request up each time that an attribute is read.
        request: Request = cast("Any", current_request)._get_current_object()  # noqa: SLF001 - werkzeug documents it
        question = await read_question(request, self._max_prompt_bytes)
        if request.method == "HEAD":
            return Response(b"", headers=_STREAM_HEADERS)
        if question.asked is not None:
            try:
                await self._catalogue.check(question.asked, question.request)
            except GRPCError as error:
                return problem_of_failure(outcome_of(error))
        relay = Relay(self._model, question.request, question.encoder, self._limits)
        self._begin(relay, cast("dict[str, Any]", request.scope))
        # EventSource, which asks by GET, waits for the headers.
        hold = self._hold if request.method == "POST" else 0.0
        body = AnswerBody(relay, hold=hold, on_failure=problem_of_failure)
        return Response(body, headers=_STREAM_HEADERS)

    def _begin(self, relay: Relay, scope: dict[str, Any]) -> None:
        """Have a request for an answer recorded; ``HTTPConnection`` ends what begins here."""
        scope[RELAY] = relay
        self._log.begin(relay)
        if self._shutdown.answers_are_stopped:  # while the request's body was read
            relay.stop()

    async def refuse_when_stopping(self) -> None:
        """Answer 503 once the gateway stops; by then something else should take over."""
        if not self._shutdown.has_begun or current_request.endpoint in _MONITORING:
            return
        # A preflight is answered, so that a page of another origin is told this as well.
        if current_request.method != "OPTIONS":
            raise ServiceUnavailable(
                "the gateway is being restarted", retry_after=self._retry_after
            )

    async def close_when_stopping(self, response: Response) -> Response:
        """Have the client make its next connection, elsewhere if it can (RFC 9112 § 9.6)."""
        if self._shutdown.has_begun and current_request.http_version.startswith("1"):
            response.headers["Connection"] = "close"  # HTTP/2 has GOAWAY, which the server sends
        return response


async def _alive() -> Response:
    return Response("ok\n", content_type="text/plain; charset=utf-8")


async def _error_response(error: HTTPException) -> Any:
    """Say what is wrong in the shape of the path; also for what Quart itself refuses."""
    if error.response is not None:
        return error.response
    # A WebSocket is refused here as well, and has no request.
    path = current_request.path if has_request_context() else current_websocket.path
    if path.startswith(_OPENAI):
        return error_response(error)
    if path.startswith(_NATIVE):
        return problem_of_refusal(error)
    text = f"{error.description or error.name}\n"
    headers = {**dict(error.get_headers()), "Content-Type": "text/plain; charset=utf-8"}
    return Response(text, error.code or 500, headers)


async def _allow_all_origins(response: Response) -> Response:
    allow_all_origins(response, current_request.path, current_request.method)
    return response
