"""The thread that makes an answer and the event loop that reads it."""

import threading
from collections.abc import AsyncIterator

import anyio
import anyio.to_thread
import pytest
import structlog
from grpclib.const import Status

from relay_model.backends.local.llama_answer import LlamaAnswer
from relay_model.errors import BackendError
from relay_model.outcome import FinishReason, Outcome, Usage
from relay_model.pieces import Piece
from tests.support.scripted_backend import (
    LAST,
    EndlessEngine,
    ScriptedEngine,
    Step,
    ThinkingEngine,
    costs,
    says,
)

# What the buffer takes, and the piece with which the thread then waits.
BUFFERED = 8
TAKEN_UNREAD = BUFFERED + 1

WORDS = [says(f"{number} ") for number in range(100)]

pytestmark = pytest.mark.anyio


def generating_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "relay-llama-answer"]


async def failure_of(pieces: AsyncIterator[Piece]) -> BackendError:
    with pytest.raises(BackendError) as raised:
        _ = [piece async for piece in pieces]
    return raised.value


async def test_gives_the_pieces_in_order_and_ends() -> None:
    async with LlamaAnswer(ScriptedEngine(*WORDS, LAST), {}) as answer:
        said = [piece async for piece in answer]
    assert said == [f"{number} " for number in range(100)]
    assert not generating_threads()


async def test_steps_without_text_are_not_pieces() -> None:
    progress: Step = {
        "choices": [{"finish_reason": None, "delta": {"role": "assistant", "content": None}}],
        "prompt_progress": {"total": 9, "processed": 4},
    }
    engine = ScriptedEngine(progress, {}, says(""), says("x"), LAST)
    async with LlamaAnswer(engine, {}) as answer:
        assert [piece async for piece in answer] == ["x"]


async def test_text_of_the_last_step_counts() -> None:
    engine = ScriptedEngine(says("a"), says("b", finish_reason="length"))
    async with LlamaAnswer(engine, {}) as answer:
        assert [piece async for piece in answer] == ["a", "b"]


@pytest.mark.parametrize(
    ("reported", "reason"),
    [
        ("stop", FinishReason.STOP),
        ("length", FinishReason.LENGTH),
        ("weird", FinishReason.OTHER),
    ],
)
async def test_the_last_steps_say_how_the_answer_ended(reported: str, reason: FinishReason) -> None:
    engine = ScriptedEngine(says("x"), says("", finish_reason=reported), costs(3, 1))
    async with LlamaAnswer(engine, {}) as answer:
        assert [piece async for piece in answer] == ["x"]
        assert answer.outcome == Outcome(reason, Usage(3, 1))


async def test_a_full_buffer_holds_the_thread() -> None:
    engine = ScriptedEngine(*WORDS, LAST)
    async with LlamaAnswer(engine, {}) as answer:
        await engine.until_offered(TAKEN_UNREAD)
        assert await anext(answer) == "0 "
        await engine.until_offered(TAKEN_UNREAD + 1)
        await anyio.wait_all_tasks_blocked()
        assert engine.offered == TAKEN_UNREAD + 1


async def test_a_full_buffer_holds_no_other_answer() -> None:
    unread = ScriptedEngine(*WORDS, LAST)
    async with LlamaAnswer(unread, {}):
        await unread.until_offered(TAKEN_UNREAD)
        async with LlamaAnswer(ScriptedEngine(*WORDS, LAST), {}) as other:
            assert len([piece async for piece in other]) == len(WORDS)


async def test_leaving_stops_a_thread_that_a_full_buffer_holds() -> None:
    engine = ScriptedEngine(*WORDS, LAST)
    async with LlamaAnswer(engine, {}):
        await engine.until_offered(TAKEN_UNREAD)
    assert engine.was_told_to_stop
    assert engine.offered == TAKEN_UNREAD
    assert not generating_threads()


async def test_cancelling_a_reader_stops_the_engine_within_a_step() -> None:
    engine = EndlessEngine()
    steps_when_cancelled = 0
    with anyio.CancelScope() as scope:
        async with LlamaAnswer(engine, {}) as answer:
            async for piece in answer:
                if piece == "3 ":
                    steps_when_cancelled = engine.steps
                    scope.cancel()
    # Those that fill the buffer before the reader leaves, and the one that is told to stop.
    assert engine.steps - steps_when_cancelled <= TAKEN_UNREAD + 1
    assert not generating_threads()


