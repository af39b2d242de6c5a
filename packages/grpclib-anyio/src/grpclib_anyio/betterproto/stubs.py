"""What generated stubs leave open, closed from outside; betterproto's and betterproto2's.

Three things are wrong for us in the base class of the stubs, ``ServiceStub``, which is the same in
both:

- ``_unary_stream`` is a generator inside the stub's own generator. Closing the outer one leaves the
  inner one, and with it the call, to the garbage collector.
- ``_stream_stream`` is one, too; it sends in an asyncio task, which it abandons. On trio there is
  none, and the call would fail or wait without end.
- ``_stream_unary`` sends all before it looks at the answer. A call that has failed goes on for as
  long as the requests do.

The generated code stands as it is, and users need do nothing. The one place that every stub passes
is its constructor, which is given the channel: on a channel of ours, :func:`mend_stubs` has it
exchange the object's class for one derived from it, in which those helpers are replaced. Stubs on
grpclib's channel keep betterproto's.

The answer of a streaming call is then an object that *owns* the call, and not a generator. It lets
go of the call by plain calls: when it is exhausted or fails, when it is closed, and when it is
dropped. So RST_STREAM is queued before ``aclosing(stub.method(...))`` is left, and before the
statement after a ``break`` is run.
"""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable
from contextlib import aclosing, suppress
from functools import cache, wraps
from inspect import isasyncgenfunction, isfunction
from threading import get_ident
from typing import Any, Generic, TypeAlias, TypeVar, cast

import anyio
from anyio.lowlevel import current_token
from grpclib.const import Cardinality

from grpclib_anyio._base.errors import GRPCError
from grpclib_anyio._call.client import Stream

__all__ = ["mend_stubs"]

_T = TypeVar("_T")
_Requests: TypeAlias = AsyncIterable[Any] | Iterable[Any]


class _Home:
    """The thread that an object belongs to: in a cycle it can become garbage in any other."""

    def __init__(self) -> None:
        loop: Any = current_token().native_token
        self._thread = get_ident()
        # Of trio and of asyncio.
        self._run_soon = getattr(loop, "run_sync_soon", None) or loop.call_soon_threadsafe

    def run(self, function: Callable[[], None]) -> None:
        """Call ``function`` now if this is the thread, and in the thread soon if not."""
        if get_ident() == self._thread:
            function()
        else:
            with suppress(RuntimeError):  # the loop is over, and the connection with it
                self._run_soon(function)


class _Answer(Generic[_T]):
    """The messages of one call. Owns the call."""

    def __init__(self, call: Stream[Any, _T]) -> None:
        self._call = call
        self._home: _Home | None = None  # nothing has been sent
        self._is_over = False

    def __aiter__(self) -> AsyncIterator[_T]:
        return self

    async def __anext__(self) -> _T:
        if self._is_over:
            raise StopAsyncIteration
        try:
            if self._home is None:
                self._home = _Home()
                await self._start()
            message = await self._call.recv_message()
        except BaseException as error:
            self._end()
            if isinstance(error, GRPCError):
                self._raise_own_error()
            # May prefer the status that the server sent.
            await self._call.__aexit__(type(error), error, error.__traceback__)  # noqa: ASYNC102 - awaits nothing after an exception
            raise
        if message is None:
            self._end()
            await self._call.__aexit__(None, None, None)  # waits for the status
            raise StopAsyncIteration
        return message

    def __del__(self) -> None:
        if not (self._is_over or self._home is None):
            self._home.run(self._let_go)

    def _let_go(self) -> None:
        self._end()
        self._call.release()

    async def _start(self) -> None:
        raise NotImplementedError

    def _end(self) -> None:
        self._is_over = True

    def _raise_own_error(self) -> None:
        pass


class _AnswerToOne(_Answer[_T]):
    """The answer to a call with one request."""

    def __init__(self, call: Stream[Any, _T], request: Any) -> None:
        super().__init__(call)
        self._request = request

    async def _start(self) -> None:
        await self._call.send_message(self._request, end=True)


class _AnswerToMany(_Answer[_T]):
    """The answer to a call whose requests are sent while it is received.

    They are sent by a task of the channel's, which ends with the call. An error that the caller's
    iterator raises there ends the call and is raised from the answer.
    """

    def __init__(self, call: Stream[Any, _T], requests: _Requests) -> None:
        super().__init__(call)
        self._sender = _Sender(call, requests)

    async def _start(self) -> None:
        await self._call.send_request()
        self._call.tasks.start_soon(self._sender.run, name="requests of a call")

    def _end(self) -> None:
        super()._end()
        self._sender.scope.cancel()

    def _raise_own_error(self) -> None:
        if self._sender.error is not None:
            self._call.release()
            raise self._sender.error from None


