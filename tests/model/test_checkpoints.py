"""An answer of the model service that is ended at each of its checkpoints.

It is ended while it waits for admission, before its first token, and in the middle of its text;
with and without the transport. After each checkpoint the backend has stopped, one line in the log
says how the request ended, and the next request is answered. Only one request is admitted at a
time, so that the next one shows that the place of the first is free. `harness.every_checkpoint`
finds the checkpoints.
"""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a task group may swallow what its body raises; a test would have failed.

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import anyio
import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from structlog.testing import capture_logs

from grpclib_anyio.client import Channel
from grpclib_anyio.config import Configuration
from grpclib_anyio.testing import ChannelFor
from harness.clock import jump, on_mock_clock
from harness.every_checkpoint import AtEachCheckpoint, Checkpoint, settled
from harness.leaks.registry import CONNECTIONS
from harness.peer import NOTHING
from harness.wires import Wires
from relay_model.admission import Admission
from relay_model.conversation import Conversation
from relay_model.service import AiService
from relay_proto.ai import AiServiceStub, GenerateRequest
from tests.support.scripted_backend import ScriptedBackend

HI = GenerateRequest(prompt="hi", session_id="s")
TIMEOUT = 60.0
AT_ONCE = Configuration(initial_backoff=0)


@dataclass(frozen=True)
class Phase:
    """What the backend does, and whether another request is admitted first."""

    script: tuple[str | float, ...]
    is_queued: bool = False
    #: Random orders, in addition to the two that every phase has.
    seeds: int = 0


def _in_no_time(step: str | float) -> str | float:
    return step if isinstance(step, str) else 0


PHASES = {
    "waiting for admission": Phase(("one",), is_queued=True, seeds=1),
    "thinking": Phase((1.0, "one")),
    "mid-stream": Phase(("one", 0.25, "two", 0.25, "three")),
}
#: Without a mock clock.
IN_NO_TIME = {
    name: replace(phase, script=tuple(_in_no_time(step) for step in phase.script))
    for name, phase in PHASES.items()
}


class CountingBackend(ScriptedBackend):
    """Knows how many answers it is giving."""

    def __init__(self, *script: str | float | Exception) -> None:
        super().__init__(*script)
        self.running = 0

    @asynccontextmanager
    async def stream(self, conversation: Conversation) -> AsyncGenerator[Any, None]:
        self.running += 1
        try:
            async with super().stream(conversation) as pieces:
                yield pieces
        finally:
            self.running -= 1


#: Makes a request, and adds the text of the answer to a list.
Ask = Callable[[list[str]], Awaitable[None]]


class Question:
    """A request to the service that is under test, and one after it."""

    def __init__(self, phase: Phase) -> None:
        self.scope = anyio.CancelScope()
        self.error: GRPCError | None = None
        self.admission = Admission(max_concurrent=1, max_queued=1)
        self.backend = CountingBackend(*phase.script)
        self.service = AiService(self.backend, self.admission)
        self.wires = Wires()
        #: Why the request ended, if the service has heard of it.
        self.causes: list[str] = []
        self._phase = phase
        self._text = [step for step in phase.script if isinstance(step, str)]

    async def run(self, checkpoint: Checkpoint, end: "End") -> None:
        """Ask over the transport; the question is ended at the checkpoint."""
        async with ChannelFor([self.service], config=AT_ONCE, wrap=self.wires.wrap) as channel:
            await self._ask_twice(partial(_call, channel), checkpoint, end)
            assert channel.statistics() == NOTHING
        self.wires.check_frames()

    async def run_alone(self, checkpoint: Checkpoint) -> None:
        """Read the answer as the transport does; it is cancelled at the checkpoint."""
        await self._ask_twice(partial(_read, self.service), checkpoint, caller_leaves)

    async def _ask_twice(self, ask: Ask, checkpoint: Checkpoint, end: "End") -> None:
        with checkpoint.watched(lambda: end(self)), capture_logs() as logs:
            text = await self._ask(ask)
            await settled()
        self._check_idle()
        self.causes = _causes(logs)
        assert text == self._text[: len(text)]
        with capture_logs() as logs:
            again: list[str] = []
            await ask(again)
            await settled()
        self._check_idle()
        assert _causes(logs) == ["done"]
        assert again == self._text

    async def _ask(self, ask: Ask) -> list[str]:
        text: list[str] = []
        async with anyio.create_task_group() as tasks:
            if self._phase.is_queued:
                taken = anyio.Event()
                tasks.start_soon(self._occupy, taken)
                await taken.wait()
            with self.scope:
                try:
                    await ask(text)
                except GRPCError as error:
                    self.error = error
        return text

    async def _occupy(self, taken: anyio.Event) -> None:
        """Occupy the only place until the question waits for it."""
        async with self.admission.admit():
            taken.set()
            await settled()

    def _check_idle(self) -> None:
        assert (self.admission.admitted, self.admission.queued, self.backend.running) == (0, 0, 0)