async def test_cancelled_while_the_engine_thinks_it_waits_for_one_step() -> None:
    engine = ThinkingEngine()
    scope = anyio.CancelScope()

    async def read() -> None:
        with scope:
            async with LlamaAnswer(engine, {}) as answer:
                _ = [piece async for piece in answer]

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        scope.cancel()
        await anyio.wait_all_tasks_blocked()
        assert generating_threads()
        engine.has_thought.set()
    assert scope.cancelled_caught
    assert engine.steps == 1
    assert not generating_threads()


async def test_an_engine_that_does_not_stop_is_left_behind_and_reported() -> None:
    engine = ThinkingEngine()
    with structlog.testing.capture_logs() as log:
        async with LlamaAnswer(engine, {}, stop_seconds=0.01):
            pass
    assert log == [{"event": "engine does not stop", "log_level": "error", "seconds": 0.01}]
    (thread,) = generating_threads()
    engine.has_thought.set()
    await anyio.to_thread.run_sync(thread.join)


async def test_an_engine_that_raises_fails_the_answer() -> None:
    engine = ScriptedEngine(says("half"), RuntimeError("cudaMalloc failed at 0x7f"))
    async with LlamaAnswer(engine, {}) as answer:
        assert await anext(answer) == "half"
        failure = await failure_of(answer)
    assert (failure.status, failure.message) == (Status.INTERNAL, "The model failed.")
    assert failure.detail is not None
    assert "cudaMalloc" in failure.detail


@pytest.mark.parametrize("kind", [ValueError, RuntimeError, TypeError])
async def test_an_engine_that_raises_before_a_step_refuses_the_request(
    kind: type[Exception],
) -> None:
    async with LlamaAnswer(ScriptedEngine(kind("image input is not supported")), {}) as answer:
        failure = await failure_of(answer)
    assert failure.status is Status.INVALID_ARGUMENT
    assert "image" not in failure.message
    assert failure.detail == "image input is not supported"


@pytest.mark.parametrize("kind", [OSError, MemoryError, KeyError])
async def test_other_exceptions_before_a_step_are_no_refusals(kind: type[Exception]) -> None:
    async with LlamaAnswer(ScriptedEngine(kind("x")), {}) as answer:
        assert (await failure_of(answer)).status is Status.INTERNAL


async def test_a_request_that_the_engine_reports_as_invalid_is_refused() -> None:
    error = {"error": {"code": 400, "type": "invalid_request_error", "message": "no grammar"}}
    async with LlamaAnswer(ScriptedEngine(error), {}) as answer:
        failure = await failure_of(answer)
    assert failure.status is Status.INVALID_ARGUMENT
    assert "grammar" not in failure.message


async def test_an_engine_that_reports_an_error_fails_the_answer() -> None:
    error = {"error": {"code": 500, "type": "server_error", "message": "context lost"}}
    engine = ScriptedEngine(says("half"), error, LAST)
    async with LlamaAnswer(engine, {}) as answer:
        assert await anext(answer) == "half"
        failure = await failure_of(answer)
        again = await failure_of(answer)
    assert failure.status is Status.INTERNAL
    assert "context lost" not in failure.message
    assert "context lost" in str(failure.detail)
    assert again is failure


async def test_an_answer_that_just_stops_is_not_a_complete_one() -> None:
    async with LlamaAnswer(ScriptedEngine(says("half")), {}) as answer:
        assert await anext(answer) == "half"
        failure = await failure_of(answer)
    assert failure.status is Status.INTERNAL


async def test_a_step_that_cannot_be_read_fails_the_answer() -> None:
    engine = ScriptedEngine({"choices": "malformed_response"}, says("x"), LAST)
    async with LlamaAnswer(engine, {}) as answer:
        failure = await failure_of(answer)
    assert failure.status is Status.INTERNAL
    assert engine.was_told_to_stop


async def test_a_prompt_that_exceeds_the_context_is_the_callers_fault() -> None:
    refusal = {
        "error": {
            "code": 400,
            "type": "exceed_context_size_error",
            "n_prompt_tokens": 5000,
            "n_ctx": 4096,
        }
    }
    async with LlamaAnswer(ScriptedEngine(refusal), {}) as answer:
        failure = await failure_of(answer)
    assert failure.status is Status.INVALID_ARGUMENT
    assert failure.message == "The prompt is too long: 5000 tokens, where 4096 is the most."
