"""One answer of the engine, made in a thread and read in the event loop.

The thread ends before the answer's context does. Between the thread and the event loop is a buffer.
The side that closes it says how the answer ended::

    engine thread                                event loop
      step: text ──send──▶ [ 8 pieces ] ──receive──▶ async for
      step: stop? ◀── closed by the reader ─────── leaving the context
      the engine is done ──▶ closed by the thread ─▶ complete, or BackendError

For example::

    async with LlamaAnswer(engine, {"messages": messages, "stream": True}) as answer:
        async for piece in answer:
            ...
"""

from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING, Any, Protocol, Self

import anyio
import anyio.from_thread
import anyio.lowlevel
from grpclib.const import Status
from structlog.stdlib import get_logger

from relay_model.backends.local.llama import cannot_do, read_piece
from relay_model.errors import BackendError
from relay_model.outcome import UNKNOWN
from relay_model.pieces import Piece, Reasoning

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["LlamaAnswer", "StepwiseEngine"]

# Pieces. A full buffer blocks only the thread of this answer. llama.cpp continues to make tokens,
# up to the answer's limit, and keeps them until the thread asks for them.
_BUFFERED_PIECES = 8

# Seconds to wait for the engine's next step, where it stops. A step is a batch of the prompt or a
# token, and takes much less time than this even with a model that is too large for its machine.
_STOP_SECONDS = 30.0

_log = get_logger(__name__)


class StepwiseEngine(Protocol):
    """Makes an answer, and asks at every step of it whether to continue."""

    def answer(self, request: dict[str, Any], on_step: "Callable[[dict[str, Any]], bool]") -> None:
        """Block until the answer has ended or ``on_step`` has returned true."""
        ...


class LlamaAnswer:
    """An async context manager around one answer, and the iterator of its text.

    Entering starts a thread. Leaving tells the engine to stop, which it does within one step (a
    token, or one batch of a long prompt), and waits for the end of the thread. The wait is shielded
    from cancellation and bounded.
    """

    def __init__(
        self,
        engine: StepwiseEngine,
        request: dict[str, Any],
        *,
        stop_seconds: float = _STOP_SECONDS,
    ) -> None:
        """Prepare an answer; needs a running event loop.

        Args:
            engine: makes the answer, in the thread.
            request: the request for the engine, in the form of OpenAI's chat API.
            stop_seconds: the longest that leaving waits for an engine that does not stop.

        """
        self.outcome = UNKNOWN
        self._stop_seconds = stop_seconds
        self._engine = engine
        self._request = request
        self._loop = anyio.lowlevel.current_token()
        self._send, self._receive = anyio.create_memory_object_stream[Piece](_BUFFERED_PIECES)
        self._thread = Thread(target=self._run, name="relay-llama-answer", daemon=True)
        self._thread_ended = anyio.Event()
        self._has_begun = False
        self._is_cancelled = False
        self._is_complete = False
        self._failure: BackendError | None = None

    async def __aenter__(self) -> Self:
        """Start the thread; not a checkpoint."""
        self._thread.start()
        return self

    async def __aexit__(
        self,
        exc_type: "type[BaseException] | None",
        exc_value: "BaseException | None",
        traceback: "TracebackType | None",
    ) -> None:
        """Stop the engine and wait until the thread has ended; a checkpoint."""
        self._is_cancelled = True
        self._receive.close()
        with anyio.move_on_after(self._stop_seconds, shield=True):
            await self._thread_ended.wait()
            self._thread.join()
            return
        _log.error("engine does not stop", seconds=self._stop_seconds)

    def __aiter__(self) -> Self:
        """Read the answer, once."""
        return self

    async def __anext__(self) -> Piece:
        """Wait for the next piece, which is never empty and never half a character.

        A checkpoint; a cancelled read loses no piece.

        Raises:
            BackendError: the engine refused the prompt or failed; the answer is not complete.

        """
        try:
            return await self._receive.receive()
        except anyio.EndOfStream:
            if self._failure is not None:
                raise self._failure from self._failure.__cause__
            raise StopAsyncIteration from None

    # In the thread.

    def _run(self) -> None:
        try:
            self._engine.answer(self._request, self._on_step)
        except Exception as error:  # noqa: BLE001 - is raised again in the event loop
            self._refuse_or_fail(error)
        # The event loop has ended only if leaving the context waited in vain for this thread.
        with suppress(anyio.RunFinishedError):
            anyio.from_thread.run_sync(self._end, token=self._loop)

    def _on_step(self, step: dict[str, Any]) -> bool:
        """Send a step's text to the event loop; return whether the engine has to stop."""
        self._has_begun = True
        if self._is_cancelled:
            return True
        try:
            self._take(step)
        except anyio.BrokenResourceError:
            return True
        except Exception as error:  # noqa: BLE001 - the engine drops what its callback raises
            self._fail(error)
            return True
        return False

    def _take(self, step: dict[str, Any]) -> None:
        piece = read_piece(step)
        if piece.finish_reason is not None:
            self._is_complete = True
            self.outcome = self.outcome._replace(finish_reason=piece.finish_reason)
        if piece.usage is not None:
            self.outcome = self.outcome._replace(usage=piece.usage)
        if piece.reasoning:
            anyio.from_thread.run(self._send.send, Reasoning(piece.reasoning), token=self._loop)
        if piece.text:
            anyio.from_thread.run(self._send.send, piece.text, token=self._loop)

    def _refuse_or_fail(self, error: Exception) -> None:
        """Tell a request that cannot be served, which fails before a step, from a failure."""
        if self._has_begun or not isinstance(error, ValueError | RuntimeError | TypeError):
            self._fail(error)
            return
        self._failure = cannot_do(str(error))
        self._failure.__cause__ = error

    def _fail(self, error: Exception) -> None:
        if isinstance(error, BackendError):
            self._failure = error
            return
        self._failure = BackendError(Status.INTERNAL, "The model failed.", detail=repr(error))
        self._failure.__cause__ = error

    # Back in the event loop, as the last thing that the thread does.

    def _end(self) -> None:
        if not self._is_complete and self._failure is None:
            detail = "the engine ended an answer without finishing it"
            self._failure = BackendError(Status.INTERNAL, "The model failed.", detail=detail)
        self._send.close()
        self._thread_ended.set()
