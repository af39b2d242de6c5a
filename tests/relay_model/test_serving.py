"""The service as a part of a program."""

import socket
from functools import partial
from typing import Any

import anyio
import pytest
import structlog

from grpclib_anyio.client import Channel
from relay_model.serving import serve
from relay_model.settings import ModelSettings
from relay_program.errors import EXIT_FAILURE, StartupError
from relay_proto.ai import AiServiceStub, GenerateRequest, GenerateResponse

pytestmark = pytest.mark.anyio


def settings(**values: Any) -> ModelSettings:  # noqa: ANN401 - any setting
    return ModelSettings.model_validate({"port": 0, "demo_delay": 0, **values})


async def test_reports_its_address_and_answers_there() -> None:
    answer: list[GenerateResponse] = []
    async with anyio.create_task_group() as tasks:
        ((host, port),) = await tasks.start(partial(serve, settings()))
        async with Channel(host, port) as channel:
            stub = AiServiceStub(channel)
            answer += [r async for r in stub.generate(GenerateRequest(prompt="hello"))]
        tasks.cancel_scope.cancel()
    assert "".join(r.token for r in answer) == "Streaming response to: hello "
    assert [r.done for r in answer] == [False] * 4 + [True]


async def test_cancelled_it_ends_every_answer_and_knows_why() -> None:
    async def ask(stub: AiServiceStub) -> None:
        async for _ in stub.generate(GenerateRequest(prompt="hello")):
            asked.set()

    asked = anyio.Event()
    with structlog.testing.capture_logs() as log:
        async with anyio.create_task_group() as tasks:
            ((host, port),) = await tasks.start(partial(serve, settings(demo_delay=1000)))
            async with Channel(host, port) as channel, anyio.create_task_group() as callers:
                callers.start_soon(ask, AiServiceStub(channel))
                await asked.wait()
                tasks.cancel_scope.cancel()
    assert [line["cause"] for line in log if line["event"] == "request ended"] == ["shutdown"]


async def test_an_address_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartupError) as raised:
            await serve(settings(port=port))
    assert str(raised.value) == f"cannot listen on 127.0.0.1:{port}: address already in use"
    assert raised.value.exit_code == EXIT_FAILURE


async def test_a_host_that_is_not_there_is_named() -> None:
    with pytest.raises(StartupError, match=r"cannot listen on not-a-host\.invalid:0: "):
        await serve(settings(host="not-a-host.invalid"))
