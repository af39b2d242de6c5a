"""Leaving an answer stops the provider: what its server sees of it, and what stays behind here.

That nothing is left to the garbage collector is held by every test here: trio warns of an async
generator that is, and a warning fails the test.
"""

import gc
import socket
import ssl
from collections.abc import Awaitable, Callable

import pytest
import trio
import trustme
from trio.testing import wait_all_tasks_blocked

from relay_model.backends.protocol import Backend
from relay_model.backends.registry import open_backend
from relay_model.conversation import Conversation
from tests.support.answers import PROMPT, whole_answer
from tests.support.provider_backend import provider_backend, settings_for
from tests.support.provider_server import STALL, ProviderServer, provider_server
from tests.support.provider_wires import Wire

pytestmark = pytest.mark.trio

# Seconds; only a test that fails waits for so long.
PATIENCE = 5

WORDS = ("one ", "two ", "three ", "four ")


async def cancelled_when(
    backend: Backend, ready: Callable[[], Awaitable[object]], *, pieces: int = 0
) -> None:
    """Ask, read `pieces` pieces, wait for one more, and cancel that wait when `ready` returns."""
    read = trio.Event() if pieces else None

    async def ask(scope: trio.CancelScope) -> None:
        with scope:
            async with backend.stream(Conversation.of(PROMPT)) as answer:
                for _ in range(pieces):
                    await anext(answer)
                if read is not None:
                    read.set()
                await anext(answer)

    scope = trio.CancelScope()
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, scope)
            if read is not None:
                await read.wait()
            await ready()
            scope.cancel()
    assert scope.cancelled_caught


async def until_closed(server: ProviderServer) -> None:
    with trio.fail_after(PATIENCE):
        await server.until_no_connection()


# -- where the answer is left -------------------------------------------------------------------


async def test_while_it_connects(wire: Wire) -> None:
    # A queue of one that is full: the next connection is neither taken nor refused.
    with socket.socket() as full, socket.socket() as waiting:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting.connect(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        async with open_backend(settings_for(wire, url)) as backend:
            await cancelled_when(backend, lambda: wait_all_tasks_blocked(0.02))


async def test_while_tls_is_set_up(wire: Wire) -> None:
    greeting, gone = trio.Event(), trio.Event()

    async def say_nothing(stream: trio.SocketStream) -> None:
        async for _ in stream:
            greeting.set()
        gone.set()

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, say_nothing, [listener])
        url = f"https://127.0.0.1:{listener.socket.getsockname()[1]}"
        async with open_backend(settings_for(wire, url)) as backend:
            await cancelled_when(backend, greeting.wait)
            with trio.fail_after(PATIENCE):
                await gone.wait()
        nursery.cancel_scope.cancel()


async def test_before_the_response_begins(wire: Wire) -> None:
    async with provider_backend(wire, wire.reply()) as (backend, server):
        server.is_silent = True
        await cancelled_when(backend, server.exchange)
        await until_closed(server)


async def test_before_the_first_token(wire: Wire) -> None:
    reply = wire.reply(wire.start + wire.noise, STALL)
    async with provider_backend(wire, reply) as (backend, server):

        async def ready() -> None:
            await (await server.exchange()).until_sent(1)

        await cancelled_when(backend, ready)
        await until_closed(server)


async def test_between_two_tokens(wire: Wire) -> None:
    next_token = trio.Event()
    reply = wire.reply(wire.start + wire.text("one "), next_token, wire.text("two "), STALL)
    async with provider_backend(wire, reply) as (backend, server):
        await cancelled_when(backend, trio.lowlevel.checkpoint, pieces=1)
        await until_closed(server)
        # The server was never let to send the second: it saw the end before.
        assert server.exchanges[0].sent == 1


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_with_tokens_that_nobody_has_read(wire: Wire, *, is_cancelled: bool) -> None:
    """Nobody waits for the provider: the one who asked is busy, or has had enough."""
    reply = wire.reply(wire.start + b"".join(map(wire.text, WORDS)), STALL)
    async with provider_backend(wire, reply) as (backend, server):
        with trio.CancelScope() as scope:
            async with backend.stream(Conversation.of(PROMPT)) as answer:
                assert await anext(answer) == WORDS[0]
                if is_cancelled:
                    scope.cancel()
        await until_closed(server)
        assert server.exchanges[0].sent == 1


async def test_because_the_reader_failed(wire: Wire) -> None:
    reply = wire.reply(wire.start + wire.text("one "), STALL)
    async with provider_backend(wire, reply) as (backend, server):

        async def fail() -> None:
            async with backend.stream(Conversation.of(PROMPT)) as answer:
                await anext(answer)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        await until_closed(server)


async def test_at_its_deadline(wire: Wire) -> None:
    reply = wire.reply(wire.start + wire.text("one "), STALL)
    async with provider_backend(wire, reply) as (backend, server):
        with trio.move_on_after(0.1) as scope:
            await whole_answer(backend)
        assert scope.cancelled_caught
        await until_closed(server)


async def test_others_go_on(wire: Wire) -> None:
    gate = trio.Event()
    reply = wire.reply(wire.start + wire.text("one "), gate, wire.answer("two ")[len(wire.start) :])
    async with (
        provider_backend(wire, reply) as (backend, server),
        backend.stream(Conversation.of(PROMPT)) as answer,
    ):
        assert await anext(answer) == "one "
        await cancelled_when(backend, trio.lowlevel.checkpoint, pieces=1)
        with trio.fail_after(PATIENCE):
            await server.exchanges[1].closed.wait()
        gate.set()
        assert await anext(answer) == "two "


# -- at each of its checkpoints -----------------------------------------------------------------


class Cancelling(trio.abc.Instrument):
    """Cancels a scope just before a given step of a task.

    What the task waits for has come by then: what is due now, and the cancellation, are both there.
    """

    def __init__(self, scope: trio.CancelScope, step: int) -> None:
        self._scope = scope
        self._left = step
        self.task: trio.lowlevel.Task | None = None

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.task is not None and self._belongs(task):
            self._left -= 1
            if self._left == 0:
                self._scope.cancel()

    def _belongs(self, task: trio.lowlevel.Task | None) -> bool:
        while task is not None and task is not self.task:
            task = task.parent_nursery.parent_task if task.parent_nursery else None
        return task is not None


async def is_cancelled_at(step: int, backend: Backend) -> bool:
    """Cancel an answer at a step of its task; whether it was still going on."""
    with trio.CancelScope() as scope:
        cancelling = Cancelling(scope, step)
        cancelling.task = trio.lowlevel.current_task()
        trio.lowlevel.add_instrument(cancelling)
        try:
            await whole_answer(backend)
        finally:
            trio.lowlevel.remove_instrument(cancelling)
    return scope.cancelled_caught


async def test_at_every_step_over_tls(wire: Wire, authority: trustme.CA) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)  # pyright: ignore[reportUnknownMemberType] - names a type of pyOpenSSL
    reply = wire.reply(wire.start, wire.text("one "), wire.answer("two ")[len(wire.start) :])
    step = 1
    async with (
        provider_server(reply, context=context) as server,
        open_backend(settings_for(wire, server.url)) as backend,
    ):
        # Each that is cancelled leaves no connection, so each makes its own.
        while await is_cancelled_at(step, backend):
            with trio.fail_after(PATIENCE):
                await server.until_no_connection()
            step += 1
        assert step > 15
        assert server.connections == 1
    gc.collect()
