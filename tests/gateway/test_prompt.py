"""What is taken for a prompt, and what is refused with which words."""

import json
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import pytest

from harness.clock import on_mock_clock
from relay_proto.ai import GenerateRequest
from tests.support.asgi import Exchange
from tests.support.event_stream import texts
from tests.support.gateways import STREAM, gateway_to
from tests.support.models import Model

pytestmark = pytest.mark.trio(run=on_mock_clock)

KIB = 1024
PROMPTS = [
    "plain",
    "with spaces and + and & and = and % and #",
    "two\nlines\r\n",
    " ",
    "\U0001f469\u200d\U0001f680 \u00e9 \u2028",
    "nul \0 nul",
    "x" * KIB,
]
IDS = ["plain", "reserved", "lines", "space", "unicode", "nul", "long"]


async def ask(target: str = STREAM, *, limit: int = KIB, **request: Any) -> tuple[Exchange, Model]:
    """Send one request to a gateway with a limit; gives the model, too."""
    model = Model(["x"])
    async with gateway_to(model, max_prompt_bytes=limit) as client:
        return await client.send(target, **request), model


def assert_refused(
    answer: tuple[Exchange, Model], text: str, status: int = HTTPStatus.BAD_REQUEST
) -> None:
    """See that a request got a problem that says why, and that the model was not asked."""
    exchange, model = answer
    problem = json.loads(exchange.body)
    assert (exchange.status, problem["status"], problem["detail"]) == (status, status, text)
    headers = dict(exchange.headers)
    assert headers["content-type"] == "application/problem+json"
    assert headers["access-control-allow-origin"] == "*"
    assert model.requests == []


def assert_asked(answer: tuple[Exchange, Model], prompt: str, session_id: str = "") -> None:
    """See that the model was asked this, and that its answer came."""
    exchange, model = answer
    assert exchange.status == HTTPStatus.OK
    assert texts(exchange.body) == ["x"]
    assert model.requests == [GenerateRequest(prompt=prompt, session_id=session_id)]


@pytest.mark.parametrize("prompt", PROMPTS, ids=IDS)
async def test_prompt_in_a_query(prompt: str) -> None:
    answer = await ask(f"{STREAM}?prompt={quote(prompt, safe='')}&session_id=one%20two")
    assert_asked(answer, prompt, "one two")


@pytest.mark.parametrize("prompt", PROMPTS, ids=IDS)
@pytest.mark.parametrize("ascii_only", [True, False], ids=["escaped", "raw"])
async def test_prompt_in_a_body(prompt: str, *, ascii_only: bool) -> None:
    fields = {"prompt": prompt, "session_id": "one two"}
    body = json.dumps(fields, ensure_ascii=ascii_only).encode()
    answer = await ask(method="POST", body=body, headers=[("content-type", "application/json")])
    assert_asked(answer, prompt, "one two")


async def test_plus_in_a_query_is_a_space() -> None:
    assert_asked(await ask(f"{STREAM}?prompt=to+be"), "to be")


async def test_session_may_be_left_out() -> None:
    assert_asked(await ask(method="POST", body=b'{"prompt": "hi"}'), "hi")


async def test_body_may_come_in_pieces() -> None:
    pieces = [b'{"prom', b'pt": "\xe2', b"\x82", b'\xac"}', b""]
    assert_asked(await ask(method="POST", body=pieces), "\u20ac")


async def test_query_of_a_post_is_no_prompt() -> None:
    answer = await ask(f"{STREAM}?prompt=query", method="POST", body=b'{"prompt": "body"}')
    assert_asked(answer, "body")


@pytest.mark.parametrize(
    "query", ["", "prompt", "prompt=", "session_id=s", "Prompt=hi", "prompt=&session_id=s"]
)
async def test_query_without_a_prompt(query: str) -> None:
    assert_refused(await ask(f"{STREAM}?{query}"), "prompt is required")


@pytest.mark.parametrize(
    "query",
    ["prompt=%ff", "prompt=%c3%28", "prompt=%ed%a0%80", "prompt=\xc3\xa9", "prompt=a&b=%ff"],
)
async def test_query_that_is_not_utf_8(query: str) -> None:
    assert_refused(await ask(f"{STREAM}?{query}"), "the query must be percent-encoded UTF-8")


async def test_query_with_a_flood_of_fields() -> None:
    exchange, model = await ask(f"{STREAM}?prompt=hi{'&x=1' * 100}")
    assert exchange.status == HTTPStatus.BAD_REQUEST
    assert model.requests == []


