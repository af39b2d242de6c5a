"""Messages between the supervisor and a worker: a line of JSON each, on a socket pair.

For example, a worker that serves says ``{"is": "serving"}``, and ends when its supervisor orders
``{"do": "stop"}``. The end of the stream means that the other process has ended.
"""

import json
from collections.abc import Generator
from contextlib import contextmanager
from itertools import count
from typing import Any, TypeAlias, cast

import trio

__all__ = ["Link", "Message", "Questions"]

Message: TypeAlias = dict[str, Any]

#: Bytes of one message: the metrics of a process have some 10 KB.
_MAX_MESSAGE = 16 * 2**20
_READ_SIZE = 65_536


class Link:
    """One end of a link between two processes."""

    def __init__(self, stream: trio.SocketStream) -> None:
        """Take over a stream."""
        self._stream = stream
        self._sending = trio.Lock()
        self._received = bytearray()
        self._is_whole = True

    async def send(self, message: Message) -> None:
        """Send a message; waits while the other side does not read.

        A cancelled send may have sent a part, so that nothing more can be sent.

        Raises:
            BrokenResourceError: the other process has ended, or an earlier send was cancelled.

        """
        data = json.dumps(message).encode() + b"\n"
        async with self._sending:
            if not self._is_whole:
                raise trio.BrokenResourceError("a message was cut short")
            self._is_whole = False
            await self._stream.send_all(data)
            self._is_whole = True

    async def receive(self) -> Message | None:
        """Wait for a message; None when the other process has ended, or has sent something else."""
        while (end := self._received.find(b"\n")) < 0:
            if len(self._received) > _MAX_MESSAGE or not await self._read():
                return None
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        try:
            return cast("Message", json.loads(line))
        except ValueError:
            return None

    async def _read(self) -> bool:
        try:
            data = await self._stream.receive_some(_READ_SIZE)
        except trio.BrokenResourceError:
            return False
        self._received += data
        return bool(data)

    async def aclose(self) -> None:
        """Close it; a checkpoint."""
        await self._stream.aclose()


class Question:
    """What one process asks the other; its answer is a message that has the same number."""

    def __init__(self, number: int) -> None:
        """Begin without an answer."""
        self.number = number
        self._answers: list[Message] = []
        self._answered = trio.Event()

    @property
    def is_answered(self) -> bool:
        """Whether the answer has come."""
        return self._answered.is_set()

    def answer(self, message: Message) -> None:
        """Take the answer; a plain call."""
        self._answers.append(message)
        self._answered.set()

    async def wait(self) -> Message:
        """Wait for the answer, without a bound; a checkpoint."""
        await self._answered.wait()
        return self._answers[0]


class Questions:
    """The questions that wait for an answer, by their numbers.

    For example::

        with questions.open() as question:
            await link.send({"ask": "metrics", "number": question.number})
            await question.wait()

    Another task reads the link, and calls :meth:`answer`.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._numbers = count(1)
        self._open: dict[int, Question] = {}

    @contextmanager
    def open(self) -> Generator[Question]:
        """Have a question while the block runs; its answer is dropped after that."""
        question = Question(next(self._numbers))
        self._open[question.number] = question
        try:
            yield question
        finally:
            del self._open[question.number]

    def answer(self, message: Message) -> None:
        """Give a message to the question that it answers, if that still waits; a plain call."""
        if (question := self._open.get(message.get("number", 0))) is not None:
            question.answer(message)
