"""One request: a model's answer on its way to one browser.

A :class:`Relay` is the request, and it is over when its ``async with`` is left::

    async with Relay(model, GenerateRequest(prompt="hi"), TextEncoder(), Limits()) as relay:
        await relay.write_to(send)     # b"data: Hello" and an empty line, and so on
    relay.cause(otherwise=Cause.CLIENT_DISCONNECT)     # Cause.DONE

Its tasks, and what ends them::

    the server's task for the request          cancelled when the browser disconnects
      └── nursery of the Relay                 cancelled when the body is left
            ├── reader      gRPC call ──▶ channel     the deadline ends the call
            ├── heartbeat   pings ──────▶ channel     ends with the reader
            └── the body    channel ────▶ browser     Relay.write_to

**The reader writes the last event**, because it is the only task that knows how the answer ended.
It owns the gRPC call: wherever it is cancelled, while it waits for the model or for room in the
channel, leaving the call resets its stream, and the model stops. It does not wait for the browser
first, so a stalled browser holds up the last event but never the model. A server that tells us of
the disconnect by a plain call (see ``extensions``) resets the stream one turn of the loop earlier.

**The channel is bounded** (``channel_size`` events). When it is full, the reader blocks, the HTTP/2
window fills, and the model blocks too. Heartbeats are dropped then, because a browser that still
has events to read does not need one.

**A token that comes alone** finds the channel empty and the body waiting. If the server has given
us a chunk writer, the token is written to the browser's socket at once, and the body sleeps on.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import trio
from grpclib.const import Cardinality
from grpclib.exceptions import GRPCError
from structlog.stdlib import get_logger

from grpclib_anyio.betterproto import getter
from relay_common.shared_text import traceback_without_prompt
from relay_common.trace import trace_metadata
from relay_gateway.extensions import FLUSH, ChunkWriter
from relay_gateway.relay import outcome as outcomes
from relay_gateway.relay.completion import Completion
from relay_gateway.relay.encoder import AnswerTooLongError, Encoder, encode
from relay_gateway.relay.outcome import Cause, Outcome
from relay_gateway.relay.sse import PING
from relay_proto.ai import GenerateRequest, GenerateResponse

if TYPE_CHECKING:
    from types import TracebackType

    from grpclib_anyio.client import Channel, Stream

__all__ = ["GENERATE", "Limits", "Relay"]

#: Tokens that become one chunk. While a fast model's tokens are encoded, other requests wait.
_AT_ONCE = 32

#: The method's route; a test compares it with the generated service.
GENERATE = "/ai.AIService/Generate"
_token_of = getter("token")
_log = get_logger(__name__)


@dataclass(frozen=True)
class Limits:
    """What bounds a request; times in seconds."""

    #: After this much silence on the body, a ping is sent.
    heartbeat: float = 15.0
    #: From the start of the request to the end of the model's answer, whatever happens.
    deadline: float = 180.0
    #: Events between the reader and the body.
    channel_size: int = 8


class Relay:
    """One request for an answer, from its acceptance to its one recorded cause.

    An async context manager. Leaving it ends everything that belongs to the request: the gRPC
    stream is reset unless the answer was complete, and no task is left. It does not raise when the
    model fails, since a failure is an event like any other.
    """

    # Not a generator: since Python 3.12, contextlib's frame and the cancellation that it throws in
    # keep each other, and the request with them, until the garbage collector comes.

    def __init__(
        self,
        model: "Channel",
        request: GenerateRequest,
        encoder: Encoder,
        limits: Limits,
    ) -> None:
        """Begin: the deadline and the first heartbeat count from now; nothing is sent yet.

        Args:
            model: the connection to the model service.
            request: what is asked.
            encoder: how events are written; it belongs to this request.
            limits: the deadline, the heartbeat and the size of the channel.

        """
        self.request = request
        #: When the request began, and when the model's first token came; on trio's clock.
        self.started = trio.current_time()
        self.first_token: float | None = None
        #: Tokens that the model has sent.
        self.tokens = 0
        #: How the model's side ended, once it has.
        self.outcome: Outcome | None = None
        #: The server's own way to the browser's socket, if there is one. While the body is written,
        #: nothing else may write to the browser.
        self.writer: ChunkWriter | None = None
        self._model = model
        self._encoder = encoder
        self._limits = limits
        self._tasks = trio.open_nursery()
        self._call: Stream[GenerateRequest, GenerateResponse] | None = None
        #: The browser disconnected before the answer had an outcome.
        self._disconnected = False
        self._is_delivered = False
        #: The first token has come, or the answer has ended without one.
        self._has_begun = trio.Event()
        #: The event that ends the answer, once the model has completed it.
        self._done_event = b""
        #: The body waits, and nothing is on its way to it.
        self._is_awaited = False
        self._last_chunk = self.started
        #: The heartbeat sleeps in this scope.
        self._silence = trio.CancelScope()
        # The reader's work for the model, and how the answer ends if that is cut off. The call has
        # the same deadline, but the reader may be waiting for a browser that does not read.
        self._answer = trio.CancelScope(deadline=self.started + limits.deadline)
        self._if_cut_off = outcomes.LATE

    async def __aenter__(self) -> Self:
        """Start the tasks; not a checkpoint."""
        send, self._receive = trio.open_memory_channel[bytes](self._limits.channel_size)
        self._nursery = await self._tasks.__aenter__()
        # Each task closes the end that it was given; a shared one would keep the channel open.
        self._nursery.start_soon(self._beat, send.clone())
        self._nursery.start_soon(self._read, send)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        tb: "TracebackType | None",
    ) -> bool | None:
        """Cancel the tasks and wait for them, which takes no time because they only clean up."""
        # The channel is closed last: the reader may be between two tokens, and would find the
        # channel broken before it finds itself cancelled.
        self._nursery.cancel_scope.cancel()
        with self._receive:
            return await self._tasks.__aexit__(exc_type, exc_value, tb)  # noqa: ASYNC102 - cancelled

    # -- told from outside, by plain calls ------------------------------------------------------

    def stop(self) -> None:
        """Give up the answer because the gateway stops, and say so in its last event.

        An answer that has an outcome already stays as it is.
        """
        self._if_cut_off = outcomes.STOPPED
        self._answer.cancel()

    def disconnect(self) -> None:
        """Reset the model's stream at once, because the browser has disconnected.

        The server cancels the request's tasks as well, and they would reset the stream when it is
        their turn. How the answer ends after this does not count.
        """
        self._disconnected = self._disconnected or self.outcome is None
        if self._call is not None:
            self._call.release()

    def cause(self, *, otherwise: Cause) -> Cause:
        """Return why the request is over; ``otherwise`` if the answer was still on its way.

        An answer is done when the browser's connection has taken the last event, not before.
        """
        is_lost = self.outcome is outcomes.DONE and not self._is_delivered
        if self.outcome is None or self._disconnected or is_lost:
            return otherwise
        return self.outcome.cause

    # -- the body -------------------------------------------------------------------------------

    async def write_to(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Write the events until the browser's connection has taken the last one.

        Args:
            send: writes one piece of the body. It is not used when there is a chunk writer.

        """
        write = send if self.writer is None else self.writer.write
        with suppress(trio.EndOfChannel):
            while True:
                await write(await self.next_chunk())

    async def until_begun(self) -> None:
        """Wait for the first token, or for the end of an answer without one; a checkpoint.

        Until then the response may still be something else than an answer.
        """
        await self._has_begun.wait()

    async def read_to_end(self) -> None:
        """Read all events and drop them, for an encoder that keeps the answer; a checkpoint.

        The browser has none of it until :meth:`mark_delivered`.
        """
        with suppress(trio.EndOfChannel):
            while True:
                await self._receive.receive()

    def mark_delivered(self) -> None:
        """Note that the browser's connection has taken the whole answer."""
        self._is_delivered = True

    @property
    def failure(self) -> Outcome | None:
        """How the answer failed; None while it goes on, and when it is complete."""
        return None if self.outcome is outcomes.DONE else self.outcome

    async def next_chunk(self) -> bytes:
        """Wait for an event, and return all that are there as one piece of the body.

        So a write to the socket carries one token when tokens come one at a time, and as many as
        the channel holds when they come faster than the browser takes them. With a chunk writer it
        may be ``FLUSH``: the writer has something left that it could not write at once.

        Raises:
            trio.EndOfChannel: the last event has been taken.

        """
        try:
            chunk = await self._next_event()
        except trio.EndOfChannel:
            # A write that failed does not raise: hypercorn has us cancelled, and this lets it.
            await trio.lowlevel.checkpoint()  # noqa: ASYNC120 - cancelled, it was not the end
            self._is_delivered = True
            raise
        self._last_chunk = trio.current_time()
        return chunk + self._take_waiting()

    async def _next_event(self) -> bytes:
        try:
            return self._receive.receive_nowait()
        except trio.WouldBlock:
            self._is_awaited = True
        # After the `except`: within it, an idle stream would keep the error and its frames.
        return await self._receive.receive()

    def _take_waiting(self) -> bytes:
        chunks: list[bytes] = []
        try:
            while True:
                chunks.append(self._receive.receive_nowait())
        except (trio.WouldBlock, trio.EndOfChannel):
            return b"".join(chunks)

    # -- the reader -----------------------------------------------------------------------------

    async def _read(self, send: trio.MemorySendChannel[bytes]) -> None:
        """Put the model's answer into the channel, and the event that ends it last."""
        with send:
            outcome: Outcome | None = None
            with self._answer:
                outcome = await self._read_answer(send)
            self.outcome = outcome = outcome or self._if_cut_off
            self._has_begun.set()
            self._silence.cancel()  # the heartbeat ends
            await self._put(self._last_event(outcome), send)

    async def _read_answer(self, send: trio.MemorySendChannel[bytes]) -> Outcome:
        try:
            async with self._open_call() as self._call:
                await self._call.send_message(self.request, end=True)
                return await self._forward(self._call, send)
        except GRPCError as error:
            return outcomes.outcome_of(error)
        except AnswerTooLongError:
            return outcomes.TOO_LONG
        except Exception as error:  # noqa: BLE001 - a bug of ours; the stream still ends with an event
            # Quart reports a disconnect and drops what else went wrong, so it has to be said here.
            _log.error("relay failed", exception=traceback_without_prompt(error, self.request))
            return outcomes.INTERNAL

    def _open_call(self) -> "Stream[GenerateRequest, GenerateResponse]":
        # The call itself and not betterproto's stub, because we only enter and leave it.
        return self._model.request(
            GENERATE,
            Cardinality.UNARY_STREAM,
            GenerateRequest,
            GenerateResponse,
            timeout=self.started + self._limits.deadline - trio.current_time(),
            metadata=trace_metadata(),
        )

    async def _forward(
        self,
        call: "Stream[GenerateRequest, GenerateResponse]",
        send: trio.MemorySendChannel[bytes],
    ) -> Outcome:
        last = None
        # For a body that waits, all messages that are there become one chunk.
        while responses := await call.recv_messages(_AT_ONCE if self._is_awaited else 1):
            last = responses[-1]
            tokens = [_token_of(response) for response in responses]
            is_done = not tokens[-1] and last.done  # in this order: most messages need one look
            if is_done:
                tokens.pop()
            if tokens:
                self._count(len(tokens))
                await self._put(encode(self._encoder, tokens, responses), send)
            if is_done:
                return self._complete(last)
        return self._complete(last) if last is not None and last.done else outcomes.CUT_SHORT

    def _complete(self, last: GenerateResponse) -> Outcome:
        self._done_event = self._encoder.done(Completion(last))
        return outcomes.DONE

    def _count(self, tokens: int) -> None:
        if self.first_token is None:
            self.first_token = trio.current_time()
            self._has_begun.set()
        self.tokens += tokens

    async def _put(self, chunk: bytes, send: trio.MemorySendChannel[bytes]) -> None:
        """Put a chunk on its way; waits, and is a checkpoint, only while the channel is full."""
        try:
            self._put_nowait(chunk, send)
        except trio.WouldBlock:
            await send.send(chunk)

    def _put_nowait(self, chunk: bytes, send: trio.MemorySendChannel[bytes]) -> None:
        """Write a chunk at once if the body waits and there is a writer; else queue it.

        Raises:
            trio.WouldBlock: the channel is full.

        """
        if self._is_awaited and self.writer is not None:
            self._last_chunk = trio.current_time()
            if self.writer.write_nowait(chunk):
                return
            chunk = FLUSH  # the body waits for the browser to take what is left
        self._is_awaited = False
        send.send_nowait(chunk)

    def _last_event(self, outcome: Outcome) -> bytes:
        if outcome is outcomes.DONE:
            return self._done_event
        return self._encoder.error(outcome)

    # -- the heartbeat --------------------------------------------------------------------------

    async def _beat(self, send: trio.MemorySendChannel[bytes]) -> None:
        """Put a ping into the channel whenever nothing has come out of it for too long.

        Pings do not move the deadline, since they would then hide a dead model.
        """
        with send:
            while self.outcome is None:
                due = self._last_chunk + self._limits.heartbeat
                with trio.CancelScope(deadline=due) as self._silence:
                    await trio.sleep_forever()
                self._ping_if_due(send)

    def _ping_if_due(self, send: trio.MemorySendChannel[bytes]) -> None:
        now = trio.current_time()
        if self.outcome is None and now >= self._last_chunk + self._limits.heartbeat:
            self._last_chunk = now
            with suppress(trio.WouldBlock):  # a browser that has unread events needs no ping
                self._put_nowait(PING, send)
