"""What a provider repeats of a prompt is in no log of ours, whichever way it fails."""

import json
from importlib import import_module
from typing import Any
from urllib.parse import quote

import pytest
from grpclib.exceptions import GRPCError

from relay_common.log import LogSettings, configure_logging
from relay_proto.ai import AiServiceStub, GenerateRequest
from tests.model.providers.test_redact import served
from tests.support.provider_server import Reply, provider_server
from tests.support.provider_wires import Wire

# For type checkers, the members of betterproto's enums are plain numbers.
ai: Any = import_module("relay_proto.ai")

PROMPT = 'my diary says "élan"\nand 4711 sheep'
SECRETS = ("diary", "4711", "sheep", "earlier")
CONVERSATION = [
    ai.Message(ai.Role.USER, [ai.Part(text="earlier words")]),
    ai.Message(ai.Role.ASSISTANT, [ai.Part(text="said")]),
    ai.Message(ai.Role.USER, [ai.Part(text=PROMPT)]),
]


def failures(wire: Wire) -> tuple[Reply, ...]:
    """Every way to fail with a text of the provider's own; the first is asked again."""
    quotes = (PROMPT, json.dumps(PROMPT), repr(PROMPT), quote(PROMPT), "earlier words", PROMPT[:14])
    said = [f"99: unknown <{text}>" for text in quotes]
    half = wire.start + wire.text("half")
    return (
        wire.refusal(503, said[0], retry_after="0"),
        *(wire.refusal(400, each) for each in said),
        *(wire.reply(half, wire.failed(wire.error("overloaded", each))) for each in said),
        Reply((said[0].encode(),), 502, {"x-should-retry": "false"}),
    )


@pytest.mark.trio
@pytest.mark.usefixtures("logging_restored")
@pytest.mark.parametrize("form", ["console", "json"])
async def test_no_prompt_is_logged(
    wire: Wire, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(LogSettings.model_validate({"log_format": form}))
    replies = failures(wire)
    async with provider_server(*replies) as server, served(wire, server.url) as (stub, _):
        for _ in replies[1:]:
            with pytest.raises(GRPCError):
                await ask(stub)
    logged = capsys.readouterr().err
    assert not [secret for secret in SECRETS if secret in logged]
    # It was there to be shown.
    assert logged.count("99: unknown <") == len(replies)
    assert "asking again" in logged


async def ask(stub: AiServiceStub) -> None:
    async for _ in stub.generate(GenerateRequest(messages=CONVERSATION), timeout=20):
        pass
