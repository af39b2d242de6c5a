"""A language model on this machine: llama.cpp, with the SmolLM2 that pip can install.

For example ``relay-model --backend local --model-path qwen3.gguf --max-concurrent 4``.
"""

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from grpclib.const import Status

from relay_common.errors import StartupError
from relay_model.backends.local.llama import Engine, bundled_weights, check_weights
from relay_model.backends.local.llama_answer import LlamaAnswer, StepwiseEngine
from relay_model.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from relay_model.backends.settings import BackendSettings

__all__ = ["LocalBackend", "open_backend"]

# No token has more characters than this (SmolLM2's longest is 64 spaces). A prompt with more
# characters than the context has room for is refused without counting its tokens, because counting
# those of 4 MB takes up to 7 s and cannot be cancelled.
_CHARACTERS_PER_TOKEN = 64

# Each slot has room for a whole context, in memory that is allocated at the start.
_MAX_SLOTS = 64

# With llama.cpp's own default of 0.8, SmolLM2's answers make no sense.
_TEMPERATURE = 0.2


class LocalBackend:
    """Answers each prompt alone, as a chat of one message, with the model's own template."""

    def __init__(self, engine: StepwiseEngine, settings: "BackendSettings") -> None:
        """Answer with an engine that has ``max_concurrent`` slots of ``context_size`` tokens."""
        self._engine = engine
        self._settings = settings
        system_prompt = settings.system_prompt
        self._system_prompt = (
            [] if system_prompt is None else [{"role": "system", "content": system_prompt}]
        )
        temperature = settings.temperature
        self._temperature = _TEMPERATURE if temperature is None else temperature

    @asynccontextmanager
    async def stream(self, prompt: str, *, session_id: str) -> "AsyncGenerator[LlamaAnswer]":
        """Answer one prompt.

        Leaving the context stops the engine within one token, or one batch of a long prompt, and
        frees the slot.

        Raises:
            BackendError: INVALID_ARGUMENT for a prompt that is too long, from entering if its
                characters show that, otherwise from the iterator. INTERNAL when the engine fails,
                from the iterator.

        """
        del session_id  # each answer stands alone
        self._check_length(prompt)
        async with LlamaAnswer(self._engine, self._request(prompt)) as answer:
            yield answer

    def _check_length(self, prompt: str) -> None:
        longest = self._settings.context_size * _CHARACTERS_PER_TOKEN
        if len(prompt) > longest:
            message = (
                f"The prompt is too long: {len(prompt)} characters, where {longest} is the most."
            )
            raise BackendError(Status.INVALID_ARGUMENT, message)

    def _request(self, prompt: str) -> dict[str, Any]:
        return {
            "messages": [*self._system_prompt, {"role": "user", "content": prompt}],
            "max_tokens": self._settings.max_tokens,
            "temperature": self._temperature,
            "stream": True,
            "stream_options": {"include_usage": True},
            # Asks for a callback after each batch of the prompt, so that a cancelled answer stops
            # before its first token.
            "return_progress": True,
        }


@asynccontextmanager
async def open_backend(settings: "BackendSettings") -> "AsyncGenerator[LocalBackend]":
    """Load the model, and free it at the end.

    Loading cannot be cancelled; a cancellation takes effect when the model is loaded.

    Raises:
        StartupError: the model is missing, or the file is not a model.

    """
    if settings.max_concurrent > _MAX_SLOTS:
        raise StartupError(f"--max-concurrent is {_MAX_SLOTS} at most for the backend local")
    weights = settings.model_path or bundled_weights()
    check_weights(weights)
    engine = await anyio.to_thread.run_sync(
        partial(
            Engine,
            weights,
            context_size=settings.context_size,
            slots=settings.max_concurrent,
            threads=settings.threads,
            verbose=settings.log_level == "debug",
        )
    )
    try:
        yield LocalBackend(engine, settings)
    finally:
        engine.close()
