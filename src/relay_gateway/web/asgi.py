"""The gateway as an ASGI application: routes, and one channel to the model for all of them."""

import logging
import sys
from functools import lru_cache, partial
from math import ceil
from pathlib import Path
from typing import Any, cast

import trio
from grpclib_anyio.client import Channel
from grpclib_anyio.config import Configuration
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from quart import Request, Response
from quart import request as current_request
from quart_trio import QuartTrio
from structlog.stdlib import get_logger
from werkzeug.exceptions import HTTPException, ServiceUnavailable

from relay_common.cli import parse_settings
from relay_common.gc_tuning import tune_gc
from relay_common.log import configure_logging
from relay_common.target import parse_target
from relay_gateway.extensions import client_of, writer_of
from relay_gateway.relay.relay import open_relay
from relay_gateway.server import patch
from relay_gateway.server.worker import current_worker
from relay_gateway.settings import GatewaySettings
from relay_gateway.web.accounting import Accounting, Metrics
from relay_gateway.web.body import RelayBody
from relay_gateway.web.http_connection import HTTPConnection
from relay_gateway.web.prompt import read_question
from relay_gateway.web.shutdown import Shutdown

__all__ = ["Gateway", "application_of_environment", "create_app"]

#: Silence on the connection to the model, with calls open, until it is asked for a sign of life,
#: and how long it may take to give one; seconds. No pause follows a failed attempt to connect: the
#: first request after the model is back must not pay for those that came too early, and people
#: who press a button do not come often enough to be a burden to a server that is down.
_TO_MODEL = Configuration(
    # What the model may have on its way here for all answers together is what a new answer's first
    # token waits behind: with 4 MiB, which is usual, for all that the others have left to say. This
    # is 30,000 tokens a second from a model that is 0.1 s away, 3,000,000 from the next rack.
    http2_connection_window_size=65_535,
    initial_backoff=0.0,
    max_backoff=0.0,
    close_timeout=0.5,  # a process that stops has a second for all that follows its drain
    keepalive_time=20.0,
    keepalive_timeout=10.0,
    http2_max_pings_without_data=0,
    http2_min_sent_ping_interval_without_data=20.0,
)
_STREAM_HEADERS = {
    "Content-Type": "text/event-stream",
    # Caches and proxies that would hold back or rewrite a stream are told not to.
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_CORS_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Allow-Headers": "Content-Type, traceparent",
}
#: A character of a prompt takes up to so many bytes in JSON (``\\u0000``), beside other fields.
_JSON_GROWTH, _JSON_REST = 6, 4096
#: What is answered to the end: those who watch the gateway want to see it stop.
_WATCHING = frozenset({"alive", "expose_metrics"})

_log = get_logger(__name__)


class Gateway:
    """What the routes share."""

    def __init__(self, settings: GatewaySettings, channel: Channel | None = None) -> None:
        """Prepare; ``channel`` is used instead of one to ``settings.model_target`` if given."""
        host, port = parse_target(settings.model_target)
        self._settings = settings
        self._model = channel or Channel(host, port, config=_TO_MODEL)
        self._stop = trio.Event()
        self.shutdown = Shutdown()
        self.metrics = Metrics()
        self.metrics.watch(
            "relay_model_calls", "Calls now open on the connection to the model", self._count_calls
        )
        self.recorder: Accounting | None = None

    def _count_calls(self) -> int:
        return self._model.statistics().streams

    async def hold_channel(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Keep the channel open from the application's start to its end.

        In a task of its own: Quart's ``while_serving`` would hold it in a generator (PEP 789).
        """
        async with self._model:
            task_status.started()
            await self._stop.wait()

    async def release_channel(self) -> None:
        """Let the channel close; not a checkpoint.

        A coroutine, as those below that await nothing: Quart runs plain functions in threads.
        """
        self.shutdown.begin()  # for servers that do not drain first
        self._stop.set()

    async def drain(self) -> None:
        """End the open answers with an event that says why, and wait until requests are over.

        Refuses new ones meanwhile, and waits for no longer than ``drain_seconds``.
        """
        _log.info("stopping", requests=self.shutdown.requests)
        self.shutdown.begin()
        with trio.move_on_after(self._settings.drain_seconds):
            await self.shutdown.until_idle()
        self._stop.set()  # nobody needs the model any more

    async def refuse_when_stopping(self) -> None:
        """Answer 503 once the gateway stops; by then something else should take over."""
        if self.shutdown.has_begun and current_request.endpoint not in _WATCHING:
            after = max(1, ceil(self._settings.drain_seconds))
            raise ServiceUnavailable("the gateway is being restarted", retry_after=after)

    async def stream(self) -> Response:
        """Answer a prompt with server-sent events."""
        # Quart's global finds it anew each time that it is looked at.
        request: Request = cast("Any", current_request)._get_current_object()  # noqa: SLF001 - werkzeug's way
        question = await read_question(request, self._settings.max_prompt_bytes)
        relay = open_relay(
            self._model,
            question.prompt,
            question.encoder,
            self._settings.limits,
            writer_of(request.scope),
        )
        if request.method == "HEAD":
            return Response(b"", headers=_STREAM_HEADERS)
        record = cast("Accounting", self.recorder).begin(request.scope, question.prompt.session_id)
        body = RelayBody(relay, record, self.shutdown, client_of(request.scope))
        return Response(body, headers=_STREAM_HEADERS)

    async def expose_metrics(self) -> Response:
        """Give the metrics in Prometheus' text format."""
        text = generate_latest(self.metrics.registry)
        return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})


