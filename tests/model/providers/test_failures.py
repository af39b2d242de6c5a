"""What a provider's failures become: statuses, delays, other attempts."""

from collections.abc import Mapping
from typing import Any

import pytest
import trio
from grpclib.const import Status
from trio.testing import wait_all_tasks_blocked

from relay_model.backends.registry import open_backend
from tests.support.answers import failure_of, whole_answer
from tests.support.provider_backend import provider_backend, settings_for
from tests.support.provider_server import CUT, STALL, Reply
from tests.support.provider_wires import ANTHROPIC, OLLAMA, OPENAI, Wire

pytestmark = pytest.mark.trio

INTERNALS = "at layer 7 of node gpu-12"

# -- refused with a status ----------------------------------------------------------------------


MEANINGS = {
    400: Status.INVALID_ARGUMENT,
    401: Status.UNAUTHENTICATED,
    402: Status.RESOURCE_EXHAUSTED,
    403: Status.PERMISSION_DENIED,
    404: Status.NOT_FOUND,
    413: Status.INVALID_ARGUMENT,
    418: Status.INTERNAL,
    422: Status.INVALID_ARGUMENT,
    429: Status.RESOURCE_EXHAUSTED,
    500: Status.UNAVAILABLE,
    502: Status.UNAVAILABLE,
    504: Status.UNAVAILABLE,
    529: Status.RESOURCE_EXHAUSTED,
}


async def test_each_status_has_its_meaning(wire: Wire) -> None:
    replies = [wire.refusal(status, INTERNALS) for status in MEANINGS]
    async with provider_backend(wire, *replies, retries=0) as (backend, _):
        for status, expected in MEANINGS.items():
            read, failure = await failure_of(backend)
            assert (read, failure.status, failure.retry_after) == ([], expected, None)
            assert INTERNALS not in failure.message
            assert failure.detail is not None
            assert failure.detail.startswith(f"HTTP {status}: ")
            assert INTERNALS in failure.detail


async def test_an_ollama_server_with_a_full_queue_is_busy() -> None:
    reply = OLLAMA.refusal(503, "server busy, please try again")
    async with provider_backend(OLLAMA, reply, retries=0) as (backend, _):
        assert (await failure_of(backend))[1].status is Status.RESOURCE_EXHAUSTED


async def test_a_page_of_html_is_a_refusal_too(wire: Wire) -> None:
    page = Reply((b"<html>" + b"x" * 100_000,), 502, {"content-type": "text/html"})
    async with provider_backend(wire, page, retries=0) as (backend, _):
        failure = (await failure_of(backend))[1]
    assert failure.status is Status.UNAVAILABLE
    assert len(failure.detail or "") <= 500


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            {"code": "insufficient_quota"},
            (Status.RESOURCE_EXHAUSTED, "The model is used up for now."),
        ),
        ({"code": "context_length_exceeded"}, (Status.INVALID_ARGUMENT, "The prompt is too long.")),
        (
            {"type": "exceed_context_size_error"},
            (Status.INVALID_ARGUMENT, "The prompt is too long."),
        ),
    ],
)
async def test_openai_says_more_than_a_status(
    error: dict[str, str], expected: tuple[Status, str]
) -> None:
    body = b'{"error": ' + repr(error).replace("'", '"').encode() + b"}"
    reply = Reply((body,), 429, {"content-type": "application/json"})
    async with provider_backend(OPENAI, reply) as (backend, server):
        failure = (await failure_of(backend))[1]
    assert (failure.status, failure.message) == expected
    assert len(server.exchanges) == 1


# -- other attempts -----------------------------------------------------------------------------


async def test_the_providers_delay_is_passed_on(wire: Wire) -> None:
    reply = wire.refusal(429, retry_after="120")
    async with provider_backend(wire, reply) as (backend, server):
        failure = (await failure_of(backend))[1]
    assert (failure.status, failure.retry_after) == (Status.RESOURCE_EXHAUSTED, 120)
    # It is longer than anyone should hold a place for.
    assert len(server.exchanges) == 1


BUSY: Mapping[str, Any] = {"status": 529, "retry_after_ms": "10"}


async def test_a_request_is_made_again_where_the_provider_says_when(wire: Wire) -> None:
    replies = wire.refusal(**BUSY), wire.refusal(**BUSY), wire.reply(wire.answer("x"))
    async with provider_backend(wire, *replies) as (backend, server):
        assert (await whole_answer(backend))[0] == ["x"]
    assert len(server.exchanges) == 3


