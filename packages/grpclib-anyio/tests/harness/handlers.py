"""Handlers of every kind, which count how many of them run."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Self, cast

import anyio
from anyio.lowlevel import checkpoint
from anyio.streams.memory import MemoryObjectReceiveStream

from grpclib_anyio.server import Stream
from harness.conversation import ConversationBase, Line
from harness.peer import Methods

LISTEN = "/conversation.Conversation/Listen"


class Handlers(ConversationBase):
    """grpclib's and betterproto's, the last a generator."""

    def __init__(self) -> None:
        self.running = 0

    @property
    def services(self) -> list[Any]:
        return [Methods(stream=self.repeat, both=self.echo), self]

    async def repeat(self, stream: Stream[bytes, bytes]) -> None:
        """Send the message twice."""
        async with self.counted():
            message = await stream.recv_message() or b""
            for _ in range(2):
                await stream.send_message(message)
                await checkpoint()

    async def echo(self, stream: Stream[bytes, bytes]) -> None:
        """Send each message."""
        async with self.counted():
            async for message in stream:
                await stream.send_message(message)

    async def listen(self, line: Line) -> AsyncIterator[Line]:  # noqa: ASYNC900 - closed by the transport
        """Send each word."""
        async with self.counted():
            for word in line.text.split():
                await checkpoint()
                yield Line(word)  # noqa: ASYNC119 - closed by the transport

    @asynccontextmanager
    async def counted(self) -> AsyncGenerator[None]:
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1

    async def assist(self) -> None:
        """Run beside a handler for as long as it does."""
        async with self.counted():
            await anyio.sleep_forever()


class Holding(Handlers):
    """Answers with a context manager over the words."""

    def listen(self, line: Line) -> "Held":  # the transport takes it, too
        return Held(self, line)


class Held(AbstractAsyncContextManager["Held"]):
    """An answer that holds a task group, and a task in it, for as long as it is read."""

    def __init__(self, handlers: Handlers, line: Line) -> None:
        self._handlers = handlers
        self._words = iter(line.text.split())
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._handlers.counted())
        tasks = await self._stack.enter_async_context(anyio.create_task_group())
        self._stack.callback(tasks.cancel_scope.cancel)
        tasks.start_soon(self._handlers.assist)
        return self

    async def __aexit__(self, *exception: object) -> bool | None:
        details = cast("tuple[None, None, None]", exception)
        return await self._stack.__aexit__(*details)  # noqa: ASYNC102 - cancels first

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Line:
        await checkpoint()
        for word in self._words:
            return Line(word)
        raise StopAsyncIteration


class Grouping(Handlers):
    """Answers from a task beside the one that reads."""

    async def echo(self, stream: Stream[bytes, bytes]) -> None:
        """Send each message, with another task's help."""
        send, receive = anyio.create_memory_object_stream[bytes](1)
        async with self.counted(), anyio.create_task_group() as tasks:
            tasks.start_soon(self._send_all, stream, receive)
            with send:
                async for message in stream:
                    await send.send(message)

    async def _send_all(
        self, stream: Stream[bytes, bytes], receive: MemoryObjectReceiveStream[bytes]
    ) -> None:
        async with self.counted():
            with receive:
                async for message in receive:
                    await stream.send_message(message)
