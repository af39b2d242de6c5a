"""The gateway as an ASGI application: its parts, and one channel to the model for all of them.

``relay_gateway:app`` builds it from the environment when a server loads it, and ``relay-gateway``
from its command line::

    create_app(GatewaySettings(model_target="127.0.0.1:50051"))

The application's parts know each other in one direction only::

    routes ──▶ http_connection ──▶ accounting ──▶ relay
       └──▶ prompt                   shutdown ──▶ accounting
"""

import logging
import os
import sys
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio
from quart_trio import QuartTrio
from structlog.stdlib import get_logger
from trio.lowlevel import in_trio_run

from grpclib_anyio.client import Channel
from grpclib_anyio.config import Configuration
from relay_common.cli import parse_settings
from relay_common.errors import EXIT_USAGE
from relay_common.gc_tuning import tune_gc
from relay_common.log import configure_logging
from relay_common.target import parse_target
from relay_common.watchdog import Watchdog
from relay_gateway.server import patch
from relay_gateway.server.worker import current_worker
from relay_gateway.settings import GatewaySettings
from relay_gateway.web.access import LocalAccess
from relay_gateway.web.accounting import RequestLog
from relay_gateway.web.http_connection import HTTPConnection
from relay_gateway.web.metrics import Metrics
from relay_gateway.web.routes import Routes
from relay_gateway.web.shutdown import Shutdown

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import TypeAlias

    from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, Scope

    _Application: TypeAlias = Callable[
        [Scope, ASGIReceiveCallable, ASGISendCallable], Coroutine[Any, Any, None]
    ]

__all__ = ["Gateway", "application_of_environment", "create_app"]

#: Silence on the connection to the model, with calls open, until it is asked for a sign of life,
#: and how long it may take to give one; seconds. No pause follows a failed attempt to connect,
#: because the first request after the model is back must not pay for earlier ones, and people who
#: press a button do not come often enough to be a burden to a server that is down.
_TO_MODEL = Configuration(
    # Bytes that the model may have on their way here for all answers together. A new answer's first
    # token waits behind them, so the usual 4 MiB would be too many. For example, 64 KiB are 30,000
    # tokens a second from a model that is 0.1 s away, and 3,000,000 from the next rack.
    http2_connection_window_size=65_535,
    initial_backoff=0.0,
    max_backoff=0.0,
    close_timeout=0.5,  # a process that stops has a second for all that follows its drain
    keepalive_time=20.0,
    keepalive_timeout=10.0,
    http2_max_pings_without_data=0,
    http2_min_sent_ping_interval_without_data=20.0,
)
#: Bytes of JSON for each byte of a prompt (``\\u0000`` is a character), and for the other fields.
_JSON_GROWTH, _JSON_REST = 6, 4096

_log = get_logger(__name__)


