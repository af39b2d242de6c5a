"""Each parameter that OpenAI's library has is in our table, and does what the table says."""

import json
import re
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)

from harness.clock import on_mock_clock
from relay_proto.ai import GenerateRequest, ListModelsResponse
from relay_proto.ai import Model as ModelOfService
from tests.support.asgi import Exchange
from tests.support.gateways import gateway_to
from tests.support.models import Model

PAGE = Path(__file__).parents[2] / "docs/openai.md"
HI = [{"role": "user", "content": "hi"}]
PLAIN: dict[str, Any] = {"messages": HI}

#: What the table says of a parameter, and what that means.
PASSED_ON = "passed on"
IGNORED = "taken and ignored"
ONLY = "taken if they ask for what is done anyway"
REFUSED = "refused by name"
ANSWERED = "as in OpenAI's API"
LIMIT = "two names of one limit"

TOOL = {"type": "function", "function": {"name": "time", "parameters": {"type": "object"}}}
#: A value for each parameter; where there is a second one, it would change the answer.
VALUES: dict[str, tuple[Any, ...]] = {
    "audio": ({"format": "wav", "voice": "alloy"},),
    "frequency_penalty": (0.5,),
    "function_call": ("auto",),
    "functions": ([{"name": "time"}],),
    "logit_bias": ({"50256": -100},),
    "logprobs": (False, True),
    "max_completion_tokens": (5,),
    "max_tokens": (5,),
    "messages": ([*HI, {"role": "assistant", "content": "yes?"}, *HI],),
    "metadata": ({"a": "b"},),
    "modalities": (["text"], ["text", "audio"]),
    "model": ("demo",),
    "moderation": ({"model": "omni-moderation-latest"},),
    "n": (1, 2),
    "parallel_tool_calls": (False,),
    "prediction": ({"type": "content", "content": "x"},),
    "presence_penalty": (0.5,),
    "prompt_cache_key": ("k",),
    "prompt_cache_options": ({"mode": "explicit"},),
    "prompt_cache_retention": ("24h",),
    "reasoning_effort": ("low",),
    "response_format": ({"type": "json_object"},),
    "safety_identifier": ("s",),
    "seed": (5,),
    "service_tier": ("flex",),
    "stop": (["\n"],),
    "store": (True,),
    "stream": (True,),
    "stream_options": ({"include_usage": True, "include_obfuscation": True},),
    "temperature": (0.5,),
    "tool_choice": ("required",),
    "tools": ([TOOL],),
    "top_k": (5,),
    "top_logprobs": (2,),
    "top_p": (0.5,),
    "user": ("u",),
    "verbosity": ("low",),
    "web_search_options": ({},),
}


def of_the_library() -> set[str]:
    given = CompletionCreateParamsNonStreaming, CompletionCreateParamsStreaming
    return {name for each in given for name in each.__required_keys__ | each.__optional_keys__}


def table() -> dict[str, str]:
    """Read what the page says of each parameter."""
    text = PAGE.read_text(encoding="utf-8").partition("## Parameters")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.+`) \| (.+) \|$", text, re.MULTILINE)
    return {
        name.partition(".")[0]: said
        for names, said in rows
        for name in re.findall("`(.+?)`", names)
    }


def named(said: str) -> list[str]:
    return sorted(name for name, text in table().items() if text.startswith(said))


async def ask(**fields: Any) -> tuple[Exchange, Model]:
    model = Model(["x"], models=ListModelsResponse([ModelOfService("demo")]))
    async with gateway_to(model) as client:
        body = json.dumps({**PLAIN, **fields}).encode()
        exchange = await client.send("/v1/chat/completions", method="POST", body=body)
    return exchange, model


async def asked(**fields: Any) -> GenerateRequest:
    """Give what the model is asked."""
    exchange, model = await ask(**fields)
    assert exchange.status == HTTPStatus.OK
    (request,) = model.requests
    return request


async def assert_refused(name: str, value: Any) -> None:
    exchange, model = await ask(**{name: value})
    error = json.loads(exchange.body)["error"]
    assert (exchange.status, error["param"]) == (HTTPStatus.BAD_REQUEST, name)
    assert error["message"].startswith(name)
    assert model.requests == []


def test_the_table_has_every_parameter_of_the_library() -> None:
    assert table().keys() - of_the_library() == {"top_k"}
    assert of_the_library() - table().keys() == set()


def test_the_table_says_one_of_six_things_of_each() -> None:
    said = (PASSED_ON, IGNORED, ONLY, REFUSED, ANSWERED, LIMIT)
    assert sorted(name for each in said for name in named(each)) == sorted(table())
    assert table().keys() == VALUES.keys()


@pytest.mark.trio(run=on_mock_clock)
@pytest.mark.parametrize("name", [*named(PASSED_ON), *named(LIMIT), "messages", "model"])
async def test_what_is_passed_on_reaches_the_model(name: str) -> None:
    (value,) = VALUES[name]
    assert await asked(**{name: value}) != await asked()


@pytest.mark.trio(run=on_mock_clock)
@pytest.mark.parametrize("name", [*named(IGNORED), *named(ONLY)])
async def test_what_changes_nothing_is_taken(name: str) -> None:
    assert await asked(**{name: VALUES[name][0]}) == await asked()


@pytest.mark.trio(run=on_mock_clock)
@pytest.mark.parametrize("name", named(ONLY))
async def test_what_would_change_something_is_refused(name: str) -> None:
    await assert_refused(name, VALUES[name][1])


@pytest.mark.trio(run=on_mock_clock)
@pytest.mark.parametrize("name", [*named(REFUSED), "temprature", "Temperature", ""])
async def test_what_no_model_can_be_given_is_refused(name: str) -> None:
    (value,) = VALUES.get(name, (0.5,))
    await assert_refused(name, value)


@pytest.mark.trio(run=on_mock_clock)
@pytest.mark.parametrize("name", sorted(VALUES.keys() - {"messages"}))
async def test_null_is_nothing(name: str) -> None:
    assert await asked(**{name: None}) == await asked()


@pytest.mark.trio(run=on_mock_clock)
async def test_how_it_is_streamed_changes_nothing_else() -> None:
    streamed = {name: VALUES[name][0] for name in ("stream", "stream_options")}
    exchange, model = await ask(**streamed)
    assert dict(exchange.headers)["content-type"] == "text/event-stream"
    assert b'"usage": ' in exchange.body or b'"usage":' in exchange.body
    assert model.requests == [await asked()]
