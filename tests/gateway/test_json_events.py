"""``format=json`` to the last event: whatever ends an answer, each of its payloads is JSON."""

import json
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
import trio
from grpclib.const import Status
from trio.testing import wait_all_tasks_blocked

from grpclib_anyio.testing import ChannelFor, ChannelOver
from harness.clock import on_mock_clock
from relay_gateway.relay.completion import Completion
from relay_gateway.relay.relay import Limits, Relay
from relay_gateway.relay.sse import JsonEncoder, TextEncoder
from relay_proto.ai import FinishReason, GenerateRequest, GenerateResponse, Usage
from tests.support.event_stream import DONE, parse
from tests.support.gateways import STREAM, gateway_to
from tests.support.models import Model, Step, fails

pytestmark = pytest.mark.trio(run=on_mock_clock)

ASK = f"{STREAM}?prompt=hi&format=json"
HI = GenerateRequest(prompt="hi")
FOREVER = float("inf")
SHORT = Limits(deadline=2.0)
SAYS_NOTHING = {"finish_reason": None, "usage": None}


async def body_of(relay: Relay, *, stop: bool = False) -> bytes:
    """Read a whole answer, perhaps of a gateway that is stopped while its model thinks."""
    chunks: list[bytes] = []
    async with relay:
        if stop:
            await wait_all_tasks_blocked()
            relay.stop()
        try:
            while True:
                chunks.append(await relay.next_chunk())
        except trio.EndOfChannel:
            return b"".join(chunks)


def ends(reason: int = FinishReason.UNSPECIFIED, **fields: Any) -> GenerateResponse:
    """Make the last message of a complete answer."""
    return GenerateResponse(done=True, finish_reason=FinishReason.try_value(reason), **fields)


def payloads(body: bytes) -> list[tuple[str, Any]]:
    """Give each event's type and what its JSON says, which has to be an object."""
    read = [(event.type, json.loads(event.data)) for event in parse(body)]
    assert all(isinstance(payload, dict) for _, payload in read)
    return read


@asynccontextmanager
async def nobody_listens() -> AsyncGenerator[ChannelOver]:
    async def refuse() -> Any:
        await trio.lowlevel.checkpoint()
        raise ConnectionRefusedError

    async with ChannelOver(refuse) as channel:
        yield channel


# -- the end of a complete answer -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("last", "says"),
    [
        (ends(), SAYS_NOTHING),
        (
            ends(FinishReason.STOP, usage=Usage(3, 5)),
            {"finish_reason": "stop", "usage": {"prompt_tokens": 3, "completion_tokens": 5}},
        ),
        (
            ends(FinishReason.LENGTH, usage=Usage(3, 0)),
            {"finish_reason": "length", "usage": {"prompt_tokens": 3, "completion_tokens": 0}},
        ),
        (
            ends(usage=Usage(0, 0)),
            {"finish_reason": None, "usage": {"prompt_tokens": 0, "completion_tokens": 0}},
        ),
        (
            ends(FinishReason.CONTENT_FILTER),
            {"finish_reason": "content_filter", "usage": None},
        ),
        (ends(FinishReason.OTHER), {"finish_reason": "other", "usage": None}),
        # A reason that this gateway's contract does not have yet.
        (ends(77), {"finish_reason": "other", "usage": None}),
        # A last message that has text.
        (ends(FinishReason.LENGTH, token="y"), {"finish_reason": "length", "usage": None}),
    ],
)
async def test_done_says_how_the_answer_ended(last: GenerateResponse, says: dict[str, Any]) -> None:
    async with gateway_to(Model(["x"], last=last)) as client:
        exchange = await client.send(ASK)
    *tokens, done = payloads(exchange.body)
    assert tokens == [("message", {"token": text}) for text in ("x", last.token) if text]
    assert done == ("done", says)


async def test_text_says_nothing_more_than_it_did() -> None:
    last = ends(FinishReason.LENGTH, usage=Usage(3, 5))
    async with gateway_to(Model(["x"], last=last)) as client:
        exchange = await client.send(f"{STREAM}?prompt=hi")
    assert exchange.body == b"data: x\n\nevent: done\ndata: [DONE]\n\n"
    assert exchange.events[-1] == DONE


