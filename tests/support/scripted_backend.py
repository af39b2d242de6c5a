"""Engines and backends that do as they are told, and say how far they got."""

import threading
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Self

import anyio
import anyio.lowlevel
import anyio.to_thread

from relay_model.backends.protocol import ModelInfo
from relay_model.conversation import Conversation
from relay_model.outcome import UNKNOWN, Outcome
from relay_model.pieces import Piece

Step = dict[str, Any]

# Seconds; only a test that fails waits as long as this.
PATIENCE = 10.0


def says(text: str, finish_reason: str | None = None) -> Step:
    """Make a step as llama.cpp reports it."""
    return {"choices": [{"finish_reason": finish_reason, "index": 0, "delta": {"content": text}}]}


LAST: Step = {"choices": [{"finish_reason": "stop", "index": 0, "delta": {}}]}


def costs(prompt_tokens: int, completion_tokens: int) -> Step:
    """Make the step after the last one."""
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
    return {"choices": [], "usage": usage}


class ScriptedEngine:
    """Takes the steps of its script in the thread that asks for an answer, or raises them."""

    def __init__(self, *script: Step | Exception) -> None:
        self._script: Iterable[Step | Exception] = script
        self._offered = 0
        self._changed = threading.Condition()
        self.requests: list[dict[str, Any]] = []
        self.was_told_to_stop = False

    @property
    def offered(self) -> int:
        """The number of steps that were offered to the callback."""
        return self._offered

    def answer(self, request: dict[str, Any], on_step: Callable[[Step], bool]) -> None:
        self.requests.append(request)
        for step in self._script:
            self._count()
            if isinstance(step, Exception):
                raise step
            if on_step(step):
                self.was_told_to_stop = True
                return

    async def until_offered(self, count: int) -> None:
        """Wait until the engine has offered `count` steps."""
        await anyio.to_thread.run_sync(self._wait, count)

    def _count(self) -> None:
        with self._changed:
            self._offered += 1
            self._changed.notify_all()

    def _wait(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._offered >= count, PATIENCE)


class EndlessEngine:
    """Never ends an answer by itself."""

    def __init__(self) -> None:
        self.steps = 0

    def answer(self, request: dict[str, Any], on_step: Callable[[Step], bool]) -> None:
        del request
        is_told_to_stop = False
        while not is_told_to_stop:
            self.steps += 1
            is_told_to_stop = on_step(says(f"{self.steps} "))


class ThinkingEngine(EndlessEngine):
    """Takes its first step when it is let to, as an engine does that reads a long prompt."""

    def __init__(self) -> None:
        super().__init__()
        self.has_thought = threading.Event()

    def answer(self, request: dict[str, Any], on_step: Callable[[Step], bool]) -> None:
        assert self.has_thought.wait(PATIENCE)
        super().answer(request, on_step)


class ScriptedBackend:
    """Answers with the pieces of its script, raises its errors, and sleeps for its numbers."""

    models = (ModelInfo("scripted"),)

    def __init__(self, *script: Piece | float | Exception, outcome: Outcome = UNKNOWN) -> None:
        self._script = script
        self._outcome = outcome
        self.conversations: list[Conversation] = []
        self.left = anyio.Event()

    @asynccontextmanager
    async def stream(self, conversation: Conversation) -> AsyncGenerator["_Pieces", None]:
        self.conversations.append(conversation)
        try:
            yield _Pieces(self._script, self._outcome)
        finally:
            self.left.set()


class _Pieces:
    def __init__(self, script: Iterable[Piece | float | Exception], outcome: Outcome) -> None:
        self._script = iter(script)
        self._last_outcome = outcome
        self.outcome = UNKNOWN

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Piece:
        await anyio.lowlevel.checkpoint()
        for piece in self._script:
            if isinstance(piece, Exception):
                raise piece
            if not isinstance(piece, float | int):
                return piece
            await anyio.sleep(piece)
        self.outcome = self._last_outcome
        raise StopAsyncIteration
