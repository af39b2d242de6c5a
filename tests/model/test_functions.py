"""A function as a backend, and refusing what a backend cannot do."""

from collections.abc import AsyncGenerator

import anyio
import anyio.lowlevel
import pytest
from grpclib.const import Status

from relay_model.backends.functions import FunctionBackend
from relay_model.backends.support import Support
from relay_model.conversation import (
    Conversation,
    Format,
    Image,
    Message,
    Parameters,
    ResponseFormat,
    Role,
    Tool,
    ToolCall,
)
from relay_model.errors import BackendError
from relay_model.outcome import FinishReason
from relay_model.pieces import Piece, Reasoning
from tests.support.answers import pieces_of

HI = Conversation.of("hi").messages


@pytest.mark.anyio
async def test_a_function_answers_with_what_it_yields() -> None:
    async def answer(conversation: Conversation) -> AsyncGenerator[Piece]:  # noqa: ASYNC900 - closed
        yield Reasoning("Hm.")
        await anyio.lowlevel.checkpoint()
        yield conversation.prompt

    backend = FunctionBackend("mine", answer)
    pieces, outcome = await pieces_of(backend)
    assert pieces == [Reasoning("Hm."), "Tell me a story."]
    assert outcome.finish_reason is FinishReason.STOP
    assert [model.id for model in backend.models] == ["mine"]


@pytest.mark.anyio
async def test_a_caller_that_leaves_closes_the_function() -> None:
    closed: list[str] = []

    async def answer(conversation: Conversation) -> AsyncGenerator[Piece]:  # noqa: ASYNC900 - closed
        try:
            yield conversation.prompt
            await anyio.sleep_forever()
        finally:
            closed.append(conversation.prompt)

    async with FunctionBackend("mine", answer).stream(Conversation.of("hi")) as pieces:
        assert await anext(pieces) == "hi"
        with anyio.move_on_after(0):
            await anext(pieces)
        assert closed == ["hi"]
    with anyio.CancelScope() as scope:
        async with FunctionBackend("mine", answer).stream(Conversation.of("ho")) as pieces:
            await anext(pieces)
            scope.cancel()
            await anyio.sleep_forever()
    assert closed == ["hi", "ho"]


@pytest.mark.anyio
async def test_what_a_function_raises_is_raised() -> None:
    async def answer(conversation: Conversation) -> AsyncGenerator[Piece]:  # noqa: ASYNC900 - closed
        yield conversation.prompt
        raise BackendError(Status.UNAVAILABLE, "Gone.")

    async with FunctionBackend("mine", answer).stream(Conversation.of("hi")) as pieces:
        await anext(pieces)
        with pytest.raises(BackendError, match="Gone"):
            await anext(pieces)


@pytest.mark.parametrize(
    ("conversation", "field"),
    [
        (Conversation(HI, tools=(Tool("t", "", {}, None),)), "tools"),
        (Conversation(HI, response_format=ResponseFormat(Format.JSON_OBJECT)), "response_format"),
        (Conversation(HI, parameters=Parameters(seed=0)), "parameters.seed"),
        (Conversation(HI, parameters=Parameters(stop=("x",))), "parameters.stop"),
        (
            Conversation((*HI, Message(Role.USER, (Image(b"", None, "image/png", ""),)))),
            "messages[1].parts[0]",
        ),
        (
            Conversation((Message(Role.ASSISTANT, (ToolCall("1", "t", "{}"),)), *HI)),
            "messages[0].parts[0]",
        ),
    ],
)
def test_what_a_backend_cannot_do_is_refused_by_name(
    conversation: Conversation, field: str
) -> None:
    able = Support(
        "able",
        frozenset({"seed", "stop"}),
        formats=frozenset(Format),
        images=True,
        tools=True,
    )
    able.check(conversation)
    with pytest.raises(BackendError, match="the backend plain") as raised:
        Support("plain").check(conversation)
    assert (raised.value.status, raised.value.field) == (Status.INVALID_ARGUMENT, field)
