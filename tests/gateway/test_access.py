"""A gateway for the user of this machine: a page of another site asks its model for nothing."""

import json
from typing import Any

import pytest
import trio

from harness.clock import on_mock_clock
from relay_gateway.web.access import LocalAccess
from tests.support.asgi import Exchange
from tests.support.gateways import ASK, STREAM, gateway_to
from tests.support.models import Model

pytestmark = pytest.mark.trio(run=on_mock_clock)

#: What the server's own address is for `tests.support.asgi`.
OWN = "192.0.2.2"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - no test listens there
LOCAL = "localhost:8080"
CROSS_SITE = ("sec-fetch-site", "cross-site")
CHAT = "/v1/chat/completions"
QUESTION = json.dumps({"model": "demo", "messages": [{"role": "user", "content": "hi"}]}).encode()


async def asked(target: str, listens_on: str = "127.0.0.1", **request: Any) -> tuple[Exchange, int]:
    """Send a request to a guarded gateway; give the response, and how often the model was asked."""
    model = Model(["hello"])
    async with gateway_to(model, access=LocalAccess(listens_on)) as client:
        return await client.send(target, **request), len(model.requests)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8080",
        "chat.localhost:8080",
        "127.0.0.1:8080",
        "127.1.2.3",
        "[::1]:8080",
        # The address that the client has connected to: a page cannot have a name in its place.
        OWN,
        f"{OWN}:9000",
        "laptop.example:8080",
    ],
)
async def test_the_user_is_served_by_own_names(host: str) -> None:
    response, questions = await asked(ASK, listens_on="Laptop.example", host=host)
    assert (response.status, questions) == (200, 1)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "rebound.example:8080",
        "localhost.rebound.example",
        "notlocalhost",
        "127.0.0.1.rebound.example",
        "192.0.2.3",
        "[::1",
        "localhost@rebound.example",
        "rebound.example\xe9",
    ],
)
@pytest.mark.parametrize("target", [ASK, "/", "/metrics", "/v1/models"])
async def test_a_foreign_host_is_not_served(target: str, host: str) -> None:
    response, questions = await asked(target, listens_on=EVERYWHERE, host=host)
    assert (response.status, questions) == (403, 0)
    assert b"this host is not served" in response.body
    assert b"example" not in response.body


@pytest.mark.parametrize(
    "origin",
    [f"http://{LOCAL}", "http://localhost:5173", "http://127.0.0.1:5173", "https://[::1]:5173"],
)
@pytest.mark.parametrize("site", ["same-origin", "same-site", "cross-site"])
async def test_pages_of_this_machine_are_served(origin: str, site: str) -> None:
    headers = [("origin", origin), ("sec-fetch-site", site)]
    response, questions = await asked(ASK, host=LOCAL, headers=headers)
    assert (response.status, questions) == (200, 1)


async def test_its_own_page_is_served_by_its_own_address() -> None:
    headers = [("origin", f"http://{OWN}:8080"), ("sec-fetch-site", "same-origin")]
    response, questions = await asked(ASK, EVERYWHERE, host=f"{OWN}:8080", headers=headers)
    assert (response.status, questions) == (200, 1)


@pytest.mark.parametrize(
    "origin",
    [
        "https://elsewhere.example",
        "http://elsewhere.example:8080",
        "http://localhost.elsewhere.example",
        "null",
        "",
        "file://",
        f"ftp://{OWN}",
        f"http://{OWN}",  # another port
        "http://[::1",
    ],
)
@pytest.mark.parametrize("site", ["cross-site", "same-origin"])
async def test_a_page_of_another_origin_asks_for_nothing(origin: str, site: str) -> None:
    headers = [("origin", origin), ("sec-fetch-site", site)]
    response, questions = await asked(ASK, EVERYWHERE, host=f"{OWN}:8080", headers=headers)
    assert (response.status, questions) == (403, 0)
    assert b"this origin is not served" in response.body


@pytest.mark.parametrize("method", ["POST", "OPTIONS"])
@pytest.mark.parametrize("target", [STREAM, CHAT])
async def test_a_form_or_a_preflight_of_another_origin_asks_for_nothing(
    method: str, target: str
) -> None:
    """A form may post JSON as text, for which browsers send no preflight."""
    headers = [("origin", "https://elsewhere.example"), ("content-type", "text/plain")]
    response, questions = await asked(
        target, host=LOCAL, method=method, body=QUESTION, headers=headers
    )
    assert (response.status, questions) == (403, 0)


@pytest.mark.parametrize(
    ("target", "mode"),
    [(ASK, "no-cors"), (ASK, "navigate"), ("/metrics", "no-cors"), ("/", "no-cors")],
)
async def test_what_another_site_loads_without_an_origin_is_refused(target: str, mode: str) -> None:
    """An image, a script, or a window that is opened with a question in its address."""
    headers = [CROSS_SITE, ("sec-fetch-mode", mode)]
    response, questions = await asked(target, host=LOCAL, headers=headers)
    assert (response.status, questions) == (403, 0)
    assert b"a page of another site asks for this" in response.body


async def test_the_refusal_is_in_the_shape_of_the_api() -> None:
    response, _ = await asked(CHAT, host="rebound.example", method="POST", body=QUESTION)
    assert json.loads(response.body)["error"]["param"] == "host"
    response, _ = await asked(ASK, host="rebound.example")
    assert json.loads(response.body)["field"] == "host"
    assert ("content-type", "application/problem+json") in response.headers


@pytest.mark.trio(run=trio.run)  # a file is read in a thread
@pytest.mark.parametrize("page", ["/", "/docs"])
async def test_a_link_to_a_page_works_from_everywhere(page: str) -> None:
    headers = [CROSS_SITE, ("sec-fetch-mode", "navigate")]
    response, _ = await asked(page, host=LOCAL, headers=headers)
    assert response.status == 200
