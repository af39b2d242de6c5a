"""What libraries repeat by themselves, as often as they choose, and what they do not."""

import pytest

from tests.sdks.clients import Running
from tests.sdks.stages import Stage, new_mark


@pytest.fixture
def repeating(client: Running) -> Running:
    """Give a client that repeats requests."""
    if not client.client.repeats:
        pytest.skip("it never repeats a request")
    return client


def times_asked(client: Running, stage: Stage, prompt: str) -> list[float]:
    """Give when the model was asked, once it has reported all of it."""
    later = new_mark()
    client.ask(stage, later).last("end")
    stage.until("ended", later)
    return [report["at"] for report in stage.reported("asked", prompt)]


@pytest.mark.parametrize(("word", "text"), [("busy-once", "now free"), ("away-once", "back again")])
def test_what_has_cost_nothing_is_asked_again(
    repeating: Running, scripted: Stage, word: str, text: str
) -> None:
    prompt = f"{word} {new_mark()}"
    assert repeating.ask(scripted, prompt, retries=None).last("end")["text"] == text
    first, second = times_asked(repeating, scripted, prompt)
    # As the response says; the model names half a second, and HTTP has no fractions.
    assert second - first >= 1.0


def test_what_would_be_paid_for_twice_is_not_asked_again(
    repeating: Running, scripted: Stage
) -> None:
    prompt = f"broken {new_mark()}"
    assert repeating.ask(scripted, prompt, retries=None).last("failed")["status"] == 502
    times = times_asked(repeating, scripted, prompt)
    assert (len(times) == 1) is repeating.client.heeds_should_retry