async def test_without_a_delay_it_is_made_again_after_a_while(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay_model.backends.providers.provider._FIRST_WAIT", 0.02)
    async with provider_backend(wire, wire.refusal(500), wire.reply(wire.answer("x"))) as (
        backend,
        server,
    ):
        assert (await whole_answer(backend))[0] == ["x"]
    assert len(server.exchanges) == 2


async def test_attempts_are_bounded(wire: Wire) -> None:
    async with provider_backend(wire, wire.refusal(**BUSY), retries=3) as (backend, server):
        failure = (await failure_of(backend))[1]
    assert (failure.status, failure.retry_after) == (Status.RESOURCE_EXHAUSTED, 0.01)
    assert len(server.exchanges) == 4


async def test_the_provider_may_say_that_it_is_no_use(wire: Wire) -> None:
    async with provider_backend(wire, wire.refusal(**BUSY, x_should_retry="false")) as (
        backend,
        server,
    ):
        await failure_of(backend)
    assert len(server.exchanges) == 1


async def test_the_provider_may_say_that_it_is_of_use(wire: Wire) -> None:
    refusal = wire.refusal(400, x_should_retry="true", retry_after_ms="1")
    async with provider_backend(wire, refusal, wire.reply(wire.answer("x"))) as (backend, _):
        assert (await whole_answer(backend))[0] == ["x"]


async def test_what_will_not_change_is_not_tried_again() -> None:
    statuses = 400, 401, 402, 403, 404, 413, 422
    replies = [ANTHROPIC.refusal(status, retry_after="0") for status in statuses]
    async with provider_backend(ANTHROPIC, *replies) as (backend, server):
        for _ in statuses:
            await failure_of(backend)
    assert len(server.exchanges) == len(statuses)


async def test_there_is_no_attempt_that_the_deadline_would_cut_off(wire: Wire) -> None:
    reply = wire.refusal(429, retry_after="5")
    async with provider_backend(wire, reply) as (backend, server):
        with trio.fail_after(4):
            failure = (await failure_of(backend))[1]
    assert (failure.status, failure.retry_after) == (Status.RESOURCE_EXHAUSTED, 5)
    assert len(server.exchanges) == 1


async def test_waiting_for_another_attempt_can_be_cancelled(wire: Wire) -> None:
    reply = wire.refusal(429, retry_after="9")
    async with provider_backend(wire, reply) as (backend, server), trio.open_nursery() as nursery:
        nursery.start_soon(whole_answer, backend)
        await server.exchange()
        await wait_all_tasks_blocked(0.02)
        nursery.cancel_scope.cancel()
    assert len(server.exchanges) == 1


# -- errors within an answer --------------------------------------------------------------------

KINDS = {
    ANTHROPIC.name: ("overloaded_error", Status.RESOURCE_EXHAUSTED),
    OPENAI.name: ("rate_limit_exceeded", Status.RESOURCE_EXHAUSTED),
    OLLAMA.name: ("", Status.UNAVAILABLE),
}


async def test_an_error_within_an_answer_fails_it(wire: Wire) -> None:
    kind, status = KINDS[wire.name]
    error = wire.failed(wire.error(kind, INTERNALS))
    async with provider_backend(wire, wire.reply(wire.start + wire.text("half"), error)) as (
        backend,
        server,
    ):
        read, failure = await failure_of(backend)
    assert (read, failure.status) == (["half"], status)
    assert INTERNALS not in failure.message
    assert INTERNALS in str(failure.detail)
    # Something of the answer was seen: another attempt would begin it again.
    assert len(server.exchanges) == 1


async def test_an_overload_before_the_first_token_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("relay_model.backends.providers.provider._FIRST_WAIT", 0.02)
    overload = ANTHROPIC.failed(ANTHROPIC.error("overloaded_error", "Overloaded"))
    replies = ANTHROPIC.reply(ANTHROPIC.start, overload), ANTHROPIC.reply(ANTHROPIC.answer("x"))
    async with provider_backend(ANTHROPIC, *replies) as (backend, _):
        assert (await whole_answer(backend))[0] == ["x"]


async def test_servers_put_openais_errors_in_many_ways() -> None:
    errors: list[tuple[Any, Status]] = [
        ({"error": {"code": 400, "message": "no"}}, Status.INVALID_ARGUMENT),
        ({"error": {"code": 503, "type": "unavailable_error"}}, Status.UNAVAILABLE),
        ({"error": {"code": 1234, "type": "x"}}, Status.UNAVAILABLE),
        ({"error": {"code": None, "type": "server_error"}}, Status.UNAVAILABLE),
        ({"error": {"code": 400, "type": "exceed_context_size_error"}}, Status.INVALID_ARGUMENT),
        ({"error": "out of memory"}, Status.UNAVAILABLE),
        ({"object": "error", "type": "BadRequestError", "code": 400}, Status.INVALID_ARGUMENT),
        ({"error": {"code": ["?"]}}, Status.INTERNAL),
    ]
    replies = [OPENAI.reply(OPENAI.failed(error)) for error, _ in errors]
    async with provider_backend(OPENAI, *replies, retries=0) as (backend, _):
        assert [(await failure_of(backend))[1].status for _ in errors] == [s for _, s in errors]


# -- answers that are not whole -----------------------------------------------------------------


async def test_an_answer_without_its_end_is_not_whole(wire: Wire) -> None:
    async with provider_backend(wire, wire.reply(wire.start, wire.text("half"))) as (backend, _):
        read, failure = await failure_of(backend)
    assert (read, failure.status) == (["half"], Status.UNAVAILABLE)


async def test_a_connection_that_is_lost_fails_the_answer(wire: Wire) -> None:
    reply = wire.reply(wire.start, wire.text("half"), CUT)
    async with provider_backend(wire, reply) as (backend, server):
        read, failure = await failure_of(backend)
    assert (read, failure.status) == (["half"], Status.UNAVAILABLE)
    assert failure.message == "The model cannot be reached at the moment."
    assert len(server.exchanges) == 1


async def test_anthropics_answer_ends_with_message_stop() -> None:
    end = ANTHROPIC.end("end_turn", 5, 3).rpartition(b"event: message_stop")[0]
    reply = ANTHROPIC.reply(ANTHROPIC.start + ANTHROPIC.text("half") + end)
    async with provider_backend(ANTHROPIC, reply) as (backend, _):
        assert (await failure_of(backend))[1].status is Status.UNAVAILABLE


async def test_openais_done_is_no_reason_to_end() -> None:
    reply = OPENAI.reply(OPENAI.start + OPENAI.text("half") + b"data: [DONE]\n\n", STALL)
    async with provider_backend(OPENAI, reply) as (backend, _):
        with trio.fail_after(5):
            assert (await failure_of(backend))[1].status is Status.UNAVAILABLE


async def test_a_connection_that_is_lost_after_the_end_fails_nothing(wire: Wire) -> None:
    async with provider_backend(wire, wire.reply(wire.answer("x"), CUT)) as (backend, _):
        assert (await whole_answer(backend))[0] == ["x"]


async def test_a_malformed_response_fails_the_answer(wire: Wire) -> None:
    junk = [b"{", b"[]", b"\xff", b"null"]
    if wire is not ANTHROPIC:  # there, an event of an unknown name is no part of the answer
        junk.append(b'{"choices": 3, "done": []}')
    before, after = (b"", b"\n") if wire is OLLAMA else (b"event: x\ndata: ", b"\n\n")
    half = wire.start + wire.text("half")
    replies = [wire.reply(half, before + piece + after, wire.end("x", 1, 1)) for piece in junk]
    async with provider_backend(wire, *replies) as (backend, _):
        for _ in junk:
            read, failure = await failure_of(backend)
            assert (read, failure.status) == (["half"], Status.INTERNAL)
            assert failure.message == "The model's answer could not be read."


async def test_text_that_is_none_fails_the_answer(wire: Wire) -> None:
    number = wire.text("42").replace(b'"42"', b"42")
    async with provider_backend(wire, wire.reply(wire.start + number + wire.end("x", 1, 1))) as (
        backend,
        _,
    ):
        assert (await failure_of(backend))[1].status is Status.INTERNAL


async def test_a_web_page_is_no_answer() -> None:
    page = Reply((b"<html>Please log in</html>",), headers={"content-type": "text/html"})
    async with provider_backend(OPENAI, page) as (backend, _):
        assert (await failure_of(backend))[1].status in {Status.INTERNAL, Status.UNAVAILABLE}


# -- the connection -----------------------------------------------------------------------------


async def test_a_provider_that_is_not_there_is_unavailable(wire: Wire) -> None:
    async with provider_backend(wire, wire.reply()) as (_, server):
        url = server.url
    async with open_backend(settings_for(wire, url)) as backend:
        failure = (await failure_of(backend))[1]
    assert failure.status is Status.UNAVAILABLE
    assert "ConnectError" in str(failure.detail)


async def test_a_provider_that_says_nothing_is_given_up(wire: Wire) -> None:
    silent = Reply((), headers=wire.headers)
    async with provider_backend(wire, silent, read_timeout=0.3) as (backend, server):
        server.is_silent = True
        failure = (await failure_of(backend))[1]
        assert failure.status is Status.DEADLINE_EXCEEDED
        with trio.fail_after(5):
            await server.exchanges[0].closed.wait()


async def test_a_provider_that_falls_silent_is_given_up(wire: Wire) -> None:
    reply = wire.reply(wire.start, wire.text("half"), STALL)
    async with provider_backend(wire, reply, read_timeout=0.5) as (backend, server):
        read, failure = await failure_of(backend)
        assert (read, failure.status) == (["half"], Status.DEADLINE_EXCEEDED)
        with trio.fail_after(5):
            await server.exchanges[0].closed.wait()
