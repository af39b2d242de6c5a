"""A synchronous function as a backend: a plain generator function, which runs in threads.

For example, all that a package has to bring::

    def answer(conversation):
        for word in conversation.prompt.split():
            yield f"{word} "

A thread cannot be stopped from outside, so an answer has a task of its own that outlives its
caller. The caller leaves at once, and the task ends when the generator has returned from its step::

    the call's task                  the answer's task           a thread
      async for ◀──────piece──────────  step ─────────────────────▶ next(generator)
      leaving: closes the channel ──▶   no more steps ────────────▶ generator.close()
                                        stopped: the place is free

The generator is at most one piece ahead of its reader.
"""

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple, Self

import anyio
import anyio.to_thread
from grpclib.const import Status
from structlog.stdlib import get_logger

from relay_model.backends.protocol import ModelInfo
from relay_model.errors import BackendError
from relay_model.outcome import FinishReason, Outcome

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator
    from typing import TypeAlias

    from anyio.abc import TaskGroup

    from relay_model.conversation import Conversation
    from relay_model.pieces import Piece

    GeneratorFunction: TypeAlias = Callable[[Conversation], Generator[Piece]]

__all__ = ["ThreadedBackend", "open_threaded"]

# Seconds after which a generator whose caller has left is reported, because it holds a place.
_PATIENCE = 10.0

# Seconds that generators have to return from their steps when the service ends.
_STOP_SECONDS = 0.5

_log = get_logger(__name__)


@asynccontextmanager
async def open_threaded(
    name: str, function: "GeneratorFunction", max_concurrent: int
) -> "AsyncGenerator[ThreadedBackend]":
    """Answer with ``function``, in at most ``max_concurrent`` threads at a time.

    On leaving, generators have half a second to return from their steps. The thread of one that
    does not is left behind, because nothing can stop it.
    """
    async with anyio.create_task_group() as tasks:
        backend = ThreadedBackend(name, function, tasks, max_concurrent)
        try:
            yield backend
        finally:
            with anyio.move_on_after(_STOP_SECONDS, shield=True):
                await backend.until_idle()
            tasks.cancel_scope.cancel()


class ThreadedBackend:
    """Answers with what a generator function yields, each step of it in a thread."""

    def __init__(
        self, name: str, function: "GeneratorFunction", tasks: "TaskGroup", max_concurrent: int
    ) -> None:
        """Answer as a model of the backend's name; ``tasks`` holds the answers' tasks."""
        self.models = (ModelInfo(name),)
        self._function = function
        self._tasks = tasks
        self._threads = anyio.CapacityLimiter(max_concurrent)
        self._answers: set[_Answer] = set()

    @asynccontextmanager
    async def stream(self, conversation: "Conversation") -> "AsyncGenerator[_Answer]":
        """Answer one conversation; leaving does not wait for the generator's step."""
        answer = _Answer(self._function(conversation), self._threads)
        self._answers.add(answer)
        answer.call_when_stopped(lambda: self._answers.discard(answer))
        self._tasks.start_soon(answer.run)
        try:
            yield answer
        finally:
            answer.leave()
            if answer in self._answers:
                self._tasks.start_soon(self._report_if_stuck, answer)

    async def until_idle(self) -> None:
        """Wait until no generator runs."""
        for answer in list(self._answers):
            await answer.stopped.wait()

    async def _report_if_stuck(self, answer: "_Answer") -> None:
        with anyio.move_on_after(_PATIENCE):
            await answer.stopped.wait()
        if answer in self._answers:
            _log.warning(
                "a generator has not returned from its step since its caller left",
                seconds=_PATIENCE,
                threads=self._threads.borrowed_tokens,
            )


class _Step(NamedTuple):
    """What a step of a generator gave: a piece, an error, or neither at its end."""

    piece: "Piece | None" = None
    error: Exception | None = None


def _step(generator: "Generator[Piece]") -> _Step:
    """Take a step, in a thread. Nothing that a generator raises is about the event loop."""
    try:
        return _Step(next(generator, None))
    except BaseException as error:  # noqa: ASYNC103, BLE001 - in a thread; raised to the reader
        if isinstance(error, Exception) and not isinstance(error, StopAsyncIteration):
            return _Step(error=error)  # noqa: ASYNC104 - in a thread
        # SystemExit would end the service, and StopAsyncIteration would look like a whole answer.
        wrapped = RuntimeError(f"a generator raised {type(error).__name__}")
        wrapped.__cause__ = error
        return _Step(error=wrapped)  # noqa: ASYNC104 - in a thread


def _close(generator: "Generator[Piece]") -> BaseException | None:
    try:
        generator.close()
    except BaseException as error:  # noqa: ASYNC103, BLE001 - in a thread; logged
        return error  # noqa: ASYNC104 - in a thread
    return None


class _Answer:
    """One answer: the task that takes the generator's steps, and the iterator of its pieces."""

    outcome = Outcome(FinishReason.STOP)

    def __init__(self, generator: "Generator[Piece]", threads: anyio.CapacityLimiter) -> None:
        self.stopped = anyio.Event()
        self._generator = generator
        self._threads = threads
        # What the reader is told where the pieces end; without an end, that there was none.
        self._error: Exception | None = BackendError(
            Status.UNAVAILABLE, "The model service is shutting down."
        )
        self._callbacks: list[Callable[[], None]] = []
        self._send, self._receive = anyio.create_memory_object_stream["Piece"](0)

    def call_when_stopped(self, callback: "Callable[[], None]") -> None:
        """Call back once the generator has returned for the last time."""
        if self.stopped.is_set():
            callback()
        else:
            self._callbacks.append(callback)

    def leave(self) -> None:
        """Read no more; the task ends with the step that the generator is in."""
        self._receive.close()

    async def run(self) -> None:
        """Take steps until the generator ends or the reader has left."""
        with self._send:  # closed last: when the reader knows, the place is free
            try:
                await self._run()
            finally:
                self._stop()

    async def _run(self) -> None:
        try:
            while (piece := await self._next_piece()) is not None:
                await self._send.send(piece)
        except anyio.BrokenResourceError:  # the reader has left
            if error := await anyio.to_thread.run_sync(
                _close, self._generator, limiter=self._threads, abandon_on_cancel=True
            ):
                _log.warning("a generator failed while it was closed", exc_info=error)

    async def _next_piece(self) -> "Piece | None":
        step = await anyio.to_thread.run_sync(
            _step, self._generator, limiter=self._threads, abandon_on_cancel=True
        )
        if step.piece is None:
            self._error = step.error
        return step.piece

    def _stop(self) -> None:
        self.stopped.set()
        for callback in self._callbacks:
            callback()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> "Piece":
        try:
            return await self._receive.receive()
        except anyio.EndOfStream:
            self._raise_error()
            raise StopAsyncIteration from None

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is None:
            return
        try:
            raise error
        finally:
            del error  # its traceback has this frame: a cycle otherwise