@pytest.mark.parametrize("fields", ["{}", '{"prompt": ""}', '{"session_id": "s"}'])
async def test_body_without_a_prompt(fields: str) -> None:
    assert_refused(await ask(method="POST", body=fields.encode()), "prompt is required")


async def test_a_field_that_nobody_knows_is_refused_by_name() -> None:
    """It may be a mistake in the name of one that would change the answer."""
    body = b'{"prompt": "hi", "temprature": 0}'
    answer = await ask(method="POST", body=body)
    assert_refused(answer, "temprature is not supported: leave it out")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"prompt=hi",
        b'{"prompt": "hi"',
        b'{"prompt": "\xff"}',
        b"\x00",
        b"[" * 900,
        b"9" * 5_000,
    ],
    ids=["empty", "form", "cut", "not UTF-8", "binary", "deep", "long number"],
)
async def test_body_that_is_not_json(body: bytes) -> None:
    assert_refused(await ask(method="POST", body=body), "the body must be JSON")


@pytest.mark.parametrize("body", ["[]", '"hi"', "null", "1", '[{"prompt": "hi"}]'])
async def test_body_that_is_no_object(body: str) -> None:
    assert_refused(await ask(method="POST", body=body.encode()), "the body must be a JSON object")


@pytest.mark.parametrize("value", ["1", "null", "true", "[]", '["hi"]', "{}"])
@pytest.mark.parametrize("name", ["prompt", "session_id"])
async def test_field_that_is_no_string(name: str, value: str) -> None:
    fields = {"prompt": '"hi"', "session_id": '"s"', name: value}
    body = "{" + ", ".join(f'"{key}": {text}' for key, text in fields.items()) + "}"
    answer = await ask(method="POST", body=body.encode())
    assert_refused(answer, f"{name} must be a valid string")


@pytest.mark.parametrize("name", ["prompt", "session_id"])
async def test_half_of_a_surrogate_pair(name: str) -> None:
    body = json.dumps({"prompt": "hi", name: "\ud83d"}).encode()
    assert_refused(await ask(method="POST", body=body), "the body must be valid Unicode")


async def test_prompt_that_is_too_long() -> None:
    """By its bytes and not by its characters."""
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    fits, too_long = "\u20ac" * 3, "\u20ac" * 3 + "x"
    reason = "prompt is longer than 9 bytes"
    assert_asked(await ask(f"{STREAM}?prompt={quote(fits)}", limit=9), fits)
    assert_refused(await ask(f"{STREAM}?prompt={quote(too_long)}", limit=9), reason, status)
    for prompt, is_taken in ((fits, True), (too_long, False)):
        answer = await ask(method="POST", body=json.dumps({"prompt": prompt}).encode(), limit=9)
        if is_taken:
            assert_asked(answer, prompt)
        else:
            assert_refused(answer, reason, status)


async def test_longest_prompt_fits_however_it_is_written() -> None:
    body = json.dumps({"prompt": "\x01" * KIB}).encode()
    assert len(body) > 6 * KIB
    assert_asked(await ask(method="POST", body=body), "\x01" * KIB)


@pytest.mark.parametrize("is_announced", [True, False], ids=["announced", "not announced"])
async def test_huge_body_is_refused_before_it_has_come(*, is_announced: bool) -> None:
    headers = [("content-length", "1000000000")] if is_announced else []
    exchange, model = await ask(
        method="POST", body=[b" " * 16 * KIB] * 2, headers=headers, is_whole=False
    )
    assert exchange.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    assert json.loads(exchange.body)["status"] == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    assert model.requests == []


async def test_format_of_the_events() -> None:
    for query in ("", "&format=text"):
        exchange, _ = await ask(f"{STREAM}?prompt=hi{query}")
        assert exchange.body.startswith(b"data: x\n\n")
    for query, method in (("prompt=hi&format=json", "GET"), ("format=json", "POST")):
        exchange, _ = await ask(f"{STREAM}?{query}", method=method, body=b'{"prompt": "hi"}')
        assert exchange.body.startswith(b'data: {"token": "x"}\n\n')


@pytest.mark.parametrize("name", ["xml", "JSON", ""])
async def test_unknown_format(name: str) -> None:
    answer = await ask(f"{STREAM}?prompt=hi&format={name}")
    assert_refused(answer, "format must be one of text, json")
