"""``relay-demo``: the model service and the gateway in one nursery, with real gRPC in between.

What its own flags do not set, the environment does, by the names of the two programs. It ends as
the gateway does: when the browsers have been told, with 130 after Ctrl-C.
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import trio
from pydantic import Field
from pydantic_settings import SettingsConfigDict
from structlog.stdlib import get_logger

from relay_common.cli import fail, parse_settings
from relay_common.errors import StartupError
from relay_common.log import LogSettings, configure_logging
from relay_common.running import run
from relay_gateway.serving import serve as serve_gateway
from relay_gateway.settings import GatewaySettings
from relay_model.serving import serve as serve_model
from relay_model.settings import ModelSettings

__all__ = ["main"]

_LAST_PORT = 65_535

_log = get_logger(__name__)


class DemoSettings(LogSettings):
    """Run a model service and a gateway in front of it, with a page to try them."""

    # --help opens with the line above.

    model_config = SettingsConfigDict(env_prefix="RELAY_DEMO_", cli_prog_name="relay-demo")

    host: str = Field(default="127.0.0.1", description="address of the page")
    port: int = Field(
        default=8080, ge=0, le=_LAST_PORT, description="port of the page; 0 takes any free one"
    )
    backend: str = Field(default="demo", description="what answers: demo, local")
    demo_delay: float = Field(default=0.1, ge=0, description="demo: seconds between two words")
    model_path: Path | None = Field(default=None, description="local: a GGUF file")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code.

    Args:
        arguments: the command line without the program; that of this process when left out.

    """
    settings = parse_settings(DemoSettings, arguments)
    configure_logging(settings)
    model = parse_settings(ModelSettings, _model_arguments(settings))
    stop = trio.Event()
    main = partial(_serve, settings, model, stop)
    try:
        return run(main, on_terminate=stop.set, on_interrupt=stop.set)
    except StartupError as error:
        fail("relay-demo", error)


def _model_arguments(settings: DemoSettings) -> list[str]:
    arguments = ["--host=127.0.0.1", "--port=0", f"--backend={settings.backend}"]
    arguments.append(f"--demo-delay={settings.demo_delay}")
    if settings.model_path is not None:
        arguments.append(f"--model-path={settings.model_path}")
    return arguments


async def _serve(settings: DemoSettings, model: ModelSettings, stop: trio.Event) -> None:
    async with trio.open_nursery() as nursery:
        addresses = await nursery.start(partial(serve_model, model))
        host, port = addresses[0]
        gateway = GatewaySettings(
            host=settings.host, port=settings.port, model_target=f"{host}:{port}"
        )
        urls = await nursery.start(_serve_gateway, gateway, stop, nursery.cancel_scope)
        _log.info("open the page in a browser; Ctrl-C ends everything", url=f"{urls[0]}/")


async def _serve_gateway(  # noqa: ASYNC128 - serve_gateway says that it has started
    settings: GatewaySettings,
    stop: trio.Event,
    scope: trio.CancelScope,
    *,
    task_status: trio.TaskStatus[list[str]],
) -> None:
    await serve_gateway(settings, stop=stop, task_status=task_status)
    scope.cancel()  # the model outlives those who ask it, and no longer


if __name__ == "__main__":
    sys.exit(main())
