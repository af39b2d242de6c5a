"""The demo backend: what it says, and when."""

import anyio
import pytest
import trio
from trio.testing import MockClock

from relay_model.backends.registry import open_backend
from relay_model.settings import ModelSettings


async def timed_answer(settings: ModelSettings, prompt: str) -> list[tuple[str, float]]:
    """Give each word of an answer and when it came."""
    async with open_backend(settings) as backend, backend.stream(prompt, session_id="s") as words:
        started = trio.current_time()
        return [(word, round(trio.current_time() - started, 9)) async for word in words]


@pytest.mark.trio
async def test_says_the_words_a_tenth_of_a_second_apart(autojump_clock: MockClock) -> None:
    del autojump_clock
    assert await timed_answer(ModelSettings(), "Hello there") == [
        ("Streaming ", 0.0),
        ("response ", 0.1),
        ("to: ", 0.2),
        ("Hello ", 0.3),
        ("there ", 0.4),
    ]


@pytest.mark.trio
async def test_the_delay_can_be_set(autojump_clock: MockClock) -> None:
    del autojump_clock
    answer = await timed_answer(ModelSettings(demo_delay=2.5), "x")
    assert [when for _, when in answer] == [0.0, 2.5, 5.0, 7.5]


@pytest.mark.anyio
async def test_without_a_delay_it_still_lets_others_run() -> None:
    async with (
        open_backend(ModelSettings(demo_delay=0)) as backend,
        backend.stream("\U0001f469\u200d\U0001f680 caf\u00e9", session_id="") as words,
    ):
        said = [word async for word in words]
    assert "".join(said) == "Streaming response to: \U0001f469\u200d\U0001f680 caf\u00e9 "


@pytest.mark.trio
async def test_two_prompts_are_answered_at_the_same_time(autojump_clock: MockClock) -> None:
    del autojump_clock
    answers: list[list[tuple[str, float]]] = []

    async def ask() -> None:
        answers.append(await timed_answer(ModelSettings(), "x"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        tasks.start_soon(ask)
    assert answers[0] == answers[1]
    assert round(trio.current_time(), 9) == 0.3


@pytest.mark.trio
async def test_leaving_ends_the_answer_at_once(autojump_clock: MockClock) -> None:
    del autojump_clock
    with trio.move_on_after(0.25) as scope:
        await timed_answer(ModelSettings(), "x")
    assert scope.cancelled_caught
    assert trio.current_time() == 0.25
