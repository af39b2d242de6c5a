"""One request: a model's answer on its way to a browser.

The tasks of a request, and what ends them::

    the server's task for the request          cancelled when the browser leaves
      └── nursery of open_relay()              cancelled when the body is left
            ├── reader      gRPC call ──▶ channel     the deadline ends the call
            ├── heartbeat   pings ──────▶ channel     ends with the reader
            └── the body    channel ────▶ browser     Relay.next_chunk

The reader is the only one that knows how an answer ends, so it is the one that writes the last
event. It owns the gRPC call: wherever it is cancelled, waiting for the model or for room in the
channel, leaving the call resets its stream, and the model stops. It does not wait for the
browser to do so; a browser that stalls holds up the last event, never the model. A server that can
tell us of its browser's leaving by a plain call resets the stream a turn of the loop earlier.

The channel is bounded (``channel_size`` events). A full one makes the reader wait, HTTP/2's window
then makes the model wait, and a heartbeat is dropped: who has unread events needs none.

A token that comes alone finds the channel empty and the body waiting. Where the server lets us
(see ``chunks``), it is then written to the browser's socket at once, and the body sleeps on.
"""

from abc import abstractmethod
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import trio
from grpclib.const import Cardinality
from grpclib.exceptions import GRPCError
from grpclib_anyio.betterproto import getter
from structlog.stdlib import get_logger

from relay_common.trace import trace_metadata
from relay_gateway.extensions import ChunkWriter
from relay_gateway.relay import sse
from relay_gateway.relay.outcome import (
    CUT_SHORT,
    DONE,
    INTERNAL,
    LATE,
    STOPPED,
    Cause,
    Outcome,
    outcome_of,
)
from relay_proto.ai import GenerateRequest, GenerateResponse

if TYPE_CHECKING:
    from types import TracebackType

    from grpclib_anyio.client import Channel, Stream

__all__ = ["GENERATE", "Encoder", "Limits", "Relay", "open_relay"]

#: Tokens that become one chunk: a fast model's other requests wait for so many.
_AT_ONCE = 32

#: The method's route; a test compares it with the generated service.
GENERATE = "/ai.AIService/Generate"

_token_of = getter("token")

_log = get_logger(__name__)


class Encoder(Protocol):
    """How events are written; see ``sse``."""

    @abstractmethod
    def token(self, text: str, /) -> bytes:
        """Encode a token."""

    @abstractmethod
    def error(self, message: str, /, *, code: str, cause: str) -> bytes:
        """Encode the end of an answer that was cut short."""


@dataclass(frozen=True)
class Limits:
    """What bounds a request; times in seconds."""

    #: Without any event for so long, a ping is sent.
    heartbeat: float = 15.0
    #: From the start of the request to the end of the model's answer, whatever happens.
    deadline: float = 180.0
    #: Events between the reader and the body.
    channel_size: int = 8


class open_relay(AbstractAsyncContextManager["Relay"]):  # noqa: N801 - called as a function is
    """Ask the model, and give its answer as chunks of an SSE body.

    Leaving the context ends everything that belongs to the request: the gRPC stream is reset
    unless the answer was complete, and no task is left. Nothing in here fails because the model
    does; that is an event like any other. With a ``writer``, events may go past the chunks: what
    writes to the browser until then must be it.
    """

    # Not a generator: since Python 3.12 the frame of contextlib that throws a cancellation into one
    # keeps it, and it that frame, and the two keep the request until the garbage collector comes.

    def __init__(
        self,
        model: "Channel",
        prompt: GenerateRequest,
        encoder: Encoder,
        limits: Limits,
        writer: ChunkWriter | None = None,
    ) -> None:
        """Prepare; nothing happens until it is entered."""
        self._question = model, prompt
        self._form = encoder, limits, writer
        self._channel_size = limits.channel_size
        self._tasks = trio.open_nursery()

    async def __aenter__(self) -> "Relay":
        """Start the tasks; not a checkpoint."""
        send, self._receive = trio.open_memory_channel[bytes](self._channel_size)
        relay = Relay(self._receive, *self._form)
        self._nursery = await self._tasks.__aenter__()
        # Each task closes the end that it was given; a shared one would keep the channel open.
        self._nursery.start_soon(relay.beat, send.clone())
        self._nursery.start_soon(relay.read, send, *self._question)
        return relay

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        tb: "TracebackType | None",
    ) -> bool | None:
        """Cancel the tasks and wait for them, which takes no time: they only clean up."""
        # The channel is closed last: the reader may be between two tokens, and would find that
        # broken before it finds itself cancelled.
        self._nursery.cancel_scope.cancel()
        with self._receive:
            return await self._tasks.__aexit__(exc_type, exc_value, tb)  # noqa: ASYNC102 - as said


