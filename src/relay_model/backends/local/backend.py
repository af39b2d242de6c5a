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
from relay_model.backends.local.schema import check_schema
from relay_model.backends.local.vocabulary import Inert, control_tokens
from relay_model.backends.protocol import ModelInfo
from relay_model.backends.support import EVERY_PARAMETER, Support
from relay_model.conversation import Format, Message, Reasoning
from relay_model.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from relay_model.backends.settings import BackendSettings
    from relay_model.conversation import Conversation, ResponseFormat

__all__ = ["LocalBackend", "open_backend"]

# No token has more characters than this (SmolLM2's longest is 64 spaces). A prompt with more
# characters than the context has room for is refused without counting its tokens, because counting
# those of 4 MB takes up to 7 s and cannot be cancelled.
_CHARACTERS_PER_TOKEN = 64

# Each slot has room for a whole context, in memory that is allocated at the start.
_MAX_SLOTS = 64

# The engine's seeds are 32 bits, and the last one stands for chance.
_SEEDS = 2**32 - 1

# With llama.cpp's own default of 0.8, SmolLM2's answers make no sense.
_TEMPERATURE = 0.2


#: The engine takes ``tools`` and does nothing with them for models whose template has none, such as
#: SmolLM2's, so they are refused.
_SUPPORT = Support(
    "local",
    parameters=EVERY_PARAMETER - {"reasoning_effort", "parallel_tool_calls"},
    formats=frozenset(Format),
)


class LocalBackend:
    """Answers each conversation with the model's own chat template.

    What a slot of the engine remembers of an earlier conversation that begins in the same way is
    not computed again, and counted as ``cached_tokens``.
    """

    def __init__(
        self,
        engine: StepwiseEngine,
        settings: "BackendSettings",
        *,
        model: str = "local",
        inert: "Callable[[str], str]" = str,
    ) -> None:
        """Answer with an engine that has ``max_concurrent`` slots of ``context_size`` tokens.

        Args:
            engine: makes the answers.
            settings: what the service was told.
            model: what requests call the model.
            inert: makes text of control tokens in a message.

        """
        self._inert = inert
        self.models = (ModelInfo(model, "local", settings.context_size),)
        self._engine = engine
        self._settings = settings
        system_prompt = settings.system_prompt
        self._system_prompt = (
            [] if system_prompt is None else [{"role": "system", "content": system_prompt}]
        )
        temperature = settings.temperature
        self._temperature = _TEMPERATURE if temperature is None else temperature

    @asynccontextmanager
    async def stream(self, conversation: "Conversation") -> "AsyncGenerator[LlamaAnswer]":
        """Answer one conversation.

        Leaving the context stops the engine within one token, or one batch of a long prompt, and
        frees the slot.

        Raises:
            BackendError: INVALID_ARGUMENT for a prompt that is too long, from entering if its
                characters show that, otherwise from the iterator; and for what the engine cannot
                do. INTERNAL when the engine fails, from the iterator.

        """
        _SUPPORT.check(conversation)
        if (schema := conversation.response_format.schema) is not None:
            check_schema(schema)
        self._check_length(conversation)
        async with LlamaAnswer(self._engine, self._request(conversation)) as answer:
            yield answer

    def _check_length(self, conversation: "Conversation") -> None:
        longest = self._settings.context_size * _CHARACTERS_PER_TOKEN
        length = sum(len(message.text) for message in conversation.messages)
        if length > longest:
            message = f"The prompt is too long: {length} characters, where {longest} is the most."
            raise BackendError(Status.INVALID_ARGUMENT, message, field="messages")

    def _request(self, conversation: "Conversation") -> dict[str, Any]:
        given = conversation.parameters
        request: dict[str, Any] = {
            "messages": [*self._system_prompt, *map(self._message, conversation.messages)],
            "stream": True,
            "stream_options": {"include_usage": True},
            # Asks for a callback after each batch of the prompt, so that a cancelled answer stops
            # before its first token.
            "return_progress": True,
            "max_tokens": self._settings.longest(conversation),
            "temperature": self._temperature if given.temperature is None else given.temperature,
            "response_format": _format(conversation.response_format),
            "stop": list(given.stop) or None,
            "top_p": given.top_p,
            "top_k": given.top_k,
            "seed": None if given.seed is None else given.seed % _SEEDS,
            "frequency_penalty": given.frequency_penalty,
            "presence_penalty": given.presence_penalty,
        }
        return {name: value for name, value in request.items() if value is not None}

    def _message(self, message: Message) -> dict[str, str]:
        written = {"role": message.role.name.lower(), "content": self._inert(message.text)}
        if thought := "".join(p.text for p in message.parts if isinstance(p, Reasoning)):
            # Whether it is read again is up to the model's template.
            written["reasoning_content"] = self._inert(thought)
        return written


def _format(given: "ResponseFormat") -> dict[str, Any] | None:
    match given.type:
        case Format.JSON_OBJECT:
            return {"type": "json_object"}
        case Format.JSON_SCHEMA:
            return {"type": "json_schema", "json_schema": {"schema": given.schema}}
        case Format.TEXT:
            return None


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
        inert = Inert(await anyio.to_thread.run_sync(control_tokens, weights))
        yield LocalBackend(engine, settings, model=weights.stem, inert=inert)
    finally:
        engine.close()
