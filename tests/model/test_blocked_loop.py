"""The model service's event loop is blocked: by a backend, and who it was is told."""

import time
from collections.abc import AsyncGenerator
from contextlib import nullcontext
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.request import urlopen

import anyio
import anyio.to_thread
import pytest
import structlog

from grpclib_anyio.client import Channel
from relay_model import serving
from relay_model.backends.functions import FunctionBackend
from relay_model.conversation import Conversation
from relay_model.pieces import Piece
from relay_model.serving import serve
from relay_model.settings import ModelSettings
from relay_proto.ai import AiServiceStub, GenerateRequest

pytestmark = pytest.mark.anyio

BLOCKED, ALLOWED = 0.5, 0.1


async def answer(conversation: Conversation) -> AsyncGenerator[Piece]:  # noqa: ASYNC900 - closed
    yield conversation.prompt
    time.sleep(BLOCKED)  # noqa: ASYNC251 - it is what this is about
    yield conversation.prompt


def counted(port: int) -> str:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
        assert response.status == HTTPStatus.OK
        (line,) = [line for line in response if line.startswith(b"relay_model_loop_blocked_total")]
    return str(line.decode().split()[1])


@pytest.mark.parametrize(("seconds", "times"), [(ALLOWED, 1), (0, 0)])
async def test_backend_that_blocks_is_counted_and_named(
    seconds: float, times: int, monkeypatch: pytest.MonkeyPatch, free_tcp_port: int
) -> None:
    def open_backend(_settings: Any) -> Any:
        return nullcontext(FunctionBackend("mine", answer))

    monkeypatch.setattr(serving, "open_backend", open_backend)
    settings = ModelSettings(port=0, watchdog_seconds=seconds, metrics_port=free_tcp_port)
    with structlog.testing.capture_logs() as logs:
        async with anyio.create_task_group() as tasks:
            ((host, port),) = await tasks.start(partial(serve, settings))
            await anyio.sleep(2 * ALLOWED)
            async with Channel(host, port) as channel:
                stub = AiServiceStub(channel)
                messages = [m async for m in stub.generate(GenerateRequest(prompt="hi"))]
            await anyio.sleep(ALLOWED)
            assert await anyio.to_thread.run_sync(counted, free_tcp_port) == f"{times}.0"
            assert [message.done for message in messages] == [False, False, True]
            tasks.cancel_scope.cancel()
    held = [line["held_by"] for line in logs if line["event"] == "the event loop is blocked"]
    assert len(held) == times
    for stack in held:
        assert stack[0].partition(" ")[2] == "answer"
