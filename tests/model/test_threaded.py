"""A plain generator function as a backend: its steps run in threads."""

import sys
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from importlib.metadata import EntryPoint
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from structlog.testing import capture_logs

from relay_model.admission import Admission
from relay_model.backends import registry, threaded
from relay_model.backends.protocol import ModelInfo
from relay_model.backends.registry import open_backend
from relay_model.backends.settings import BackendSettings
from relay_model.backends.threaded import ThreadedBackend, open_threaded
from relay_model.conversation import Conversation
from relay_model.errors import BackendError
from relay_model.outcome import FinishReason, Outcome
from relay_model.pieces import Piece, Reasoning
from relay_model.service import AiService
from relay_proto.ai import GenerateRequest
from tests.support.answers import pieces_of
from tests.support.scripted_backend import PATIENCE

HI = Conversation.of("hi")
REQUEST = GenerateRequest(prompt="hi")

pytestmark = pytest.mark.anyio


class Steps:
    """A generator function whose second step, and every later one, waits until it is let go."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.may_return = threading.Semaphore(0)
        self.closed: list[str] = []
        self.steps = 0
        self.running = self.most = 0
        self.lock = threading.Lock()

    def __call__(self, conversation: Conversation) -> Generator[Piece]:
        del conversation
        try:
            yield "first"
            while True:
                with self._counted():
                    self.entered.release()
                    assert self.may_return.acquire(timeout=PATIENCE)
                yield "another"
        finally:
            self.closed.append(threading.current_thread().name)

    @asynccontextmanager
    async def opened(self, max_concurrent: int = 1) -> AsyncGenerator[ThreadedBackend]:
        async with open_threaded("mine", self, max_concurrent) as backend:
            yield backend

    async def until_in_a_step(self) -> None:
        assert await anyio.to_thread.run_sync(lambda: self.entered.acquire(timeout=PATIENCE))

    def _counted(self) -> "_Counted":
        return _Counted(self)


class _Counted:
    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def __enter__(self) -> None:
        with self._steps.lock:
            self._steps.steps += 1
            self._steps.running += 1
            self._steps.most = max(self._steps.most, self._steps.running)

    def __exit__(self, *_: object) -> None:
        with self._steps.lock:
            self._steps.running -= 1


async def freed(admission: Admission) -> None:
    """Wait until no answer is admitted."""
    with anyio.fail_after(PATIENCE):  # noqa: ASYNC912 - it may hold already
        while admission.admitted:  # noqa: ASYNC110 - nobody is told
            await anyio.sleep(0.001)


async def _read(service: AiService) -> None:
    async with service.generate(REQUEST) as responses:
        async for _ in responses:
            pass


async def test_it_answers_with_what_it_yields_in_threads() -> None:
    names: set[str] = set()

    def answer(conversation: Conversation) -> Generator[Piece]:
        names.add(threading.current_thread().name)
        yield Reasoning("Hm.")
        names.add(threading.current_thread().name)
        yield conversation.prompt

    async with open_threaded("mine", answer, 1) as backend:
        pieces, outcome = await pieces_of(backend)
        assert [model.id for model in backend.models] == ["mine"]
    assert pieces == [Reasoning("Hm."), "Tell me a story."]
    assert outcome.finish_reason is FinishReason.STOP
    assert threading.current_thread().name not in names


async def test_leaving_within_a_step_does_not_wait_for_it() -> None:
    steps, admission = Steps(), Admission(1, 0)
    async with steps.opened() as backend:
        service = AiService(backend, admission)
        with anyio.CancelScope() as scope:
            async with service.generate(REQUEST) as answer:
                await anext(answer)
                await steps.until_in_a_step()
                scope.cancel()
                await anext(answer)
        # It has been left, and the generator is still in its step: its place is not free.
        assert steps.running == 1
        assert admission.admitted == 1
        with pytest.raises(GRPCError) as refused:
            await service.generate(REQUEST).__aenter__()
        assert refused.value.status is Status.RESOURCE_EXHAUSTED
        assert not steps.closed
        steps.may_return.release()
        await freed(admission)
        # It took no other step, and was closed, in a thread, before its place was free.
        assert steps.steps == 1
        assert len(steps.closed) == 1
        assert steps.closed[0] != threading.current_thread().name


async def test_leaving_between_two_steps_closes_it() -> None:
    steps, admission = Steps(), Admission(1, 0)
    async with steps.opened() as backend:
        async with AiService(backend, admission).generate(REQUEST) as answer:
            await anext(answer)
            await steps.until_in_a_step()
            steps.may_return.release()
        await freed(admission)
    assert len(steps.closed) == 1


async def test_the_place_is_free_when_the_last_message_has_been_read() -> None:
    def answer(conversation: Conversation) -> Generator[Piece]:
        yield conversation.prompt

    admission = Admission(1, 0)
    async with open_threaded("mine", answer, 1) as backend:
        service = AiService(backend, admission)
        for _ in range(5):
            async with service.generate(REQUEST) as responses:
                assert [message.done async for message in responses] == [False, True]
            assert admission.admitted == 0


async def test_never_more_threads_than_places() -> None:
    steps, admission = Steps(), Admission(2, 100)
    async with steps.opened(2) as backend, anyio.create_task_group() as tasks:
        service = AiService(backend, admission)

        async def ask_and_leave() -> None:
            async with service.generate(REQUEST) as answer:
                await anext(answer)
                await anext(answer)

        for _ in range(6):
            tasks.start_soon(ask_and_leave)
        for _ in range(2):
            await steps.until_in_a_step()
        await anyio.wait_all_tasks_blocked()
        assert (steps.running, admission.queued) == (2, 4)
        steps.may_return.release(100)
    assert steps.most == 2
    assert len(steps.closed) == 6


@pytest.mark.parametrize(
    "error",
    [
        BackendError(Status.UNAVAILABLE, "Gone."),
        ValueError("its own"),
        StopIteration(),
        StopAsyncIteration(),
        SystemExit(3),
        KeyboardInterrupt(),
        GeneratorExit(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_it_raises_ends_its_own_call(error: BaseException) -> None:
    def answer(conversation: Conversation) -> Generator[Piece]:
        yield conversation.prompt
        if conversation.prompt == "hi":
            raise error

    admission = Admission(1, 0)
    async with open_threaded("mine", answer, 1) as backend:
        service = AiService(backend, admission)
        with pytest.raises(GRPCError) as raised:
            await _read(service)
        is_own = isinstance(error, BackendError)
        assert raised.value.status is (Status.UNAVAILABLE if is_own else Status.INTERNAL)
        assert admission.admitted == 0
        async with service.generate(GenerateRequest(prompt="ho")) as responses:
            assert [message.done async for message in responses] == [False, True]


async def test_error_while_it_is_closed_is_logged() -> None:
    def answer(conversation: Conversation) -> Generator[Piece]:
        try:
            yield conversation.prompt
            yield conversation.prompt
        finally:
            raise ValueError("in its finally")

    admission = Admission(1, 0)
    with capture_logs() as lines:
        async with open_threaded("mine", answer, 1) as backend:
            async with AiService(backend, admission).generate(REQUEST) as responses:
                await anext(responses)
            await freed(admission)
    assert "a generator failed while it was closed" in [line["event"] for line in lines]


async def test_stuck_generator_is_reported_and_left_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threaded, "_PATIENCE", 0.05)
    monkeypatch.setattr(threaded, "_STOP_SECONDS", 0.1)
    steps, admission = Steps(), Admission(1, 0)
    try:
        with capture_logs() as lines, anyio.fail_after(PATIENCE / 2):
            async with steps.opened() as backend:
                async with AiService(backend, admission).generate(REQUEST) as answer:
                    await anext(answer)
                    await steps.until_in_a_step()
                while not any("has not returned" in line["event"] for line in lines):  # noqa: ASYNC110 - a line
                    await anyio.sleep(0.01)
                assert admission.admitted == 1
        assert steps.running == 1
    finally:
        steps.may_return.release()


async def test_generator_that_returns_in_time_is_closed_at_the_end() -> None:
    steps = Steps()
    async with steps.opened() as backend:
        async with backend.stream(HI) as pieces:
            await anext(pieces)
            await steps.until_in_a_step()
        steps.may_return.release()
    assert len(steps.closed) == 1


@pytest.mark.parametrize("form", ["def", "async def"])
async def test_another_package_names_a_function(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f"a_package_with_{form.split(maxsplit=1)[0]}"
    code = f"{form} answer(conversation):\n    yield conversation.prompt\n"
    (tmp_path / f"{module}.py").write_text(code, encoding="utf-8")
    point = EntryPoint("theirs", f"{module}:answer", "token_relay.backends")
    monkeypatch.setattr(registry, "installed_backends", lambda: {"theirs": point})
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    async with open_backend(BackendSettings(backend="theirs", max_concurrent=1)) as backend:
        assert await pieces_of(backend, HI) == (["hi"], Outcome(FinishReason.STOP))
        assert backend.models == (ModelInfo("theirs"),)