class _Sender:
    """Sends the requests of a call. Does not know the answer, which can be dropped meanwhile."""

    def __init__(self, call: Stream[Any, Any], requests: _Requests) -> None:
        self.scope = anyio.CancelScope()
        self.error: Exception | None = None
        self._call = call
        self._requests = requests

    async def run(self) -> None:
        with self.scope:
            try:
                await self._send()
            except Exception as error:  # noqa: BLE001 - the caller's own, raised where it can see it
                self.error = error
                await self._call.cancel()

    async def _send(self) -> None:
        if not isinstance(self._requests, AsyncGenerator):
            await self._send_all(self._requests)
            return
        # Nobody else closes it when the call ends before the requests do.
        async with aclosing(cast("AsyncGenerator[Any]", self._requests)) as requests:  # pyright: ignore[reportUnknownMemberType]
            await self._send_all(requests)

    async def _send_all(self, requests: _Requests) -> None:
        if isinstance(requests, AsyncIterable):
            async for request in requests:
                if not await self._has_sent(request):
                    return
        else:
            for request in requests:
                if not await self._has_sent(request):
                    return
        await self._call.end()

    async def _has_sent(self, request: Any) -> bool:
        try:
            await self._call.send_message(request)
        except GRPCError:
            return False
        return True


class _Helpers:
    """What replaces the helpers of ``ServiceStub``, with their names and arguments.

    Not a base class: with two bases, the class that is made has a layout of its own, which the
    object that is there has not.
    """

    channel: Any
    timeout: float | None
    deadline: Any
    metadata: Any

    def _unary_stream(
        self,
        route: str,
        request: Any,
        response_type: type[_T],
        **options: Any,
    ) -> AsyncIterator[_T]:
        kind = Cardinality.UNARY_STREAM
        call = self._call(route, kind, request.__class__, response_type, options)
        return _AnswerToOne(call, request)

    def _stream_stream(
        self,
        route: str,
        request_iterator: _Requests,
        request_type: type[Any],
        response_type: type[_T],
        **options: Any,
    ) -> AsyncIterator[_T]:
        kind = Cardinality.STREAM_STREAM
        call = self._call(route, kind, request_type, response_type, options)
        return _AnswerToMany(call, request_iterator)

    async def _stream_unary(
        self,
        route: str,
        request_iterator: _Requests,
        request_type: type[Any],
        response_type: type[_T],
        **options: Any,
    ) -> _T:
        kind = Cardinality.STREAM_UNARY
        call = self._call(route, kind, request_type, response_type, options)
        answer = _AnswerToMany(call, request_iterator)
        message = await anext(answer)  # there is one: a call without it fails
        await anext(answer, None)  # the status
        return message

    def _call(
        self,
        route: str,
        cardinality: Cardinality,
        request_type: type[Any],
        response_type: type[_T],
        options: dict[str, Any],
    ) -> Stream[Any, _T]:
        for name in ("timeout", "deadline", "metadata"):
            if options.get(name) is None:
                options[name] = getattr(self, name)
        call: Stream[Any, _T] = self.channel.request(
            route, cardinality, request_type, response_type, **options
        )
        return call


class _Owned(Generic[_T]):
    """A stub's generator, closed when it is dropped.

    Event loops close a generator that is garbage later, in a task of their own, and trio warns.
    This one awaits nothing when it is closed, because an :class:`_Answer` is all that is in it.
    """

    def __init__(self, messages: AsyncGenerator[_T]) -> None:
        self._messages = messages
        self._thread = get_ident()

    def __aiter__(self) -> AsyncIterator[_T]:
        return self

    async def __anext__(self) -> _T:  # a coroutine, so that this is not dropped meanwhile
        return await anext(self._messages)

    async def aclose(self) -> None:
        """Let go of the call; not a checkpoint."""
        await self._messages.aclose()

    def __del__(self) -> None:
        # In a cycle it can become garbage in any thread. Then the generator is the event loop's,
        # after all; the call is ended by the answer in it.
        if get_ident() == self._thread:
            with suppress(StopIteration):
                self._messages.aclose().send(None)


def _owned(method: Callable[..., AsyncGenerator[_T]]) -> Callable[..., AsyncIterator[_T]]:
    @wraps(method)
    def wrapper(*args: Any, **kwargs: Any) -> AsyncIterator[_T]:
        return _Owned(method(*args, **kwargs))

    return wrapper


def _is_generated(method: Any) -> bool:
    helpers = {"_unary_stream", "_stream_stream"}
    return isasyncgenfunction(method) and not helpers.isdisjoint(method.__code__.co_names)


@cache  # as many as there are stubs in the program
def _mended(stub: type[Any]) -> type[Any]:
    members = {name: getattr(stub, name) for name in dir(stub)}
    body: dict[str, Any] = {name: part for name, part in vars(_Helpers).items() if isfunction(part)}
    body |= {name: _owned(member) for name, member in members.items() if _is_generated(member)}
    names = {"__module__": stub.__module__, "__qualname__": stub.__qualname__}
    return type(stub.__name__, (stub,), {**body, **names, "__doc__": stub.__doc__})


def mend_stubs(stub_base: Any, channel_type: type[Any]) -> None:
    """Have the stubs of a library use the helpers of this module on channels of a type.

    Replaces the constructor of ``stub_base``, the library's class ``ServiceStub``.
    """
    construct: Callable[..., None] = stub_base.__init__

    @wraps(construct)
    def construct_mended(self: Any, channel: Any, **options: Any) -> None:
        construct(self, channel, **options)
        if isinstance(channel, channel_type):
            self.__class__ = _mended(cast("Any", type(self)))

    stub_base.__init__ = construct_mended
