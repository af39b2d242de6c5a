"""The gateway's settings, each a flag and an environment variable.

For example, ``--heartbeat-seconds 5`` and ``RELAY_HEARTBEAT_SECONDS=5`` mean the same.
"""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from relay_common.log import LogSettings
from relay_common.target import LAST_PORT, Target
from relay_common.watchdog_seconds import WatchdogSeconds
from relay_gateway.relay.relay import Limits

__all__ = ["GatewaySettings"]


class GatewaySettings(LogSettings):
    """Relay a model's answers from gRPC to browsers, as server-sent events."""

    # --help opens with the line above.

    model_config = SettingsConfigDict(env_prefix="RELAY_", cli_prog_name="relay-gateway")

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(
        default=8080, ge=0, le=LAST_PORT, description="port to listen on; 0 takes any free one"
    )
    workers: int = Field(
        default=1, ge=1, le=256, description="processes that serve; each takes one core"
    )
    model_target: Target = Field(
        default="127.0.0.1:50051", description="HOST:PORT of the model service"
    )
    heartbeat_seconds: float = Field(
        default=15.0,
        gt=0,
        allow_inf_nan=False,
        description="seconds of silence after which a ping is sent",
    )
    deadline_seconds: float = Field(
        default=180.0,
        gt=0,
        allow_inf_nan=False,
        description="seconds that an answer may take at most",
    )
    write_timeout_seconds: float = Field(
        default=30.0,
        gt=0,
        allow_inf_nan=False,
        description="seconds that a browser may read nothing",
    )
    shutdown_grace_seconds: float = Field(
        default=0.0,
        ge=0,
        allow_inf_nan=False,
        description="seconds in which answers may still end at a stop",
    )
    drain_seconds: float = Field(
        default=10.0,
        ge=0,
        allow_inf_nan=False,
        description="seconds to wait at a stop for browsers that do not read",
    )
    channel_size: int = Field(
        default=8, ge=1, le=1024, description="events that may wait for one slow browser"
    )
    max_prompt_bytes: int = Field(
        default=65_536, ge=1, le=2**20, description="bytes of UTF-8 that a prompt may have at most"
    )

    hold_seconds: float = Field(
        default=1.0,
        ge=0,
        le=60,
        allow_inf_nan=False,
        description="seconds for which a POST's headers wait for the first token",
    )
    max_answer_characters: int = Field(
        default=2**20,
        ge=1,
        le=2**26,
        description="characters of an answer that is not streamed, at most",
    )
    watchdog_seconds: WatchdogSeconds = 0.25

    @property
    def limits(self) -> Limits:
        """What bounds each request."""
        return Limits(self.heartbeat_seconds, self.deadline_seconds, self.channel_size)
