"""The openai backend and a server that others wrote: llama.cpp's own, with a real model."""

import gc
from collections.abc import Iterator
from typing import Any

import pytest
import trio
from grpclib.const import Status

from relay_model.backends.local.llama import bundled_weights
from relay_model.backends.registry import import_extra, open_backend
from relay_model.conversation import Conversation
from relay_model.outcome import FinishReason
from tests.support.answers import failure_of, text
from tests.support.local_model import needs_local_model
from tests.support.provider_backend import settings_for
from tests.support.provider_wires import OPENAI

STORY = "Write a very long story about a dog, a cat and a bird."

CONTEXT = 512


@pytest.fixture
def llama_server() -> Iterator[str]:
    """Give the address of a server with one slot, which answers one request after the other."""
    xllamacpp: Any = import_extra("xllamacpp", extra="local")
    params = xllamacpp.CommonParams()
    params.model.path = str(bundled_weights())
    params.n_parallel, params.n_ctx, params.n_batch, params.n_ubatch = 1, CONTEXT, 64, 64
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.verbosity, params.ui, params.endpoint_metrics = -1, False, True
    params.hostnames, params.port = ["127.0.0.1"], 0
    server = xllamacpp.Server(params)
    server.handle_metrics()  # its own thread is under way: to close it before hangs
    yield server.listening_address
    del server
    gc.collect()


@needs_local_model
@pytest.mark.trio
async def test_the_real_model_answers_and_is_stopped(llama_server: str) -> None:
    settings = settings_for(OPENAI, llama_server, temperature=0, max_tokens=400)
    async with open_backend(settings) as backend:
        async with backend.stream(Conversation.of(STORY)) as pieces:
            for _ in range(5):
                assert await anext(pieces)
        # The only slot is free at once: the story would have gone on for seconds.
        brief = settings.model_copy(update={"max_tokens": 8})
        with trio.fail_after(10):
            async with (
                open_backend(brief) as other,
                other.stream(Conversation.of("Explain gravity in one sentence.")) as pieces,
            ):
                said = "".join([text(piece) async for piece in pieces])
        assert "ravity" in said
        assert pieces.outcome.finish_reason is FinishReason.LENGTH
        assert pieces.outcome.usage is not None
        assert pieces.outcome.usage.completion_tokens == 8
        assert pieces.outcome.usage.prompt_tokens > 8

        too_long = await failure_of(backend, "word " * CONTEXT)
    assert too_long[1].status is Status.INVALID_ARGUMENT
    assert too_long[1].message == "The prompt is too long."
