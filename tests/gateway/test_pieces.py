"""What of an answer is no text: reasoning, calls of tools, refusals, on their way to a browser."""

import json
from typing import Any

import pytest
import trio

from grpclib_anyio.testing import ChannelFor
from harness.clock import on_mock_clock
from relay_gateway.relay.encoder import Encoder
from relay_gateway.relay.relay import Limits, Relay
from relay_gateway.relay.sse import JsonEncoder, TextEncoder
from relay_proto.ai import GenerateRequest, GenerateResponse, ToolCallDelta
from tests.support.event_stream import DONE, Event, parse
from tests.support.models import Model

pytestmark = pytest.mark.trio(run=on_mock_clock)

THINKS = GenerateResponse(reasoning="Hm\r")
THINKS_ON = GenerateResponse(reasoning="\nso")
CALLS = GenerateResponse(tool_call=ToolCallDelta(0, "1", "time", '{"zone": '))
CALLS_ON = GenerateResponse(tool_call=ToolCallDelta(1, arguments='"é"}'))
REFUSES = GenerateResponse(refusal="No.")
SAYS = GenerateResponse(token="Hi")


async def answer(encoder: Encoder, *pieces: GenerateResponse, batch: bool = False) -> list[Event]:
    """Relay pieces, all at once or one by one, and give the events."""
    model = Model([piece for each in pieces for piece in ((each,) if batch else (each, 1.0))])
    chunks: list[bytes] = []
    async with (
        ChannelFor([model]) as channel,
        Relay(channel, GenerateRequest(prompt="hi"), encoder, Limits()) as relay,
    ):
        try:
            while True:
                chunks.append(await relay.next_chunk())
        except trio.EndOfChannel:
            assert relay.tokens == len(pieces)
            return parse(b"".join(chunks))


def reads(event: Event) -> tuple[str, Any]:
    return event.type, json.loads(event.data)


@pytest.mark.parametrize("batch", [False, True], ids=["one by one", "at once"])
async def test_text_shows_only_text_to_a_page_that_knows_no_other_events(*, batch: bool) -> None:
    events = await answer(
        TextEncoder(), THINKS, THINKS_ON, SAYS, CALLS, CALLS_ON, REFUSES, batch=batch
    )
    assert [event for event in events if event.type == "message"] == [
        Event("Hi"),
        Event("No."),
    ]
    assert [event.data for event in events if event.type == "reasoning"] == ["Hm\n", "so"]
    calls = [json.loads(event.data) for event in events if event.type == "tool_call"]
    assert calls == [
        {"index": 0, "id": "1", "name": "time", "arguments": '{"zone": '},
        {"index": 1, "arguments": '"é"}'},
    ]
    assert events[-1] == DONE


@pytest.mark.parametrize("batch", [False, True], ids=["one by one", "at once"])
async def test_json_has_each_piece_under_its_name(*, batch: bool) -> None:
    events = await answer(JsonEncoder(), THINKS, SAYS, CALLS, REFUSES, batch=batch)
    assert [reads(event) for event in events] == [
        ("reasoning", {"reasoning": "Hm\r"}),
        ("message", {"token": "Hi"}),
        ("tool_call", {"index": 0, "id": "1", "name": "time", "arguments": '{"zone": '}),
        ("message", {"refusal": "No."}),
        ("done", {"finish_reason": None, "usage": None}),
    ]


async def test_a_line_break_of_the_reasoning_is_none_of_the_answer() -> None:
    """The CR at the end of one does not take the LF at the start of the other along."""
    says = GenerateResponse(token="\nHi")
    events = await answer(TextEncoder(), THINKS, says)
    assert [(event.type, event.data) for event in events[:2]] == [
        ("reasoning", "Hm\n"),
        ("message", "\nHi"),
    ]


async def test_a_message_without_a_token_may_have_several_pieces() -> None:
    everything = GenerateResponse(
        reasoning="Hm", refusal="No.", tool_call=ToolCallDelta(0, "1", "time")
    )
    events = await answer(JsonEncoder(), everything)
    assert [event.type for event in events] == ["reasoning", "message", "tool_call", "done"]


async def test_a_message_with_nothing_is_a_token_with_no_text() -> None:
    assert (await answer(JsonEncoder(), GenerateResponse()))[0].data == '{"token": ""}'
