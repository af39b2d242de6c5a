"""What can be set for the gateway, each both a flag and an environment variable."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from relay_common.log import LogSettings
from relay_common.target import LAST_PORT, Target
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
    model_target: Target = Field(
        default="127.0.0.1:50051", description="HOST:PORT of the model service"
    )
    heartbeat_seconds: float = Field(
        default=15.0, gt=0, allow_inf_nan=False, description="silence after which a ping is sent"
    )
    deadline_seconds: float = Field(
        default=180.0, gt=0, allow_inf_nan=False, description="the longest that an answer may take"
    )
    write_timeout_seconds: float = Field(
        default=30.0, gt=0, allow_inf_nan=False, description="how long a browser may read nothing"
    )
    drain_seconds: float = Field(
        default=10.0, ge=0, allow_inf_nan=False, description="how long it waits when it is stopped"
    )
    channel_size: int = Field(
        default=8, ge=1, le=1024, description="events that wait for one slow browser"
    )
    max_prompt_bytes: int = Field(
        default=65_536, ge=1, le=2**20, description="the longest prompt that is taken, in UTF-8"
    )

    @property
    def limits(self) -> Limits:
        """What bounds each request."""
        return Limits(self.heartbeat_seconds, self.deadline_seconds, self.channel_size)
