"""A key in the environment is in no log, error or metric, whatever fails.

The provider repeats the key wherever it can, and the libraries log everything that they can log.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest
import trio
from grpclib.exceptions import GRPCError
from prometheus_client import generate_latest

from grpclib_anyio.client import Channel
from grpclib_anyio.server import Server
from relay_common.log import LogSettings, configure_logging
from relay_model.backends.registry import open_backend
from relay_model.service import AiService
from relay_proto.ai import AiServiceStub, GenerateRequest
from tests.model.providers.conftest import KEY
from tests.support.provider_backend import settings_for
from tests.support.provider_server import CUT, STALL, Reply, provider_server
from tests.support.provider_wires import OLLAMA, Wire

SAID_BACK = f"Incorrect API key provided: {KEY}"

PAGE = Reply((SAID_BACK.encode(),), headers={"content-type": "text/html", "x-key": KEY})


def failures(wire: Wire) -> tuple[Reply, ...]:
    """Every way to fail, with the key in each."""
    error = wire.failed(wire.error("authentication_error", SAID_BACK))
    malformed = SAID_BACK.encode() if wire is OLLAMA else f"data: {SAID_BACK}\n\n".encode()
    half = wire.start + wire.text("half")
    return (
        *(wire.refusal(status, SAID_BACK, x_key=KEY) for status in (400, 401, 404, 418)),
        *(wire.refusal(status, SAID_BACK, x_should_retry="false") for status in (429, 500, 529)),
        Reply((SAID_BACK.encode(),), 502, {"content-type": "text/html", "x-should-retry": "false"}),
        Reply((), 307, {"location": f"http://127.0.0.1:1/{KEY}"}),
        PAGE,
        wire.reply(half, error),
        wire.reply(half, malformed),
        wire.reply(half),
        wire.reply(half, CUT),
        wire.reply(half, STALL),
    )


@asynccontextmanager
async def served(wire: Wire, url: str) -> AsyncGenerator[tuple[AiServiceStub, AiService]]:
    settings = settings_for(wire, url, read_timeout=0.2, retries=1)
    async with open_backend(settings) as backend, anyio.create_task_group() as tasks:
        service = AiService(backend)
        ((host, port),) = await tasks.start(Server([service]).serve, "127.0.0.1", 0)
        async with Channel(host, port) as channel:
            yield AiServiceStub(channel), service
        tasks.cancel_scope.cancel()


async def ask(stub: AiServiceStub) -> None:
    async for _ in stub.generate(GenerateRequest(prompt="x"), timeout=20):
        pass


@pytest.mark.trio
@pytest.mark.usefixtures("logging_restored")
@pytest.mark.parametrize("form", ["console", "json"])
async def test_no_key_is_shown(wire: Wire, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogSettings.model_validate({"log_level": "debug", "log_format": form}))
    replies = failures(wire)
    told: list[object] = []
    async with provider_server(*replies) as server, served(wire, server.url) as (stub, service):
        for _ in replies:
            try:
                await ask(stub)
            except GRPCError as error:
                told += [error, error.message, error.details]
        async with trio.open_nursery() as nursery:  # and one that is cancelled
            nursery.start_soon(ask, stub)
            await server.exchange(len(replies))
            nursery.cancel_scope.cancel()
        metrics = generate_latest(service.metrics.registry).decode()
    logged = capsys.readouterr().err
    assert len(server.exchanges) == len(replies) + 1
    assert len(told) == 3 * len(replies)
    for shown in (logged, metrics, repr(told)):
        assert KEY not in shown
    # It was there to be shown, and the libraries were heard.
    assert "[secret]" in logged
    assert "http11" in logged
    assert logged.count("request ended") == len(replies) + 1
