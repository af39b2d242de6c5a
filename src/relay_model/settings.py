"""What can be set for the model service, each both a flag and an environment variable."""

import os
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field
from pydantic_settings import SettingsConfigDict

from relay_common.log import LogSettings
from relay_common.target import LAST_PORT
from relay_model.backends.registry import BACKENDS, installed_backends, is_known

__all__ = ["ModelSettings"]

_LEAST_CONTEXT = 256
_MOST_REQUESTS = 100_000

# Answers at once: two share this machine without much harm; a provider has machines enough.
_OF_LOCAL, _OF_OTHERS = 2, 1000

# llama.cpp's threads wait for each other by spinning, so one that has to share its core holds up
# all: on two busy cores, two threads make a third of the tokens that one makes. Half of the CPUs
# are all the cores there are where each counts twice, and elsewhere leave room for the event loops.
_HALF_THE_CPUS = max(1, (os.cpu_count() or 1) // 2)


def _known_backend(name: str) -> str:
    if not is_known(name):
        message = f"must be one of {', '.join([*BACKENDS, *installed_backends()])}"
        raise ValueError(message)
    return name


def _plain_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_plain = parts.scheme in {"http", "https"} and parts.hostname and "@" not in parts.netloc
    except ValueError:
        is_plain = False
    if not is_plain:
        message = "must be http://… or https://…, without a user and a password"
        raise ValueError(message)
    return url


def by_backend(validated: dict[str, Any]) -> int:
    return _OF_LOCAL if validated.get("backend") == "local" else _OF_OTHERS


class ModelSettings(LogSettings):
    """Answer prompts over gRPC, one token at a time.

    "relay-model ask PROMPT" asks a running service; "relay-model backends" lists what can answer.
    """

    # --help opens with the lines above. Keys are no settings: a provider's own library reads its
    # own variable, and nothing here can show one.

    model_config = SettingsConfigDict(env_prefix="RELAY_MODEL_", cli_prog_name="relay-model")

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(
        default=50051, ge=0, le=LAST_PORT, description="port to listen on; 0 takes any free one"
    )
    backend: Annotated[str, AfterValidator(_known_backend)] = Field(
        default="demo",
        description=f"what answers: {', '.join(BACKENDS)}, or one that another package brings",
    )
    max_concurrent: int = Field(
        default_factory=by_backend,
        ge=1,
        le=_MOST_REQUESTS,
        description=f"prompts answered at once; {_OF_LOCAL} for local and {_OF_OTHERS} for others",
    )
    max_queued: int = Field(
        default=100,
        ge=0,
        le=_MOST_REQUESTS,
        description="prompts that wait for their turn; the next one is refused",
    )
    drain_seconds: float = Field(
        default=10.0,
        ge=0,
        allow_inf_nan=False,
        description="seconds that answers under way have to end in after SIGTERM",
    )
    metrics_port: int | None = Field(
        default=None,
        ge=0,
        le=LAST_PORT,
        description="port for Prometheus, on the same address; 0 takes any free one",
    )
    model: str | None = Field(default=None, description="the model, by its provider's name for it")
    system_prompt: str | None = Field(
        default=None, description="what the model is told before each prompt"
    )
    max_tokens: int = Field(default=512, ge=1, description="the longest answer, in tokens")
    temperature: float | None = Field(
        default=None,
        ge=0,
        le=2,
        description="how freely words are chosen; without it, the model's own",
    )
    base_url: Annotated[str, AfterValidator(_plain_url)] | None = Field(
        default=None,
        repr=False,  # an address that is wrong may have a key in it
        description="where the provider is, if not where its library looks for it",
    )
    connect_timeout: float = Field(
        default=10.0, gt=0, allow_inf_nan=False, description="seconds to reach the provider in"
    )
    read_timeout: float = Field(
        default=60.0,
        gt=0,
        allow_inf_nan=False,
        description="seconds for which the provider may be silent",
    )
    retries: int = Field(
        default=2,
        ge=0,
        le=10,
        description="times that a request is made again which failed before its first token",
    )
    demo_delay: float = Field(
        default=0.1, ge=0, allow_inf_nan=False, description="demo: seconds between two words"
    )
    model_path: Path | None = Field(
        default=None, description="local: a GGUF file; without it, the SmolLM2 that is installed"
    )
    context_size: int = Field(
        default=4096, ge=_LEAST_CONTEXT, description="local: prompt and answer together, in tokens"
    )
    threads: int = Field(
        default=_HALF_THE_CPUS, ge=1, le=512, description="local: threads of the engine"
    )