class Relay:
    """What the tasks of one request share; opened by :func:`open_relay`."""

    def __init__(
        self,
        receive: trio.MemoryReceiveChannel[bytes],
        encoder: Encoder,
        limits: Limits,
        writer: ChunkWriter | None,
    ) -> None:
        """Begin: the deadline and the first heartbeat count from now."""
        self.started = trio.current_time()
        #: When the model's first token came, on trio's clock.
        self.first_token: float | None = None
        #: Tokens that the model has sent.
        self.tokens = 0
        #: How the model's side ended, once it has.
        self.ending: Outcome | None = None
        #: The way to the browser past the channel.
        self.writer = writer
        self._is_delivered = False
        self._is_left = False
        self._open_call: Stream[GenerateRequest, GenerateResponse] | None = None
        #: The body waits, and nothing is on its way to it.
        self._is_awaited = False
        self._last_chunk = self.started
        self._receive = receive
        self._encoder = encoder
        self._limits = limits
        #: What the heartbeat sleeps in.
        self._silence = trio.CancelScope()
        # The model's part of the reader, and how the answer ends if that is cut off. A scope of our
        # own, though the call has the same deadline: the reader may be waiting for a browser that
        # does not read, and not for the call.
        self._answer = trio.CancelScope(deadline=self.started + limits.deadline)
        self._if_cut_off = LATE

    def cause(self, *, otherwise: Cause) -> Cause:
        """Return why the request is over; ``otherwise`` if the answer was still on its way.

        An answer is done when the browser's connection has taken the last event, not before.
        """
        is_lost = self.ending is DONE and not self._is_delivered
        if self.ending is None or self._is_left or is_lost:
            return otherwise
        return self.ending.cause

    def stop(self) -> None:
        """Give up the answer because the gateway stops, and say so in its last event.

        An answer that has ended by itself stays as it is.
        """
        self._if_cut_off = STOPPED
        self._answer.cancel()

    def disconnect(self) -> None:
        """Reset the model's stream at once, because the browser has left; a plain call.

        The tasks are cancelled beside, and would do it when it is their turn. How an answer ends
        after this does not count.
        """
        self._is_left = self._is_left or self.ending is None
        if self._open_call is not None:
            self._open_call.release()

    # -- the body's side ------------------------------------------------------------------------

    async def next_chunk(self) -> bytes:
        """Wait for an event, and return all that are there as one piece of the body.

        So a write to the socket carries one token when they come one at a time, and as many as
        the channel holds when they come faster than the browser takes them.

        It may be empty: the writer has something left that it could not write at once.

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
        return chunk + self._drain()

    async def _next_event(self) -> bytes:
        try:
            return self._receive.receive_nowait()
        except trio.WouldBlock:
            self._is_awaited = True
        # After the `except`: in it, a stream that is idle would keep the error and its frames.
        return await self._receive.receive()

    def _drain(self) -> bytes:
        chunks: list[bytes] = []
        try:
            while True:
                chunks.append(self._receive.receive_nowait())
        except (trio.WouldBlock, trio.EndOfChannel):
            return b"".join(chunks)

    # -- the reader -----------------------------------------------------------------------------

    async def read(
        self, send: trio.MemorySendChannel[bytes], model: "Channel", prompt: GenerateRequest
    ) -> None:
        """Put the model's answer into the channel, and the event that ends it last."""
        with send:
            ending: Outcome | None = None
            with self._answer:
                ending = await self._read_answer(send, model, prompt)
            self.ending = ending = ending or self._if_cut_off
            self._silence.cancel()  # the heartbeat ends
            await self._put(self._last_event(ending), send)

    async def _read_answer(
        self, send: trio.MemorySendChannel[bytes], model: "Channel", prompt: GenerateRequest
    ) -> Outcome:
        try:
            async with self._call(model) as call:
                self._open_call = call
                await call.send_message(prompt, end=True)
                return await self._forward(call, send)
        except GRPCError as error:
            return outcome_of(error)
        except Exception:  # noqa: BLE001 - a bug of ours; the stream still ends with an event
            # Quart reports that a browser left and drops what went wrong with it: say so here.
            _log.exception("relay failed")
            return INTERNAL

    def _call(self, model: "Channel") -> "Stream[GenerateRequest, GenerateResponse]":
        # The call itself and not betterproto's stub: entering and leaving it is all there is.
        return model.request(
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
        # For a body that waits, all that is there is one chunk; the channel counts events.
        while responses := await call.recv_messages(_AT_ONCE if self._is_awaited else 1):
            last = responses[-1]
            tokens = [_token_of(response) for response in responses]
            is_done = not tokens[-1] and last.done  # in this order: most messages need one look
            if is_done:
                tokens.pop()
            if tokens:
                self._count(len(tokens))
                await self._put(b"".join(map(self._encoder.token, tokens)), send)
            if is_done:
                return DONE
        return DONE if last is not None and last.done else CUT_SHORT

    def _count(self, tokens: int) -> None:
        if self.first_token is None:
            self.first_token = trio.current_time()
        self.tokens += tokens

    async def _put(self, chunk: bytes, send: trio.MemorySendChannel[bytes]) -> None:
        try:
            self._put_nowait(chunk, send)
        except trio.WouldBlock:
            await send.send(chunk)

    def _put_nowait(self, chunk: bytes, send: trio.MemorySendChannel[bytes]) -> None:
        """Put a chunk into the channel, unless the body waits for one that can be written at once.

        Raises:
            trio.WouldBlock: the channel is full.

        """
        if self._is_awaited and self.writer is not None:
            self._last_chunk = trio.current_time()
            if self.writer.write_nowait(chunk):
                return
            chunk = b""  # the body waits for the browser to take what is left
        self._is_awaited = False
        send.send_nowait(chunk)

    def _last_event(self, ending: Outcome) -> bytes:
        if ending is DONE:
            return sse.DONE
        return self._encoder.error(ending.message, code=ending.code, cause=ending.cause)

    # -- the heartbeat --------------------------------------------------------------------------

    async def beat(self, send: trio.MemorySendChannel[bytes]) -> None:
        """Put a ping into the channel whenever nothing has come out of it for too long.

        Pings do not touch the deadline: they would hide a model that is dead.
        """
        with send:
            while self.ending is None:
                due = self._last_chunk + self._limits.heartbeat
                with trio.CancelScope(deadline=due) as self._silence:
                    await trio.sleep_forever()
                self._ping_if_due(send)

    def _ping_if_due(self, send: trio.MemorySendChannel[bytes]) -> None:
        now = trio.current_time()
        if self.ending is None and now >= self._last_chunk + self._limits.heartbeat:
            self._last_chunk = now
            with suppress(trio.WouldBlock):  # who has events to read needs no ping
                self._put_nowait(sse.PING, send)
