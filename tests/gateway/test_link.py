"""Messages between two processes, on a socket pair."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio

from harness.clock import on_mock_clock
from relay_gateway.workers.link import Link, Message, Questions

pytestmark = pytest.mark.trio(run=on_mock_clock)


@asynccontextmanager
async def linked() -> AsyncGenerator[tuple[Link, trio.SocketStream]]:
    """Give one end, and the raw stream of the other."""
    ours, theirs = (trio.SocketStream(each) for each in trio.socket.socketpair())
    async with ours, theirs:
        yield Link(ours), theirs


async def test_messages_arrive_as_they_were_sent() -> None:
    async with linked() as (link, stream):
        other = Link(stream)
        sent: list[Message] = [
            {"do": "stop"},
            {"is": "figures", "figures": ["x" * 100_000, 1.5, None, "ü\n"]},
        ]
        async with trio.open_nursery() as nursery:
            for message in sent:
                nursery.start_soon(link.send, message)
            received = [await other.receive(), await other.receive()]
        assert sorted(received, key=str) == sorted(sent, key=str)


async def test_messages_may_come_in_pieces_and_together() -> None:
    async with linked() as (link, stream):
        await stream.send_all(b'{"a": 1}\n{"b"')
        assert await link.receive() == {"a": 1}
        await stream.send_all(b": 2}\n")
        assert await link.receive() == {"b": 2}


@pytest.mark.parametrize("data", [b"", b'{"a"', b"nonsense\n", b"\xff\n"])
async def test_end_and_nonsense_are_the_end(data: bytes) -> None:
    async with linked() as (link, stream):
        await stream.send_all(data)
        await stream.send_eof()
        assert await link.receive() is None


async def test_message_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay_gateway.workers.link._MAX_MESSAGE", 1000)
    async with linked() as (link, stream):
        await stream.send_all(b"x" * 2000)
        assert await link.receive() is None


async def test_nothing_follows_a_message_that_was_cut_short() -> None:
    async with linked() as (link, _):
        with trio.move_on_after(1) as scope:
            await link.send({"large": "x" * 10_000_000})
        assert scope.cancelled_caught
        with pytest.raises(trio.BrokenResourceError):
            await link.send({"do": "stop"})


async def test_other_process_that_has_ended() -> None:
    async with linked() as (link, stream):
        await stream.aclose()
        assert await link.receive() is None
        with pytest.raises(trio.BrokenResourceError):
            await link.send({"do": "stop"})


async def test_each_question_gets_its_own_answer() -> None:
    questions = Questions()
    with questions.open() as first, questions.open() as second:
        questions.answer({"number": second.number, "text": "two"})
        assert (first.is_answered, second.is_answered) == (False, True)
        questions.answer({"number": first.number, "text": "one"})
        assert [(await each.wait())["text"] for each in (first, second)] == ["one", "two"]


async def test_what_answers_no_open_question_is_dropped() -> None:
    questions = Questions()
    with questions.open() as late:
        pass
    with questions.open() as question:
        questions.answer({"number": late.number, "text": "late"})
        questions.answer({"text": "without a number"})
        assert not question.is_answered
    assert not late.is_answered
