"""What a model service says of a prompt is in no line of the gateway's log."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from structlog.testing import capture_logs
from trio.testing import wait_all_tasks_blocked

from harness.clock import on_mock_clock
from relay_proto.ai import ListModelsResponse
from relay_proto.ai import Model as ModelOfService
from tests.support.gateways import STREAM, gateway_to
from tests.support.models import Model

pytestmark = pytest.mark.trio(run=on_mock_clock)

MODELS = ListModelsResponse([ModelOfService("a")])
SECRET = "my diary, page 4711"
ASKED: dict[str, dict[str, Any]] = {
    "prompt": {"prompt": SECRET},
    "earlier message": {
        "messages": [
            {"role": "system", "content": SECRET},
            {"role": "user", "content": "go on"},
        ]
    },
    "parts": {
        "messages": [
            {
                "role": "user",
                "content": [{"type": "text", "text": half} for half in ("my diary, ", "page 4711")],
            }
        ]
    },
    "arguments of a call": {
        "messages": [
            {
                "role": "assistant",
                "tool_calls": [
                    {
                        "id": "1",
                        "type": "function",
                        "function": {"name": "find", "arguments": json.dumps({"what": SECRET})},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "1", "content": "none"},
        ]
    },
    "image": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": "https://a/my-diary/page-4711"}}
                ],
            }
        ]
    },
}


@pytest.mark.parametrize("spell", [str, json.dumps, repr, quote], ids=lambda spell: spell.__name__)
@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
async def test_models_message_is_logged_without_the_prompt(
    asked: dict[str, Any], spell: Callable[[str], str]
) -> None:
    error = GRPCError(Status.INTERNAL, f"99: unknown field <{spell(SECRET)}>")
    with capture_logs() as logs:
        async with gateway_to(Model(["x", error], models=MODELS)) as client:
            exchange = await client.send(
                STREAM,
                method="POST",
                body=json.dumps(asked).encode(),
                headers=[("content-type", "application/json")],
            )
            await wait_all_tasks_blocked()
    assert exchange.status == 200
    (line,) = [line for line in logs if line["event"] == "request ended"]
    assert line["cause"] == "model_error"
    assert line["detail"].startswith("99: unknown field <")
    for text in (str(logs), exchange.body.decode()):
        assert "diary" not in text
        assert "4711" not in text
