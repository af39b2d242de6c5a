"""The gateway: server-sent events for browsers out of a model's gRPC stream.

``hypercorn --worker-class trio relay_gateway:app`` runs it as the environment says. The modules, in
the order in which an answer passes through them::

    relay       one request: reader, channel, heartbeat, deadline
    sse         events as bytes
    ending      how an answer ends
    body        the relay as a Quart response
    record      what is recorded of each request
    prompt      what is asked
    app         routes, and the channel to the model
"""

import logging
from typing import Any

from quart_trio import QuartTrio

from relay_program.cli import parse_settings
from relay_program.collector import settle
from relay_program.log import configure_logging

from .app import create_app
from .settings import GatewaySettings

__all__ = ["app"]


def _create_app() -> QuartTrio:
    settings = parse_settings(GatewaySettings, ())  # the environment alone
    application = create_app(settings)

    # Quart would run a plain function in a thread.
    async def configure() -> None:  # noqa: ASYNC124, ASYNC910 - as above
        configure_logging(settings)
        for handler in logging.getLogger().handlers:
            # hypercorn's command line writes its own lines in its own form: once is enough.
            handler.addFilter(lambda record: record.name != "hypercorn.error")
        settle()

    application.before_serving(configure)
    return application


app: Any = _create_app()
