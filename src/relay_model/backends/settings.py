"""What a backend can be told: the part of the service's settings that backends read.

A backend's ``open_backend`` takes these settings and no others, so a backend can be opened without
a service around it, for example in a test::

    settings = BackendSettings(backend="demo", demo_delay=0)
    async with open_backend(settings) as backend:
        ...

Keys are not settings. A provider's library reads the key from its own environment variable, so that
nothing here can show it.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field
from pydantic_settings import SettingsConfigDict

from relay_common.log import LogSettings

if TYPE_CHECKING:
    from relay_model.conversation import Conversation

__all__ = ["MAX_REQUESTS", "BackendSettings"]

MAX_REQUESTS = 100_000
"""The largest number of requests that a setting may allow, answered or queued."""

_MIN_CONTEXT_TOKENS = 256

# Answers at a time. Two share one machine without much harm; a provider has many machines.
_CONCURRENT_LOCAL, _CONCURRENT_OTHERS = 2, 1000

# llama.cpp's threads wait for each other by spinning, so one thread that shares its core delays all
# of them: on two busy cores, two threads make a third of the tokens that one thread makes. Where
# each core counts as two CPUs, half of the CPUs are all the cores; elsewhere the other half is left
# to the event loops.
_HALF_THE_CPUS = max(1, (os.cpu_count() or 1) // 2)


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


def _default_concurrent(validated: dict[str, Any]) -> int:
    return _CONCURRENT_LOCAL if validated.get("backend") == "local" else _CONCURRENT_OTHERS


class BackendSettings(LogSettings):
    """The settings that backends read; the service's settings extend them.

    Variables of the environment have the prefix ``RELAY_MODEL_``, for example
    ``RELAY_MODEL_MAX_TOKENS``.
    """

    model_config = SettingsConfigDict(env_prefix="RELAY_MODEL_")

    backend: str = Field(default="demo", description="what answers")
    max_concurrent: int = Field(
        default_factory=_default_concurrent,
        ge=1,
        le=MAX_REQUESTS,
        description=f"prompts answered at a time; {_CONCURRENT_LOCAL} for local and"
        f" {_CONCURRENT_OTHERS} for others",
    )
    model: str | None = Field(default=None, description="the model, by its provider's name for it")
    system_prompt: str | None = Field(
        default=None, description="what the model is told before each prompt"
    )
    max_tokens: int = Field(
        default=512, ge=1, lt=2**31, description="the longest answer, in tokens"
    )
    temperature: float | None = Field(
        default=None,
        ge=0,
        le=2,
        description="how freely words are chosen; without it, the model's own",
    )
    base_url: Annotated[str, AfterValidator(_plain_url)] | None = Field(
        default=None,
        repr=False,  # a wrong address may contain a key
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
        default=4096,
        ge=_MIN_CONTEXT_TOKENS,
        description="local: prompt and answer together, in tokens",
    )
    threads: int = Field(
        default=_HALF_THE_CPUS, ge=1, le=512, description="local: threads of the engine"
    )

    def longest(self, conversation: "Conversation") -> int:
        """Return how many tokens an answer may have: no more than is set."""
        asked = conversation.parameters.max_tokens
        return self.max_tokens if asked is None else min(asked, self.max_tokens)
