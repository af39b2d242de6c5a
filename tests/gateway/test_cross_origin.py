"""What a page of another origin is told that it may do, and what it may read."""

from http import HTTPStatus

import pytest
from grpclib.const import Status

from harness.clock import on_mock_clock
from tests.support.asgi import Client, Exchange
from tests.support.gateways import STREAM, gateway_to, stopping
from tests.support.models import Model, fails

pytestmark = pytest.mark.trio(run=on_mock_clock)

CHAT = "/v1/chat/completions"
HI = b'{"messages": [{"role": "user", "content": "hi"}]}'
PATHS = [STREAM, CHAT, "/v1/models", "/v1/models/demo", "/openapi.json"]


async def preflight(client: Client, path: str, method: str = "POST") -> Exchange:
    headers = [
        ("origin", "https://example.org"),
        ("access-control-request-method", method),
        ("access-control-request-headers", "authorization,content-type,x-stainless-lang"),
    ]
    return await client.send(path, method="OPTIONS", headers=headers)


@pytest.mark.parametrize("path", PATHS)
async def test_preflight(path: str) -> None:
    model = Model(["x"])
    async with gateway_to(model) as client:
        exchange = await preflight(client, path)
    headers = dict(exchange.headers)
    assert (exchange.status, exchange.body) == (HTTPStatus.OK, b"")
    assert headers["access-control-allow-origin"] == "*"
    assert headers["access-control-allow-methods"] == "GET, POST, OPTIONS"
    # The star does not stand for Authorization (Fetch § 3.3.4).
    assert headers["access-control-allow-headers"] == "Authorization, *"
    assert headers["access-control-max-age"] == "600"
    assert model.requests == []


async def test_what_is_no_api_is_not_for_other_origins() -> None:
    async with gateway_to(Model([])) as client:
        for path in ("/", "/metrics", "/healthz", "/readyz", "/static/app.js", "/v1", "/api"):
            headers = dict((await preflight(client, path)).headers)
            assert not [name for name in headers if name.startswith("access-control-")]


@pytest.mark.parametrize(
    ("target", "body", "status"),
    [
        (STREAM, b'{"prompt": "hi"}', Status.RESOURCE_EXHAUSTED),
        (STREAM, b"{}", Status.OK),
        (CHAT, HI, Status.UNAVAILABLE),
        (CHAT, HI, Status.INVALID_ARGUMENT),
        (CHAT, b"{", Status.OK),
    ],
)
async def test_a_page_may_read_whether_to_ask_again(
    target: str, body: bytes, status: Status
) -> None:
    async with gateway_to(Model([fails(status)])) as client:
        exchange = await client.send(target, method="POST", body=body)
    headers = dict(exchange.headers)
    assert exchange.status >= HTTPStatus.BAD_REQUEST
    assert headers["access-control-allow-origin"] == "*"
    assert headers["access-control-expose-headers"] == "Retry-After, x-should-retry"


async def test_a_page_is_told_that_the_gateway_stops() -> None:
    """A refused preflight is "failed to fetch", which does not say when to come back."""
    async with stopping(Model([float("inf")])) as client:
        asked = await preflight(client, CHAT)
        answered = await client.send(CHAT, method="POST", body=HI)
    assert asked.status == HTTPStatus.OK
    assert answered.status == HTTPStatus.SERVICE_UNAVAILABLE
    assert "retry-after" in dict(answered.headers)
