"""What clients raise: the status, and the fields of OpenAI's errors."""

from typing import Any

import pytest

from tests.sdks.clients import Running
from tests.sdks.stages import Stage

STREAMED_OR_NOT = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


def check_code(client: Running, failure: dict[str, Any], code: str) -> None:
    if client.client.tells_code:
        assert failure["code"] == code


@STREAMED_OR_NOT
def test_an_unknown_model(client: Running, demo: Stage, *, stream: bool) -> None:
    failure = client.ask(demo, "hello", model="gpt-9", stream=stream).last("failed")
    assert failure["status"] == 404
    assert "There is no such model." in failure["message"]
    check_code(client, failure, "model_not_found")


@STREAMED_OR_NOT
def test_a_parameter_that_is_not_supported(client: Running, demo: Stage, *, stream: bool) -> None:
    run = client.ask(demo, "hello", logit_bias={"5": 1}, stream=stream)
    failure = run.last("failed")
    assert (failure["status"], failure["param"]) == (400, "logit_bias")


def test_a_busy_model_says_when_to_come_back(client: Running, scripted: Stage) -> None:
    failure = client.ask(scripted, "busy").last("failed")
    assert (failure["status"], failure["retry_after"]) == (429, "2")
    check_code(client, failure, "rate_limit_exceeded")


def test_a_stream_that_breaks_is_not_a_complete_answer(client: Running, scripted: Stage) -> None:
    *pieces, failure = client.ask(scripted, "breaks", stream=True).events()
    assert [piece["text"] for piece in pieces] == ["one ", "two "]
    assert (failure["event"], failure["raised"]) == ("failed", client.client.raises)
    assert "The model failed to answer." in failure["message"]
    check_code(client, failure, "model_error")


def test_a_whole_answer_that_breaks_is_an_error(client: Running, scripted: Stage) -> None:
    failure = client.ask(scripted, "breaks").last("failed")
    assert failure["status"] == 502
    check_code(client, failure, "model_error")
