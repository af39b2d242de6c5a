"""What generated services leave open, closed from outside; betterproto's and betterproto2's.

The generated classes are used as they are. They look their helpers up on the service *instance*, so
a helper that is set there replaces the one that it would inherit, for this service only.

``_call_rpc_handler_server_stream`` iterates over the handler's async generator and, when the call
is cancelled, leaves it to the garbage collector: the handler's ``finally`` runs late, in another
task. The helper here closes the generator before the call ends.

It also takes a handler that returns an async context manager over the messages. Such a handler may
hold a cancel scope or a task group for the whole of its answer, which a generator must not
(PEP 789).
"""

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from inspect import iscoroutine
from typing import Any, Protocol, Self, cast, runtime_checkable

__all__ = ["close_generators"]


class _Sink(Protocol):
    async def send_message(self, message: Any, /) -> None: ...


@runtime_checkable
class _Closable(Protocol):
    async def aclose(self) -> None: ...


def close_generators(service: object) -> None:
    """Replace the helper of a generated service that runs handlers of streaming methods."""
    vars(service)["_call_rpc_handler_server_stream"] = _send_all


async def _send_all(handler: Callable[[Any], Any], stream: _Sink, request: Any) -> None:
    """Send each message of the handler's answer; the handler is over when this returns."""
    async with _opened(handler(request)) as messages:
        async for message in messages:
            await stream.send_message(message)


def _opened(answer: Any) -> AbstractAsyncContextManager[AsyncIterable[Any]]:
    if isinstance(answer, AbstractAsyncContextManager):
        return cast("AbstractAsyncContextManager[AsyncIterable[Any]]", answer)
    if iscoroutine(answer):  # `async def` without a `yield`: no messages, in betterproto's terms
        answer.close()
        return nullcontext(_NoMessages())
    return _closing(answer)


class _NoMessages:
    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        raise StopAsyncIteration


@asynccontextmanager
async def _closing(messages: AsyncIterable[Any]) -> AsyncGenerator[AsyncIterable[Any]]:
    try:
        yield messages
    finally:
        if isinstance(messages, _Closable):
            # aclose() raises GeneratorExit at the yield. Awaits of the handler's own clean-up
            # happen in the call's scope: when that is cancelled they are, too.
            with _generator_exit_unwrapped():
                await messages.aclose()


@contextmanager
def _generator_exit_unwrapped() -> Generator[None]:
    """Take a ``GeneratorExit`` out of the exception group that a task group around it makes."""
    try:
        yield
    except BaseExceptionGroup as group:
        _, rest = group.split(GeneratorExit)
        if rest is not None:
            raise rest from None
