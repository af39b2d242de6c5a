"""Connections that are kept for the next request, and that the provider closes before it."""

import pytest
import trio
from grpclib.const import Status

from tests.support.answers import failure_of, whole_answer
from tests.support.provider_backend import provider_backend
from tests.support.provider_server import CUT, HANG_UP, STALL, Reply
from tests.support.provider_wires import Wire

pytestmark = pytest.mark.trio

CLOSED = Reply((HANG_UP,))


async def test_a_request_that_finds_its_connection_closed_is_made_again(wire: Wire) -> None:
    answer = wire.reply(wire.answer("x"))
    async with provider_backend(wire, answer, CLOSED, answer) as (backend, server):
        for _ in range(2):
            assert (await whole_answer(backend))[0] == ["x"]
        assert [exchange.path for exchange in server.exchanges] == [wire.endpoint] * 3
        assert server.connections_made == 2


async def test_it_is_made_again_at_once(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay_model.backends.providers.provider._FIRST_WAIT", 1000)
    answer = wire.reply(wire.answer("x"))
    async with provider_backend(wire, answer, CLOSED, answer) as (backend, _):
        await whole_answer(backend)
        with trio.fail_after(5):
            assert (await whole_answer(backend))[0] == ["x"]


async def test_the_same_of_a_connection_that_was_reset(wire: Wire) -> None:
    answer = wire.reply(wire.answer("x"))
    async with provider_backend(wire, answer, CLOSED, answer) as (backend, server):
        await whole_answer(backend)
        server.resets = True
        assert (await whole_answer(backend))[0] == ["x"]


async def test_one_that_is_closed_before_the_request_is_not_used(wire: Wire) -> None:
    answer = wire.reply(wire.answer("x"))
    async with provider_backend(wire, answer, retries=0) as (backend, server):
        await whole_answer(backend)
        server.close_connections()
        await server.until_no_connection()
        assert (await whole_answer(backend))[0] == ["x"]
        assert server.connections_made == 2


async def test_a_new_connection_that_is_closed_is_a_failure(wire: Wire) -> None:
    """The provider may have begun to answer: nothing says that it has not."""
    async with provider_backend(wire, CLOSED, wire.reply(wire.answer("x"))) as (backend, server):
        assert (await failure_of(backend))[1].status is Status.UNAVAILABLE
        assert len(server.exchanges) == 1


async def test_a_response_that_has_begun_is_not_asked_for_again(wire: Wire) -> None:
    answer = wire.reply(wire.answer("x"))
    async with provider_backend(wire, answer, wire.reply(wire.start, CUT), answer) as (
        backend,
        server,
    ):
        await whole_answer(backend)
        assert (await failure_of(backend))[1].status is Status.UNAVAILABLE
        assert len(server.exchanges) == 2


async def test_a_provider_that_is_silent_is_not_asked_again(wire: Wire) -> None:
    replies = wire.reply(wire.answer("x")), Reply((STALL,), headers=wire.headers)
    async with provider_backend(wire, *replies, read_timeout=0.3) as (backend, server):
        await whole_answer(backend)
        server.is_silent = True
        assert (await failure_of(backend))[1].status is Status.DEADLINE_EXCEEDED
        assert len(server.exchanges) == 2


async def test_attempts_are_bounded_here_too(wire: Wire) -> None:
    answer = wire.reply(wire.answer("x"))
    async with provider_backend(wire, answer, CLOSED, retries=0) as (backend, server):
        await whole_answer(backend)
        assert (await failure_of(backend))[1].status is Status.UNAVAILABLE
        assert len(server.exchanges) == 2