class Gateway:
    """What lives as long as the application: the channel to the model, and the open requests."""

    def __init__(
        self,
        settings: GatewaySettings,
        channel: Channel | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        """Prepare; ``channel`` is used instead of one to ``settings.model_target`` if given."""
        host, port = parse_target(settings.model_target)
        self.model = channel or Channel(host, port, config=_TO_MODEL)
        self.metrics = metrics or Metrics()
        self.log = RequestLog(self.metrics)
        self.shutdown = Shutdown(self.log)
        self._grace_seconds = settings.shutdown_grace_seconds
        self._drain_seconds = settings.drain_seconds
        self._stop = trio.Event()
        self._watchdog = Watchdog(settings.watchdog_seconds, self.metrics.loop_blocked.inc)
        self.metrics.watch(
            "relay_model_calls", "Calls now open on the connection to the model", self._count_calls
        )

    def _count_calls(self) -> int:
        return self.model.statistics().streams

    async def hold_channel(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Keep the channel open from the application's start to its end.

        In a task of its own, because Quart's ``while_serving`` would hold it in a generator
        (PEP 789).
        """
        async with self.model:
            with self._watchdog:
                task_status.started()
                await self._stop.wait()

    async def release_channel(self) -> None:
        """Let the channel close; not a checkpoint."""
        self.shutdown.stop_answers()  # for servers that do not drain first
        self._stop.set()

    async def drain(self) -> None:
        """Let open answers end, tell the others why they are stopped, and wait for their browsers.

        New requests are refused in that time: for ``shutdown_grace_seconds`` and then
        ``drain_seconds`` at most, or until ``shutdown.skip`` is called.
        """
        _log.info("stopping", requests=self.shutdown.requests)
        await self.shutdown.run(self._grace_seconds, self._drain_seconds)
        self._stop.set()  # nobody needs the model any more


def create_app(
    settings: GatewaySettings,
    *,
    channel: Channel | None = None,
    metrics: Metrics | None = None,
    access: LocalAccess | None = None,
) -> QuartTrio:
    """Make the application; its connection to the model is opened when a server starts it.

    Replaces what ``server/patch.py`` lists in hypercorn, for the whole process.

    Args:
        settings: where the model is, and what bounds a request.
        channel: for tests, and for a model that is reached in another way.
        metrics: what to count in; its own when left out.
        access: refuses requests that others may not make; when left out, all may ask.

    """
    patch.install(write_timeout=settings.write_timeout_seconds)
    gateway = Gateway(settings, channel, metrics)
    app = QuartTrio(__name__, static_folder="static")
    app.asgi_http_class = partial(HTTPConnection, gateway.log, gateway.shutdown)  # type: ignore[assignment] # Quart calls it
    # Quart asks of each function, for each request, whether it is a coroutine. The functions are
    # few; without this, those of one request would be forgotten after 64 others.
    app.ensure_async = lru_cache(maxsize=64)(app.ensure_async)  # type: ignore[method-assign]
    app.config["MAX_CONTENT_LENGTH"] = settings.max_prompt_bytes * _JSON_GROWTH + _JSON_REST
    if access is not None:
        app.before_request(access.check)
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = 0  # a page must not outlive the gateway it came from
    Routes(settings, gateway.model, gateway.log, gateway.shutdown).add_to(app, gateway.metrics)
    _add_lifespan(app, gateway)
    return app


def _add_lifespan(app: QuartTrio, gateway: Gateway) -> None:
    async def open_channel() -> None:
        await app.nursery.start(gateway.hold_channel)
        if (worker := current_worker.get()) is not None:
            worker.drain, worker.skip = gateway.drain, gateway.shutdown.skip
            gateway.metrics.watch(
                "relay_connections", "Connections now open", partial(len, worker.connections)
            )

    app.before_serving(open_channel)
    app.after_serving(gateway.release_channel)


def application_of_environment() -> QuartTrio:
    """Make the application as the environment says, for a server that was started by its own name.

    Raises:
        SystemExit: a setting is wrong; one line on stderr says which, under the server's name.

    """
    settings = parse_settings(GatewaySettings, (), program=_started_program())
    application = create_app(settings)

    async def configure() -> None:  # a coroutine, since Quart runs plain functions in threads
        configure_logging(settings)
        for handler in logging.getLogger().handlers:
            # hypercorn's command line writes its own lines in its own form: once is enough.
            handler.addFilter(lambda record: record.name != "hypercorn.error")
        tune_gc()

    application.before_serving(configure)
    overridable: Any = application  # as Quart documents it
    overridable.asgi_app = _on_trio_only(application.asgi_app)
    return application


def _on_trio_only(application: "_Application") -> "_Application":
    """Refuse to run on another event loop, where all that the application does would fail."""

    async def checked(
        scope: "Scope", receive: "ASGIReceiveCallable", send: "ASGISendCallable"
    ) -> None:
        if in_trio_run():
            await application(scope, receive, send)
        else:
            message = f"{_started_program()}: error: the gateway needs --worker-class trio\n"
            sys.stderr.write(message)
            sys.stderr.flush()
            # SystemExit would print the tracebacks of a loop that is torn down around it.
            os._exit(EXIT_USAGE)

    return checked


def _started_program() -> str:
    """Name the program that was started: ``hypercorn``, also as ``python -m hypercorn``."""
    path = Path(sys.argv[0])
    return path.parent.name if path.name == "__main__.py" else path.stem
