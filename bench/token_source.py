"""A model service that needs little CPU time: it sends to the gateway in every run.

For example::

    python -m bench.token_source

It listens on a free port of 127.0.0.1 and prints the port. For each line on its standard input, it
prints a JSON object with the resets since the last one, for example ``{"7": 81234567}``: request 7
was reset at that time, in ns of ``time.monotonic_ns()``. The end of its input ends it.

It costs little because messages are encoded before they are needed, and because DATA frames bypass
h2 (see ``wire``). Each message has a DATA frame of its own, as gRPC servers send tokens that come
one by one. The client's windows are respected.
"""

import asyncio
import json
import random
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, cast

import uvloop

from bench.wire import DONE, ModelSide, framed, message_of
from bench.work import STAMP_SIZE, Work

if TYPE_CHECKING:
    from collections.abc import Callable

#: Bytes. A larger message may be cut at the end of a window.
_LARGE = 16_384
#: Bytes of one answer before it is the next one's turn.
_TURN = 4096
#: Bytes that may wait for the socket before all answers pause.
_WRITE_BUFFER = 1 << 20


class _Answer:
    """One answer that is being sent."""

    def __init__(self, connection: "_Connection", stream_id: int, work: Work) -> None:
        self.work = work
        self._connection = connection
        self._stream_id = stream_id
        self._left = work.tokens
        self._due = 0
        self._message = message_of("x" * (STAMP_SIZE if work.is_stamped else work.size))
        self._frame = framed(stream_id, self._message)
        self._cut = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin after the time to think, and at a random moment within one interval.

        Tokens of several streams would otherwise arrive together, since they start together.
        """
        loop = asyncio.get_running_loop()
        first = loop.time() + self.work.think + random.random() * self.work.interval  # noqa: S311 - not a secret
        self._timer = loop.call_at(first, self._tick, first)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self, now: float) -> None:
        if not self.work.interval:
            self._due = self._left
        else:
            self._due += 1
            if self._due < self._left:
                following = now + self.work.interval
                loop = asyncio.get_running_loop()
                self._timer = loop.call_at(following, self._tick, following)
        if self.push():
            self._connection.push_all()

    def push(self) -> bool:
        """Send the tokens that are due, for one turn; return whether more could be sent now."""
        window = self._connection.side.window(self._stream_id)
        if not self._left:
            if window >= len(DONE):
                self._connection.finish(self._stream_id)
            return False
        size = len(self._message)
        count = min(self._due, window // size, max(1, _TURN // size))
        if self._cut or (not count and self._due and window > 0 and size > _LARGE):
            self._send_part(window)
        elif count:
            self._send(self._frames(count), count * size)
            self._sent(count)
        # After the last token, one more turn sends the end.
        return count > 0 and (self._due > 0 or not self._left)

    def _frames(self, count: int) -> bytes:
        if not self.work.is_stamped:
            return self._frame * count
        return b"".join(
            self._frame[:-STAMP_SIZE] + b"%020d" % time.monotonic_ns() for _ in range(count)
        )

    def _send_part(self, window: int) -> None:
        part = self._message[self._cut : self._cut + window]
        self._send(framed(self._stream_id, part), len(part))
        self._cut = (self._cut + len(part)) % len(self._message)
        if not self._cut:
            self._sent(1)

    def _send(self, frames: bytes, size: int) -> None:
        self._connection.side.charge(self._stream_id, size)
        self._connection.write(frames)

    def _sent(self, count: int) -> None:
        self._due -= count
        self._left -= count


class _Connection(asyncio.Protocol):
    """A connection from a gateway."""

    def __init__(self, note_left: "Callable[[int], None]") -> None:
        self.side = ModelSide(self._asked, self._left)
        self._note_left = note_left
        self._answers: dict[int, _Answer] = {}
        self._is_writable = True
        self._turns = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_WRITE_BUFFER)
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        for stream_id in list(self._answers):
            self._left(stream_id)

    def data_received(self, data: bytes) -> None:
        is_opened = self.side.receive(data)
        self._flush()
        if is_opened:
            self.push_all()

    def pause_writing(self) -> None:
        self._is_writable = False

    def resume_writing(self) -> None:
        self._is_writable = True
        self.push_all()

    def write(self, frames: bytes) -> None:
        self._transport.write(frames)

    def finish(self, stream_id: int) -> None:
        del self._answers[stream_id]
        self.side.charge(stream_id, len(DONE))
        self._transport.write(framed(stream_id, DONE))
        self.side.end(stream_id)
        self._flush()

    def _flush(self) -> None:
        self._transport.write(self.side.data_to_send())

    def push_all(self) -> None:
        """Let all answers send, in turns, until nothing is due or the windows are full."""
        ready = deque(self._answers.values())
        # Begin after the answer that was served last, because the last bytes of the connection's
        # window must not always go to the same answers.
        ready.rotate(-self._turns % max(1, len(ready)))
        while ready and self._is_writable:
            answer = ready.popleft()
            self._turns += 1
            if answer.push():
                ready.append(answer)

    def _asked(self, stream_id: int, prompt: str) -> None:
        answer = self._answers[stream_id] = _Answer(self, stream_id, Work.parse(prompt))
        answer.start()

    def _left(self, stream_id: int) -> None:
        answer = self._answers.pop(stream_id, None)
        if answer is not None:
            answer.stop()
            self._note_left(answer.work.name)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    left: dict[int, int] = {}
    is_over = loop.create_future()

    def note_left(name: int) -> None:
        left[name] = time.monotonic_ns()

    def report() -> None:
        if sys.stdin.readline():
            print(json.dumps(left), flush=True)
            left.clear()
        elif not is_over.done():
            is_over.set_result(None)

    server = await loop.create_server(lambda: _Connection(note_left), "127.0.0.1", 0, backlog=128)
    loop.add_reader(sys.stdin.fileno(), report)
    print(server.sockets[0].getsockname()[1], flush=True)
    await is_over


if __name__ == "__main__":
    uvloop.run(_serve())
