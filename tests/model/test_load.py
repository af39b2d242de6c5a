"""Many requests, two admitted at a time: none is lost, stuck or overtaken, and nothing grows."""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a loop may never run its body; a test would have failed.

import gc
import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
import structlog
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from grpclib_anyio.client import Channel
from grpclib_anyio.server import Server
from relay_model.admission import Admission
from relay_model.backends.demo import DemoBackend
from relay_model.backends.protocol import Backend, Pieces
from relay_model.backends.registry import open_backend
from relay_model.conversation import Conversation
from relay_model.service import AiService
from relay_model.settings import ModelSettings
from relay_proto import ai as proto
from relay_proto.ai import AiServiceStub, GenerateRequest, GenerateResponse
from tests.support.local_model import needs_local_model

AT_ONCE = 2

MANY = 200

#: Blocks of memory that a crowd may leave behind: less than one for each of its requests.
NOISE = MANY

#: What eight answers of the real model may add to the process, in bytes resident.
LOCAL_NOISE = 8 * 2**20


class Gated:
    """A backend that notes whom it answers, and begins when it is let."""

    def __init__(self, backend: Backend) -> None:
        self.models = backend.models
        self.gate = anyio.Event()
        self.order: list[str] = []
        self.most = 0
        self._active = 0
        self._backend = backend

    @asynccontextmanager
    async def stream(self, conversation: Conversation) -> AsyncGenerator[Pieces, None]:
        self.order.append(conversation.prompt)
        self._active += 1
        self.most = max(self.most, self._active)
        try:
            await self.gate.wait()
            async with self._backend.stream(conversation) as pieces:
                yield pieces
        finally:
            self._active -= 1


class Crowd:
    """Requests that come in a known order, of which the first two hold the others up."""

    def __init__(self, backend: Backend, count: int) -> None:
        self.prompts = [str(number) for number in range(count)]
        self.backend = Gated(backend)
        self.admission = Admission(max_concurrent=AT_ONCE, max_queued=count - AT_ONCE)
        self.answers: dict[str, list[GenerateResponse]] = {}

    async def ask(self, meanwhile: Callable[[AiServiceStub], Awaitable[None]]) -> None:
        """Ask everything; call `meanwhile` when the queue is full."""
        server = Server([AiService(self.backend, self.admission)])
        async with anyio.create_task_group() as tasks:
            ((host, port),) = await tasks.start(server.serve, "127.0.0.1", 0)
            async with Channel(host, port) as channel, anyio.create_task_group() as askers:
                stub = AiServiceStub(channel)
                for number, prompt in enumerate(self.prompts, 1):
                    askers.start_soon(self._ask, stub, prompt)
                    await self._until_there_are(number)
                await meanwhile(stub)
                self.backend.gate.set()
            tasks.cancel_scope.cancel()
        assert (self.admission.admitted, self.admission.queued) == (0, 0)

    async def _ask(self, stub: AiServiceStub, prompt: str) -> None:
        answer = stub.generate(GenerateRequest(prompt=prompt))
        self.answers[prompt] = [message async for message in answer]

    async def _until_there_are(self, number: int) -> None:
        await anyio.lowlevel.checkpoint()
        while self.admission.admitted + self.admission.queued < number:  # noqa: ASYNC110 - the counts have no event
            await anyio.lowlevel.checkpoint()


async def one_more_is_refused(stub: AiServiceStub) -> None:
    with pytest.raises(GRPCError) as raised:
        _ = [message async for message in stub.generate(GenerateRequest(prompt="more"))]
    assert raised.value.status is Status.RESOURCE_EXHAUSTED


async def in_a_crowd(backend: Backend, count: int) -> Crowd:
    """Have `count` requests answered, and check that each was, in its order."""
    crowd = Crowd(backend, count)
    with anyio.fail_after(50):
        await crowd.ask(one_more_is_refused)
    assert sorted(crowd.backend.order, key=int) == crowd.prompts
    # Two that are admitted in one moment may begin in either order.
    places = enumerate(map(int, crowd.backend.order))
    assert max(abs(place - number) for place, number in places) < AT_ONCE
    assert crowd.backend.most == AT_ONCE
    assert crowd.answers.keys() == set(crowd.prompts)
    for messages in crowd.answers.values():
        assert [message.done for message in messages] == [False] * (len(messages) - 1) + [True]
    return crowd


@pytest.mark.anyio
async def test_two_hundred_requests_two_at_a_time() -> None:
    blocks: list[int] = []
    for _ in range(3):
        with structlog.testing.capture_logs():  # pytest would keep what is written
            crowd = await in_a_crowd(DemoBackend(delay=0), MANY)
        for prompt, messages in crowd.answers.items():
            text = "".join(message.token for message in messages)
            assert text == f"Streaming response to: {prompt} "
        del crowd, messages
        gc.collect()
        blocks.append(sys.getallocatedblocks())
    assert blocks[-1] - blocks[-2] < NOISE


@needs_local_model
@pytest.mark.trio
async def test_eight_requests_for_two_slots_of_the_real_model() -> None:
    settings = ModelSettings(
        backend="local", max_concurrent=AT_ONCE, context_size=512, max_tokens=6, temperature=0
    )
    sizes: list[int] = []
    async with open_backend(settings) as backend:
        for _ in range(2):
            crowd = await in_a_crowd(backend, 8)
            sizes.append(resident())
            for messages in crowd.answers.values():
                assert any(message.token for message in messages)
                assert messages[-1].finish_reason == proto.FinishReason.LENGTH
                assert messages[-1].usage.completion_tokens == settings.max_tokens
    assert sizes[-1] - sizes[0] < LOCAL_NOISE


def resident() -> int:
    """Give the memory that the process has, in bytes; nothing where there is no /proc."""
    statm = Path("/proc/self/statm")
    pages = int(statm.read_text(encoding="ascii").split()[1]) if statm.exists() else 0
    return pages * os.sysconf("SC_PAGE_SIZE")
