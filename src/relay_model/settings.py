"""What can be set for the model service, each both as a flag and as an environment variable.

For example ``relay-model --port 50052`` and ``RELAY_MODEL_PORT=50052 relay-model`` do the same; the
flag wins when both are given.
"""

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_settings import SettingsConfigDict

from relay_common.log import LogSettings
from relay_common.target import LAST_PORT
from relay_common.watchdog_seconds import WatchdogSeconds
from relay_model.backends.registry import BACKENDS, installed_backends, is_known
from relay_model.backends.settings import MAX_REQUESTS, BackendSettings

__all__ = ["ModelSettings"]


def _known_backend(name: str) -> str:
    if not is_known(name):
        message = f"must be one of {', '.join([*BACKENDS, *installed_backends()])}"
        raise ValueError(message)
    return name


class _ServerSettings(LogSettings):
    """The settings that the service reads itself."""

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(
        default=50051, ge=0, le=LAST_PORT, description="port to listen on; 0 takes any free one"
    )
    metrics_port: int | None = Field(
        default=None,
        ge=0,
        le=LAST_PORT,
        description="port for Prometheus, on the same address; 0 takes any free one",
    )
    max_prompt_bytes: int = Field(
        default=2**20,
        ge=1,
        le=2**26,
        description="bytes of text and images that a request may have at most",
    )
    accept_compression: bool = Field(
        default=False, description="read requests that are compressed with gzip"
    )
    idle_seconds: float = Field(
        default=3600.0,
        gt=0,
        allow_inf_nan=False,
        description="seconds after which a connection without requests is closed",
    )
    drain_seconds: float = Field(
        default=10.0,
        ge=0,
        allow_inf_nan=False,
        description="seconds in which answers may still end after SIGTERM",
    )
    max_queued: int = Field(
        default=100,
        ge=0,
        le=MAX_REQUESTS,
        description="prompts that wait while --max-concurrent are answered; the next is refused",
    )
    watchdog_seconds: WatchdogSeconds = 0.25


class ModelSettings(BackendSettings, _ServerSettings):
    """Answer prompts over gRPC, one token at a time.

    "relay-model ask PROMPT" asks a running service; "relay-model backends" lists what can answer.
    """

    # --help opens with the lines above, and lists flags in the order of the base classes, from the
    # last to the first: logs, the server, the backend.

    model_config = SettingsConfigDict(env_prefix="RELAY_MODEL_", cli_prog_name="relay-model")

    # Those of "relay-model ask".
    other_variables = frozenset({"PROMPT", "SESSION_ID", "DEADLINE_SECONDS"})

    backend: Annotated[str, AfterValidator(_known_backend)] = Field(
        default="demo",
        description=f"what answers: {', '.join(BACKENDS)}, or one from another package",
    )
