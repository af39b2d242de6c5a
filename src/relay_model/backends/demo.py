"""A backend without a model: repeats what the user said, a word at a time.

For example, the prompt "hello" is answered with ``Streaming ``, ``response ``, ``to: `` and
``hello ``. It counts words as tokens. Asked to reason, it thinks first; given tools, it calls one
when it has to, or when the user names it. So every event of both APIs can be seen without a model.
"""

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self, cast

import anyio

from relay_model.backends.protocol import ModelInfo
from relay_model.backends.support import EVERY_PARAMETER, Support
from relay_model.conversation import Choice, Role
from relay_model.outcome import UNKNOWN, FinishReason, Outcome, Usage
from relay_model.pieces import Reasoning, ToolCallDelta

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from relay_model.backends.settings import BackendSettings
    from relay_model.conversation import Conversation, Tool
    from relay_model.pieces import Piece

__all__ = ["DemoBackend", "open_backend"]

#: Nothing is drawn by lot, so the parameters of that change nothing. Nor do names of speakers.
_SUPPORT = Support("demo", parameters=EVERY_PARAMETER - {"stop"}, tools=True, names=True)
_WITHOUT_REASONING = frozenset({None, "none"})


class DemoBackend:
    """Answers with ``Streaming response to: <what the user said>``, word by word."""

    models = (ModelInfo("demo"),)

    def __init__(self, delay: float) -> None:
        """Set the pause between two words, in seconds; the first word has none."""
        self._delay = delay

    @asynccontextmanager
    async def stream(self, conversation: "Conversation") -> "AsyncGenerator[_Paced]":
        """Answer one conversation; leaving the context ends the answer at once."""
        _SUPPORT.check(conversation)
        yield _Paced(conversation, self._delay)


class _Paced:
    """Pieces with a pause between them, at most as many as were asked for."""

    def __init__(self, conversation: "Conversation", delay: float) -> None:
        self._conversation = conversation
        self._pieces = _pieces(conversation)
        self._left = conversation.parameters.max_tokens
        self._given = self._reasoned = 0
        self._calls = False
        self._delay = delay
        self._next_delay = 0.0
        self.outcome = UNKNOWN

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> "Piece":
        piece = next(self._pieces, None)
        if piece is None or self._given == self._left:
            self._end(is_complete=piece is None)
            raise StopAsyncIteration
        await anyio.sleep(self._next_delay)
        self._next_delay = self._delay
        self._given += 1
        self._reasoned += isinstance(piece, Reasoning)
        self._calls = self._calls or isinstance(piece, ToolCallDelta)
        return piece

    def _end(self, *, is_complete: bool) -> None:
        reason = FinishReason.TOOL_CALLS if self._calls else FinishReason.STOP
        asked = sum(len(message.text.split()) for message in self._conversation.messages)
        self.outcome = Outcome(
            reason if is_complete else FinishReason.LENGTH,
            Usage(asked, self._given, reasoning_tokens=self._reasoned or None),
        )


def _pieces(conversation: "Conversation") -> "Iterator[Piece]":
    if conversation.parameters.reasoning_effort not in _WITHOUT_REASONING:
        yield from map(Reasoning, ("I ", "repeat ", "it."))
    if (tool := _called(conversation)) is not None:
        yield ToolCallDelta(0, "call-1", tool.name)
        yield from (ToolCallDelta(0, arguments=part) for part in _arguments(tool, conversation))
        return
    # What it said itself is repeated only if there is nothing else.
    others = [m for m in conversation.messages if m.role is not Role.ASSISTANT]
    said = (others or conversation.messages)[-1]
    yield from (f"{word} " for word in f"Streaming response to: {said.text}".split())


def _called(conversation: "Conversation") -> "Tool | None":
    """Choose the tool that is called; none once it has answered."""
    choice, said = conversation.tool_choice, conversation.messages[-1]
    if choice.mode is Choice.NONE or said.role is Role.TOOL:
        return None
    for tool in conversation.tools:
        is_named = choice.name == tool.name if choice.name else tool.name in said.text.split()
        if is_named or choice.mode is Choice.REQUIRED:
            return tool
    return None


def _arguments(tool: "Tool", conversation: "Conversation") -> "Iterator[str]":
    """Write the prompt where the schema has a string, as JSON in two pieces."""
    properties = tool.parameters.get("properties")
    schemas = cast("dict[str, Any]", properties if isinstance(properties, dict) else {})
    strings = [name for name, schema in schemas.items() if _is_text(schema)]
    written = json.dumps(dict.fromkeys(strings, conversation.prompt), ensure_ascii=False)
    yield written[:1]
    yield written[1:]


def _is_text(schema: object) -> bool:
    return isinstance(schema, dict) and cast("dict[str, Any]", schema).get("type") == "string"


@asynccontextmanager
async def open_backend(settings: "BackendSettings") -> "AsyncGenerator[DemoBackend]":
    """Open the demo backend; there is nothing to load and nothing to close."""
    yield DemoBackend(settings.demo_delay)