async def test_posted_prompt_is_answered_in_json_too() -> None:
    body = json.dumps({"prompt": "hi", "format": "json"}).encode()
    async with gateway_to(Model([])) as client:
        exchange = await client.send(STREAM, method="POST", body=body)
    assert payloads(exchange.body) == [("done", SAYS_NOTHING)]


# -- what cuts an answer short --------------------------------------------------------------------

Ending = tuple[str, str]


@pytest.mark.parametrize(
    ("script", "limits", "stops", "ending"),
    [
        (["x", FOREVER], SHORT, False, ("DEADLINE_EXCEEDED", "deadline")),
        (["x", FOREVER], Limits(), True, ("UNAVAILABLE", "shutdown")),
        (["x", fails(Status.INTERNAL)], Limits(), False, ("INTERNAL", "model_error")),
        (
            ["x", fails(Status.RESOURCE_EXHAUSTED)],
            Limits(),
            False,
            ("RESOURCE_EXHAUSTED", "model_error"),
        ),
        (["x", fails(Status.UNAVAILABLE)], Limits(), False, ("UNAVAILABLE", "model_unavailable")),
        (["x"], Limits(), False, ("DATA_LOSS", "model_error")),
    ],
)
async def test_error_is_json(
    script: Iterable[Step], limits: Limits, ending: Ending, *, stops: bool
) -> None:
    async with ChannelFor([Model(script, says_done=False)]) as channel:
        body = await body_of(Relay(channel, HI, JsonEncoder(), limits), stop=stops)
    assert_ended(body, [("message", {"token": "x"})], ending)


async def test_model_that_is_not_there_is_told_in_json() -> None:
    async with nobody_listens() as channel:
        body = await body_of(Relay(channel, HI, JsonEncoder(), Limits()))
    assert_ended(body, [], ("UNAVAILABLE", "model_unavailable"))


async def test_token_that_cannot_be_read_is_told_in_json() -> None:
    """It is no UTF-8, so it is the model's mistake and no text."""
    async with ChannelFor([Model(["x"], last=_Garbled(b"\x0a\x01\xff"))]) as channel:
        body = await body_of(Relay(channel, HI, JsonEncoder(), Limits()))
    assert_ended(body, [("message", {"token": "x"})], ("INTERNAL", "model_error"))


class _Garbled(GenerateResponse):
    """Bytes that a model's service would not send."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        vars(self)["data"] = data

    def __bytes__(self) -> bytes:
        data: bytes = vars(self)["data"]
        return data


def _fail(*_: object) -> bytes:
    raise ZeroDivisionError


@pytest.mark.parametrize("name", ["token", "done"])
async def test_bug_of_ours_is_told_in_json(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JsonEncoder, name, _fail)
    async with ChannelFor([Model(["x"])]) as channel:
        body = await body_of(Relay(channel, HI, JsonEncoder(), Limits()))
    tokens = [("message", {"token": "x"})] if name == "done" else []
    assert_ended(body, tokens, ("INTERNAL", "model_error"))


async def test_gateway_that_stops_while_the_prompt_comes_is_told_in_json() -> None:
    """The prompt has been read, and its relay is stopped before it begins."""
    async with ChannelFor([Model([FOREVER])]) as channel:
        relay = Relay(channel, HI, JsonEncoder(), Limits())
        relay.stop()
        body = await body_of(relay)
    assert_ended(body, [], ("UNAVAILABLE", "shutdown"))


def assert_ended(body: bytes, tokens: list[tuple[str, Any]], ending: Ending) -> None:
    *events, (name, error) = payloads(body)
    assert events == tokens
    assert name == "error"
    assert error.keys() == {"code", "message", "cause"}
    assert (error["code"], error["cause"]) == ending
    assert error["message"].endswith(".")


# -- its parts ------------------------------------------------------------------------------------


async def test_text_encoder_does_not_look() -> None:
    class Unread:
        finish_reason = property(_fail)
        usage = property(_fail)

    await trio.lowlevel.checkpoint()
    unread = cast("Completion", Unread())
    assert TextEncoder().done(unread) == b"event: done\ndata: [DONE]\n\n"


async def test_every_reason_of_the_contract_has_its_name() -> None:
    await trio.lowlevel.checkpoint()
    names = [Completion(ends(each.value)).finish_reason for each in FinishReason]
    contract = [str(each.name).lower() for each in FinishReason]
    assert names == [None if name == "unspecified" else name for name in contract]
