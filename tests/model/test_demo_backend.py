"""The demo backend: what it says, and when."""

import anyio
import pytest
import trio
from trio.testing import MockClock

from relay_model.backends.registry import open_backend
from relay_model.conversation import (
    Choice,
    Conversation,
    Message,
    Parameters,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
)
from relay_model.errors import BackendError
from relay_model.outcome import FinishReason, Outcome, Usage
from relay_model.pieces import Piece, Reasoning, ToolCallDelta
from relay_model.settings import ModelSettings
from tests.support.answers import pieces_of, text


async def timed_answer(settings: ModelSettings, prompt: str) -> list[tuple[str, float]]:
    """Give each word of an answer and when it came."""
    async with (
        open_backend(settings) as backend,
        backend.stream(Conversation.of(prompt, session_id="s")) as words,
    ):
        started = trio.current_time()
        return [(text(word), round(trio.current_time() - started, 9)) async for word in words]


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
        backend.stream(Conversation.of("\U0001f469\u200d\U0001f680 caf\u00e9")) as words,
    ):
        said = [text(word) async for word in words]
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


HI = Conversation.of("what time is it").messages
CLOCK = Tool("time", "", {"properties": {"zone": {"type": "string"}, "n": {}}}, None)


async def answered(conversation: Conversation) -> tuple[list[Piece], Outcome]:
    async with open_backend(ModelSettings(demo_delay=0)) as backend:
        return await pieces_of(backend, conversation)


@pytest.mark.anyio
async def test_it_counts_words() -> None:
    _, outcome = await answered(Conversation.of("one two"))
    assert outcome == Outcome(FinishReason.STOP, Usage(2, 5))


@pytest.mark.anyio
async def test_it_gives_no_more_than_was_asked_for() -> None:
    conversation = Conversation(HI, parameters=Parameters(max_tokens=2))
    pieces, outcome = await answered(conversation)
    assert pieces == ["Streaming ", "response "]
    assert outcome == Outcome(FinishReason.LENGTH, Usage(4, 2))


@pytest.mark.anyio
async def test_it_answers_what_was_said_last() -> None:
    said = Message(Role.ASSISTANT, (Text("Noon."),))
    pieces, _ = await answered(Conversation((*HI, said, *Conversation.of("thanks").messages)))
    assert pieces[-1] == "thanks "


@pytest.mark.anyio
async def test_it_thinks_when_asked_to() -> None:
    parameters = Parameters(reasoning_effort="low")
    pieces, outcome = await answered(Conversation(HI, parameters=parameters))
    assert pieces[:3] == [Reasoning("I "), Reasoning("repeat "), Reasoning("it.")]
    assert outcome.usage == Usage(4, 10, reasoning_tokens=3)


@pytest.mark.parametrize(
    "choice",
    [ToolChoice(), ToolChoice(Choice.REQUIRED), ToolChoice(Choice.NAMED, "time")],
    ids=["its name was said", "any", "this one"],
)
@pytest.mark.anyio
async def test_it_calls_a_tool(choice: ToolChoice) -> None:
    pieces, outcome = await answered(Conversation(HI, tools=(CLOCK,), tool_choice=choice))
    assert pieces == [
        ToolCallDelta(0, "call-1", "time"),
        ToolCallDelta(0, arguments="{"),
        ToolCallDelta(0, arguments='"zone": "what time is it"}'),
    ]
    assert outcome.finish_reason is FinishReason.TOOL_CALLS


@pytest.mark.anyio
async def test_it_calls_no_tool_that_has_answered_or_may_not() -> None:
    called = Message(Role.ASSISTANT, (ToolCall("call-1", "time", "{}"),))
    result = Message(Role.TOOL, (Text("time: noon"),), "call-1")
    for messages, choice in (
        ((*HI, called, result), ToolChoice()),
        (HI, ToolChoice(Choice.NONE)),
        (Conversation.of("hello").messages, ToolChoice()),
    ):
        _, outcome = await answered(Conversation(messages, tools=(CLOCK,), tool_choice=choice))
        assert outcome.finish_reason is FinishReason.STOP


@pytest.mark.anyio
async def test_it_refuses_what_it_cannot_do() -> None:
    with pytest.raises(BackendError, match=r"parameters\.stop"):
        await answered(Conversation(HI, parameters=Parameters(stop=("x",))))


@pytest.mark.anyio
@pytest.mark.parametrize("messages", [1, 3])
async def test_where_only_the_model_has_spoken_that_is_repeated(messages: int) -> None:
    conversation = Conversation((Message(Role.ASSISTANT, (Text("Yes?"),)),) * messages)
    async with open_backend(ModelSettings(demo_delay=0)) as backend:
        pieces, _ = await pieces_of(backend, conversation)
    assert "".join(map(text, pieces)) == "Streaming response to: Yes? "
