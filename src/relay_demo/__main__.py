"""``relay-demo``: the model service and the gateway in one process, with real gRPC in between.

A setting that has no flag here is read from the environment, by the name that it has for
``relay-model`` or ``relay-gateway``. For example, a demo of 100 prompts at a time::

    RELAY_MODEL_MAX_CONCURRENT=100 relay-demo --port 8000

It is for the user of this machine: a page of another site cannot use it, see ``LocalAccess``.

The program ends as the gateway does: when all browsers have been told, with exit code 130 after
SIGINT and 0 after SIGTERM. A second signal ends it at once. The exit code is 2 when a setting is
wrong, and 1 when the page's address cannot be listened on; both after one line on stderr.
"""

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import trio
from pydantic import Field
from pydantic_settings import SettingsConfigDict
from structlog.stdlib import get_logger

from relay_common.cli import fail, parse_settings
from relay_common.errors import StartupError
from relay_common.log import LogSettings, configure_logging
from relay_common.running import run
from relay_common.target import LAST_PORT
from relay_gateway.serving import serve as serve_gateway
from relay_gateway.settings import GatewaySettings
from relay_gateway.web.access import LocalAccess
from relay_model.serving import serve as serve_model
from relay_model.settings import ModelSettings

__all__ = ["main"]

_PROGRAM = "relay-demo"

SettingsT = TypeVar("SettingsT", bound=LogSettings)

_log = get_logger(__name__)


class DemoSettings(LogSettings):
    """Run a model service and a gateway in front of it, with a page to try them."""

    # --help opens with the line above. A field that is None is left to the program that it is for.

    model_config = SettingsConfigDict(env_prefix="RELAY_DEMO_", cli_prog_name=_PROGRAM)

    host: str | None = Field(
        default=None, description="address of the page; without it RELAY_HOST, or 127.0.0.1"
    )
    port: int | None = Field(
        default=None,
        ge=0,
        le=LAST_PORT,
        description="port of the page, 0 takes any free one; without it RELAY_PORT, or 8080",
    )
    backend: str | None = Field(
        default=None, description="what answers; without it RELAY_MODEL_BACKEND, or demo"
    )
    demo_delay: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, description="demo: seconds between two words"
    )
    model_path: Path | None = Field(default=None, description="local: a GGUF file")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code.

    Args:
        arguments: the command line without the program; that of this process when left out.

    """
    settings = parse_settings(DemoSettings, arguments)
    configure_logging(settings)
    gateway = _parse(GatewaySettings, settings, "host", "port")
    model = _parse(ModelSettings, settings, "backend", "demo_delay", "model_path")
    # Only the gateway asks this model, so where it listens is nobody's setting. One watchdog is
    # enough for the event loop that both share.
    model = model.model_copy(update={"host": "127.0.0.1", "port": 0, "watchdog_seconds": 0.0})
    stop = trio.Event()
    try:
        return run(
            partial(_serve, gateway, model, stop), on_terminate=stop.set, on_interrupt=stop.set
        )
    except StartupError as error:
        fail(_PROGRAM, error)


def _parse(settings: type[SettingsT], demo: DemoSettings, *flags: str) -> SettingsT:
    """Read the settings of one of the two programs; some of its flags are the demo's as well."""
    return parse_settings(settings, tuple(_arguments(demo, flags)), program=_PROGRAM, flags=flags)


def _arguments(demo: DemoSettings, flags: Sequence[str]) -> Iterator[str]:
    for flag in flags:
        if (value := getattr(demo, flag)) is not None:
            yield f"--{flag.replace('_', '-')}={value}"


async def _serve(gateway: GatewaySettings, model: ModelSettings, stop: trio.Event) -> None:
    async with trio.open_nursery() as models:
        addresses = await models.start(partial(serve_model, model))
        host, port = addresses[0]
        gateway = gateway.model_copy(update={"model_target": f"{host}:{port}"})
        async with trio.open_nursery() as gateways:
            access = LocalAccess(gateway.host)
            serve = partial(serve_gateway, gateway, stop=stop, access=access)
            urls = await gateways.start(serve)
            _log.info("open the page in a browser; Ctrl-C ends everything", url=f"{urls[0]}/")
        models.cancel_scope.cancel()  # no gateway needs the model any more


if __name__ == "__main__":
    sys.exit(main())
