"""What is replaced in other people's code is needed still.

Each test leaves a library as it is and sees it fail. One that fails itself says that the library
does better now, and that our replacement, a row in `grpclib_anyio.betterproto`'s table, can go.
"""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a task group may swallow what its body raises; a test would have failed.

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import anyio
import pytest

from grpclib_anyio import _generated
from grpclib_anyio.client import Channel
from grpclib_anyio.testing import ChannelFor
from harness import conversation as first
from harness.betterproto2_stubs import conversation as second
from harness.peer import Network, channel_to

both_libraries = pytest.mark.parametrize("generated", [first, second], ids=["betterproto", "2"])
#: A generator that a library abandons is closed by the event loop, late; trio says that it does.
abandons = pytest.mark.filterwarnings(
    "ignore:Async generator .* was garbage collected:ResourceWarning"
)


class NotOurs:
    """A channel that generated stubs do not know as ours, so that they stay as they are."""

    def __init__(self, channel: Channel) -> None:
        self.request = channel.request


def stub_on(channel: Channel, generated: Any) -> Any:
    return generated.ConversationStub(NotOurs(channel))


@both_libraries
@abandons
@pytest.mark.may_leak("the library's generator, on purpose")
@pytest.mark.anyio
async def test_answer_that_is_left_keeps_its_call(generated: Any) -> None:
    """`_unary_stream`: the inner generator is left to the garbage collector, and so is the call."""
    network = Network()
    async with channel_to(network) as channel, anyio.create_task_group() as tasks:

        async def answer() -> None:
            peer, stream_id = await network.accept()
            await peer.respond(stream_id, bytes(generated.Line(text="one")))

        tasks.start_soon(answer)
        async with aclosing(stub_on(channel, generated).listen(generated.Line())) as messages:
            assert (await anext(messages)).text == "one"
        assert channel.statistics().streams == 1


@both_libraries
@pytest.mark.filterwarnings("ignore:coroutine .*_send_messages. was never awaited:RuntimeWarning")
@pytest.mark.trio
async def test_conversation_does_not_work_on_trio(generated: Any) -> None:
    """`_stream_stream`: it asks asyncio for a task."""
    # A thread that never had a loop is given one, which nobody runs: the call would wait for ever.
    asyncio.set_event_loop(None)
    async with channel_to(Network()) as channel:
        with pytest.raises(RuntimeError, match="event loop"):
            await anext(stub_on(channel, generated).talk([generated.Line()]))


@both_libraries
@pytest.mark.anyio
async def test_handler_that_is_left_is_not_closed(
    generated: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`_call_rpc_handler_server_stream`: a generator that is cancelled at a `yield` stays there."""
    ended: list[str] = []
    kept: list[AsyncGenerator[Any]] = []

    async def endless(message: Any) -> AsyncGenerator[Any]:  # noqa: ASYNC124, ASYNC900 - under test
        try:
            while True:
                yield message
        finally:
            ended.append("listen")

    class Service(generated.ConversationBase):  # type: ignore[misc] # either library's
        def listen(self, message: Any) -> AsyncGenerator[Any]:
            kept.append(endless(message))
            return kept[-1]

    async def leave() -> None:
        async with ChannelFor([Service()]) as channel:
            async for _ in generated.ConversationStub(channel).listen(
                generated.Line(text="more than the window" * 5_000)
            ):
                await anyio.wait_all_tasks_blocked()  # now it waits for the window
                break
            await anyio.wait_all_tasks_blocked()

    await leave()
    assert ended == ["listen"]
    monkeypatch.setattr(_generated, "close_generators", id)  # which does nothing
    await leave()
    assert ended == ["listen"]
    await kept[-1].aclose()