End = Callable[[Question], None]


async def _call(channel: Channel, text: list[str]) -> None:
    answer = AiServiceStub(channel).generate(HI, timeout=TIMEOUT)
    async for message in answer:
        text += filter(None, [message.token])


async def _read(service: AiService, text: list[str]) -> None:
    async with service.generate(HI) as answer:
        async for message in answer:
            text += filter(None, [message.token])


def _causes(logs: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the causes that were recorded; no bug was."""
    assert {line["log_level"] for line in logs} <= {"info"}
    return [line["cause"] for line in logs if line["event"] == "request ended"]


# -- what ends it ---------------------------------------------------------------------------------


def caller_leaves(question: Question) -> None:
    question.scope.cancel()


def connection_is_lost(question: Question) -> None:
    for stream in question.wires.streams:
        stream.reset()


def deadline_passes(_: Question) -> None:
    jump(TIMEOUT)


def service_stops(question: Question) -> None:
    question.service.stop()
    for connection in CONNECTIONS.on_the_servers_side:
        connection.close()


#: With the cause that is recorded and the status that the caller is told, unless all was over. To
#: the service, a request that was on its way for all of its time is one whose caller left.
ENDS: dict[End, tuple[str, Status | None]] = {
    caller_leaves: ("client_disconnect", None),
    connection_is_lost: ("client_disconnect", Status.UNAVAILABLE),
    deadline_passes: ("deadline", Status.DEADLINE_EXCEEDED),
    service_stops: ("shutdown", Status.UNAVAILABLE),
}


async def _ended(phase: Phase, end: End, checkpoint: Checkpoint) -> None:
    question = Question(phase)
    await question.run(checkpoint, end)
    cause, status = ENDS[end]
    assert question.causes in ([], [cause], ["client_disconnect"], ["done"])
    assert question.error is None or question.error.status is status


@pytest.mark.trio(run=on_mock_clock)
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("phase", PHASES)
async def test_request_is_ended(phase: str, end: End, at_each_checkpoint: AtEachCheckpoint) -> None:
    scenario = partial(_ended, PHASES[phase], end)
    name = "request to the model ended"
    await at_each_checkpoint(name, scenario, seeds=PHASES[phase].seeds)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("phase", IN_NO_TIME)
async def test_request_is_cancelled_on_asyncio(
    phase: str, at_each_checkpoint: AtEachCheckpoint
) -> None:
    scenario = partial(_ended, IN_NO_TIME[phase], caller_leaves)
    await at_each_checkpoint("request to the model cancelled, on asyncio", scenario)


@pytest.mark.anyio
@pytest.mark.parametrize("phase", IN_NO_TIME)
async def test_answer_is_cancelled(phase: str, at_each_checkpoint: AtEachCheckpoint) -> None:
    """Without the transport, in the task that reads it."""

    async def scenario(checkpoint: Checkpoint) -> None:
        question = Question(IN_NO_TIME[phase])
        await question.run_alone(checkpoint)
        assert question.causes in ([], ["client_disconnect"], ["done"])

    await at_each_checkpoint("model's answer cancelled", scenario)
