"""What clients read of a gateway, as their libraries give it: answers, tool calls, usage."""

from typing import Any

import pytest

from tests.sdks.clients import Running
from tests.sdks.stages import Stage

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
USAGE: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
STREAMED_OR_NOT = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


def check_finish_reason(client: Running, end: dict[str, Any], reason: str) -> None:
    assert end.get("finish_reason") == (reason if client.client.tells_finish_reason else None)


def test_a_whole_answer(client: Running, demo: Stage) -> None:
    end = client.ask(demo, "hello there").last("end")
    assert (end["text"], end["calls"]) == ("Streaming response to: hello there ", [])
    assert end["usage"] == [2, 5]
    check_finish_reason(client, end, "stop")


def test_a_stream_arrives_in_pieces(client: Running, demo: Stage) -> None:
    *pieces, end = client.ask(demo, "hello there", stream=True).events()
    assert [piece["text"] for piece in pieces] == [
        "Streaming ",
        "response ",
        "to: ",
        "hello ",
        "there ",
    ]
    assert end["event"] == "end"
    check_finish_reason(client, end, "stop")


def test_a_stream_says_what_it_cost(client: Running, demo: Stage) -> None:
    assert client.ask(demo, "hello there", **USAGE).last("end")["usage"] == [2, 5]


def test_any_text_arrives(client: Running, demo: Stage) -> None:
    words = 'data: \u2028\u2029 \u0085 \U0001f469\u200d\U0001f680 \\ud800 "[DONE]" <b> \x7f'
    end = client.ask(demo, words, stream=True).last("end")
    assert end["text"] == f"Streaming response to: {' '.join(words.split())} "


@STREAMED_OR_NOT
def test_a_tool_is_called(client: Running, demo: Stage, *, stream: bool) -> None:
    end = client.ask(demo, "the weather please", stream=stream, tools=[WEATHER]).last("end")
    arguments = {"city": "the weather please"}
    assert end["calls"] == [{"name": "weather", "arguments": arguments}]
    assert end["text"] == ""
    check_finish_reason(client, end, "tool_calls")


@STREAMED_OR_NOT
def test_two_calls_in_pieces_are_put_together(
    client: Running, scripted: Stage, *, stream: bool
) -> None:
    end = client.ask(scripted, "calls", stream=stream, tools=[WEATHER]).last("end")
    assert end["calls"] == [
        {"name": "weather", "arguments": {"city": 'Z\u00fcrich "West"'}},
        {"name": "weather", "arguments": {"city": "Bern"}},
    ]
