"""A backend of another package that does what the first word of a prompt says, and reports it.

A prompt is a word of `SCRIPTS` and a mark, for example `thinking m7.`; any other prompt is answered
with itself. Each report is a line with a JSON object: its `event`, the whole `prompt`, and `at` in
seconds of the machine's monotonic clock. The events are `asked`, `waits`, when the next token takes
long, and `ended`. That one also has the number of `pieces` and the `outcome`, one of `done`,
`failed` and `cancelled`.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Self

import anyio
from grpclib.const import Status

from relay_model.backends.protocol import ModelInfo
from relay_model.backends.settings import BackendSettings
from relay_model.conversation import Conversation
from relay_model.errors import BackendError
from relay_model.outcome import FinishReason, Outcome, Usage
from relay_model.pieces import Piece, ToolCallDelta

__all__ = ["ENTRY_POINT", "open_backend"]

#: As a package names it.
ENTRY_POINT = "scripted = tests.sdks.scripted:open_backend"

Step = Piece | float | BackendError
#: Seconds until the next token of a model that is left. Nobody waits for them.
_LONG = 60.0

#: Two calls at a time, cut where it is hardest to put them together.
_CALLS = (
    ToolCallDelta(0, "call-a", "weather"),
    ToolCallDelta(0, arguments='{"city": "Z\u00fcrich \\'),
    ToolCallDelta(1, "call-b", "weather", '{"city'),
    ToolCallDelta(0, arguments='"West\\"'),
    ToolCallDelta(1, arguments='":"Bern"}'),
    ToolCallDelta(0, arguments='"}'),
)


def _fails(status: Status, message: str, retry_after: float | None = None) -> BackendError:
    return BackendError(status, message, retry_after=retry_after)


def _busy(seconds: float) -> BackendError:
    return _fails(Status.RESOURCE_EXHAUSTED, "The model is busy.", seconds)


#: By the word; what a script is depends on how often its prompt has been asked before.
SCRIPTS: dict[str, Callable[[int], Iterable[Step]]] = {
    "thinking": lambda _: [_LONG, "late"],
    "mid-stream": lambda _: ["one ", "two ", _LONG, "late"],
    "calls": lambda _: _CALLS,
    "breaks": lambda _: ["one ", "two ", 0.05, _fails(Status.INTERNAL, "It broke.")],
    "broken": lambda _: [_fails(Status.INTERNAL, "It is broken.")],
    "busy": lambda _: [_busy(1.5)],
    "busy-once": lambda asked: ["now ", "free"] if asked else [_busy(0.5)],
    "away-once": lambda asked: (
        ["back ", "again"] if asked else [_fails(Status.UNAVAILABLE, "It is away.")]
    ),
}


class ScriptedBackend:
    """Follows a script for each conversation."""

    models = (ModelInfo("scripted"),)

    def __init__(self) -> None:
        self._asked: Counter[str] = Counter()

    @asynccontextmanager
    async def stream(self, conversation: Conversation) -> AsyncGenerator["_Pieces"]:
        prompt = conversation.prompt
        word = prompt.partition(" ")[0]
        script = SCRIPTS[word](self._asked[prompt]) if word in SCRIPTS else [prompt]
        self._asked[prompt] += 1
        _report("asked", prompt)
        pieces = _Pieces(prompt, iter(script))
        outcome = "done"
        try:
            yield pieces
        except BackendError:
            outcome = "failed"
            raise
        except BaseException:
            outcome = "cancelled"
            raise
        finally:
            _report("ended", prompt, pieces=pieces.given, outcome=outcome)


class _Pieces:
    def __init__(self, prompt: str, script: Iterator[Step]) -> None:
        self._prompt = prompt
        self._script = script
        self._calls = False
        self.given = 0

    @property
    def outcome(self) -> Outcome:
        reason = FinishReason.TOOL_CALLS if self._calls else FinishReason.STOP
        return Outcome(reason, Usage(11, self.given, cached_tokens=3, reasoning_tokens=0))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Piece:
        await anyio.lowlevel.checkpoint()
        for step in self._script:
            match step:
                case BackendError():
                    raise step
                case float() | int():
                    if step >= _LONG:
                        _report("waits", self._prompt)
                    await anyio.sleep(step)
                case _:
                    self.given += 1
                    self._calls = self._calls or isinstance(step, ToolCallDelta)
                    return step
        raise StopAsyncIteration


def _report(event: str, prompt: str, **fields: object) -> None:
    report = {"event": event, "prompt": prompt, "at": time.monotonic(), **fields}
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()


@asynccontextmanager
async def open_backend(settings: BackendSettings) -> AsyncGenerator[ScriptedBackend]:
    """Open it; there is nothing to load."""
    del settings
    yield ScriptedBackend()