def create_app(settings: GatewaySettings, *, channel: Channel | None = None) -> QuartTrio:
    """Make the application; its connection to the model is opened when a server starts it.

    Args:
        settings: where the model is, and what bounds a request.
        channel: for tests, and for a model that is reached in another way.

    """
    patch.install(write_timeout=settings.write_timeout_seconds)
    app = QuartTrio(__name__, static_folder="static")
    app.asgi_http_class = HTTPConnection
    # Quart asks of each function, for each request, whether it is a coroutine. They are few; made
    # for one request, one is forgotten after 64 others.
    app.ensure_async = lru_cache(maxsize=64)(app.ensure_async)  # type: ignore[method-assign]
    app.config["MAX_CONTENT_LENGTH"] = settings.max_prompt_bytes * _JSON_GROWTH + _JSON_REST
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = 0  # a page must not outlive the gateway it came from
    gateway = Gateway(settings, channel)
    gateway.recorder = Accounting(cast("Any", app.asgi_app), gateway.metrics, gateway.shutdown)
    app.asgi_app = gateway.recorder  # type: ignore[method-assign, assignment] # Quart's own way
    _add_lifespan(app, gateway)
    _add_routes(app, gateway)
    return app


def _add_lifespan(app: QuartTrio, gateway: Gateway) -> None:
    async def open_channel() -> None:
        await app.nursery.start(gateway.hold_channel)
        if (worker := current_worker.get()) is not None:
            worker.drain = gateway.drain
            gateway.metrics.watch(
                "relay_connections", "Connections now open", partial(len, worker.connections)
            )

    app.before_serving(open_channel)
    app.after_serving(gateway.release_channel)


def _add_routes(app: QuartTrio, gateway: Gateway) -> None:
    async def page() -> Response:
        response = await app.send_static_file("index.html")
        response.headers.update(_PAGE_HEADERS)
        return response

    async def alive() -> str:
        return "ok\n"

    app.add_url_rule("/", view_func=page)
    app.add_url_rule("/api/ai/stream", view_func=gateway.stream, methods=["GET", "POST"])
    app.add_url_rule("/metrics", view_func=gateway.expose_metrics)
    app.add_url_rule("/healthz", view_func=alive)
    app.add_url_rule("/readyz", endpoint="ready", view_func=alive)
    app.before_request(gateway.refuse_when_stopping)
    app.register_error_handler(HTTPException, _plain_error)
    app.after_request(_allow_all_origins)


async def _plain_error(error: HTTPException) -> Response:
    """Say what is wrong in one line; also for what Quart itself refuses."""
    text = f"{error.description or error.name}\n"
    headers = {**dict(error.get_headers()), "Content-Type": "text/plain; charset=utf-8"}
    return Response(text, error.code or 500, headers)


async def _allow_all_origins(response: Response) -> Response:
    if current_request.path.startswith("/api/"):
        response.headers.update(_CORS_HEADERS)
    return response


def application_of_environment() -> QuartTrio:
    """Make the application as the environment says, for a server that was started by its own name.

    Raises:
        SystemExit: a setting is wrong; one line on stderr says which, under the server's name.

    """
    settings = parse_settings(GatewaySettings, (), program=_started_program())
    application = create_app(settings)

    # Quart would run a plain function in a thread.
    async def configure() -> None:
        configure_logging(settings)
        for handler in logging.getLogger().handlers:
            # hypercorn's command line writes its own lines in its own form: once is enough.
            handler.addFilter(lambda record: record.name != "hypercorn.error")
        tune_gc()

    application.before_serving(configure)
    return application


def _started_program() -> str:
    """Name the program that was started: ``hypercorn``, also as ``python -m hypercorn``."""
    path = Path(sys.argv[0])
    return path.parent.name if path.name == "__main__.py" else path.stem
