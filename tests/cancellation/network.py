"""A network in memory, which does to a connection what a network can do to it.

A :class:`Link` is one connection, with two ends that behave as TCP sockets do on Linux. Its bytes
arrive at once and whole, unless it has a :class:`Weather`: then they are late, and in pieces. A
link can also be reset, be held up for a while, or lose all that it is given from now on.
"""

from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from itertools import count
from math import inf
from random import Random
from typing import Protocol

import anyio
import trio

from grpclib_anyio._base.notify import Notify
from grpclib_anyio._fast.trio_stream import TrySendStream

#: What the buffers of both sockets and the way between them hold.
BUFFER_SIZE = 65_536

#: Seconds that a piece is on its way at most.
MAX_DELAY = 1.0

_MAX_RECEIVE = 65_536
#: Bytes. Only pieces up to this size are cut anywhere, because a long answer would take too long.
_SMALL = 64
#: No descriptor is so high: a write to one of ours by mistake fails.
_numbers = count(1 << 30)


class Weather(Protocol):
    """What a network does of itself."""

    def delay(self) -> float:
        """Seconds that the next bytes take."""
        ...

    def piece(self, size: int) -> int:
        """Bytes that are read at once where `size` have arrived; 1 at least."""
        ...


class Calm:
    """No weather."""

    def delay(self) -> float:
        return 0.0

    def piece(self, size: int) -> int:
        return size


class Storm:
    """A network that is late, and cuts what it carries into pieces."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._slow = chance.choice([0.0, 0.0, 0.01, 0.2])

    def delay(self) -> float:
        if self._chance.random() < self._slow:
            return self._chance.uniform(0, MAX_DELAY)
        return self._chance.choice([0.0, 0.0, 0.001, 0.01])

    def piece(self, size: int) -> int:
        if size < _SMALL:
            return self._chance.choice([1, size, size])
        return self._chance.choice([size, size, size, self._chance.randint(_SMALL, size)])


class _Direction:
    """What is on its way from one end to the other."""

    def __init__(self, size: int, weather: Weather) -> None:
        #: When each piece arrives; an empty one is the end.
        self.pieces: deque[tuple[float, bytes]] = deque()
        # Bounded by `size`: a full one makes the sender wait, as a full socket does.
        self.size = size
        self.used = 0
        self.weather = weather
        self.held_until = -inf
        self.is_lost = False
        self.is_ended = False
        self.changed = Notify()

    def put(self, data: bytes) -> None:
        self.used += len(data)
        if not self.is_lost:
            latest = self.pieces[-1][0] if self.pieces else -inf
            arrival = max(latest, self.held_until, trio.current_time() + self.weather.delay())
            self.pieces.append((arrival, data))
        self.changed.notify()

    @property
    def next_arrival(self) -> float:
        return self.pieces[0][0] if self.pieces else inf

    @property
    def has_arrived(self) -> bool:
        return self.next_arrival <= trio.current_time()

    def take(self, max_bytes: int) -> bytes:
        arrival, data = self.pieces[0]
        if not data:
            return data  # the end stays
        self.pieces.popleft()
        size = min(max_bytes, self.weather.piece(len(data)))
        if size < len(data):
            self.pieces.appendleft((arrival, data[size:]))
        self.used -= size
        self.changed.notify()
        return data[:size]

    def hold(self, until: float) -> None:
        self.held_until = until
        self.pieces = deque((max(arrival, until), data) for arrival, data in self.pieces)
        self.changed.notify()

    def lose(self) -> None:
        """Drop what has not arrived, and what comes; nobody is told."""
        now = trio.current_time()
        self.pieces = deque(piece for piece in self.pieces if piece[0] <= now)
        self.is_lost = True


class End(trio.abc.HalfCloseableStream):
    """One end of a link, as a trio stream; :class:`AnyioEnd` is the same for anyio."""

    def __init__(self, incoming: _Direction, outgoing: _Direction) -> None:
        """Join two directions; see :class:`Link`."""
        self.peer: End
        self.socket = _Socket(next(_numbers), self.close)
        self.is_closed = False
        #: The bytes of the send that waits for room.
        self.sending = b""
        self._incoming = incoming
        self._outgoing = outgoing
        #: When this end learns that the connection has been reset.
        self._broken_at = inf
        self._is_sending = False
        self._is_receiving = False
        self._is_used = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Wait for bytes; empty at the end."""
        if self._is_receiving:
            raise trio.BusyResourceError("another task receives")
        self._is_receiving = self._is_used = True
        try:
            await trio.lowlevel.checkpoint()
            while not self._incoming.has_arrived:
                self._raise_if_over()
                await _wait(
                    self._incoming.changed, min(self._incoming.next_arrival, self._broken_at)
                )
            if self.is_closed:
                raise trio.ClosedResourceError("this end is closed")
            return self._incoming.take(max_bytes or _MAX_RECEIVE)
        finally:
            self._is_receiving = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Put bytes on their way; waits while there is no room."""
        self._begin_to_send()
        self.sending = bytes(data)
        try:
            await trio.lowlevel.checkpoint()
            while True:
                self._raise_if_over()
                self.sending = self.sending[self._put(self.sending) :]
                if not self.sending:
                    return
                await _wait(self._outgoing.changed, self._broken_at)
        finally:
            self._is_sending = False
            self.sending = b""

    def send_nowait(self, data: bytes) -> int:
        """Put on their way what bytes there is room for, and return how many."""
        if self._is_sending:
            return 0
        self._begin_to_send()
        self._is_sending = False
        self._raise_if_over()
        return self._put(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Not used by anything here."""
        raise NotImplementedError

    async def send_eof(self) -> None:
        """Say that this end sends nothing more."""
        self.send_eof_nowait()
        await trio.lowlevel.checkpoint()

    def send_eof_nowait(self) -> None:
        """Say that this end sends nothing more."""
        self._begin_to_send()
        self._is_sending = False
        self._raise_if_over()
        self._end()

    async def aclose(self) -> None:
        """Close this end."""
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Close this end; with bytes unread that is a reset, as it is for a socket."""
        if self.is_closed:
            return
        is_reset = self._incoming.has_arrived and bool(self._incoming.pieces[0][1])
        self.is_closed = True
        if is_reset:
            self.reset_peer_nowait()
        else:
            self._end()
        self._incoming.changed.notify()
        self._outgoing.changed.notify()

    def reset_peer_nowait(self) -> None:
        """Tell the other end that the connection is broken, once that has got there."""
        if self._outgoing.is_lost:
            return
        at = max(trio.current_time() + self._outgoing.weather.delay(), self._outgoing.held_until)
        self.peer._broken_at = min(self.peer._broken_at, at)  # noqa: SLF001 - the other end
        self._outgoing.changed.notify()
        self._incoming.changed.notify()

    @property
    def is_used(self) -> bool:
        """Whether anybody has received from here."""
        return self._is_used

    def _begin_to_send(self) -> None:
        if self._is_sending:
            raise trio.BusyResourceError("another task sends")
        if self.is_closed or self._outgoing.is_ended:
            raise trio.ClosedResourceError("this end sends nothing more")
        self._is_sending = True

    def _put(self, data: bytes) -> int:
        if self.peer.is_closed:
            self.peer.reset_peer_nowait()  # its answer to what it does not take any more
            return len(data)
        way = self._outgoing
        size = min(len(data), way.size - way.used)
        # Not in crumbs (RFC 9293 § 3.8.6.2.1, silly window syndrome): they would stay crumbs.
        if size < min(len(data), way.size // 4):
            return 0
        if size:
            way.put(data[:size])
        return size

    def _end(self) -> None:
        if not self._outgoing.is_ended:
            self._outgoing.is_ended = True
            self._outgoing.put(b"")

    def _raise_if_over(self) -> None:
        if self.is_closed:
            raise trio.ClosedResourceError("this end is closed")
        if self._broken_at <= trio.current_time():
            raise trio.BrokenResourceError("reset") from ConnectionResetError("reset by peer")


class _Socket:
    """As much of a socket as hypercorn looks at."""

    family = trio.socket.AF_INET

    def __init__(self, number: int, close: Callable[[], None]) -> None:
        self._number = number
        self.close = close

    def getpeername(self) -> tuple[str, int]:
        return ("192.0.2.1", 50_000)

    def getsockname(self) -> tuple[str, int]:
        return ("192.0.2.2", 80)

    def fileno(self) -> int:
        return self._number


class AnyioEnd(TrySendStream):
    """An end of a link as anyio's kind of stream."""

    def __init__(self, end: End) -> None:
        """Wrap ``end``."""
        self.end = end

    async def receive(self, max_bytes: int = _MAX_RECEIVE) -> bytes:
        """Wait for bytes."""
        with _as_anyio():
            data = await self.end.receive_some(max_bytes)
        if not data:
            raise anyio.EndOfStream
        return data

    async def send(self, item: bytes) -> None:
        """Put bytes on their way."""
        with _as_anyio():
            await self.end.send_all(item)

    def send_nowait(self, item: bytes | bytearray) -> int:
        """Put on their way what bytes there is room for."""
        try:
            return self.end.send_nowait(bytes(item))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return 0

    async def send_eof(self) -> None:
        """Say that this end sends nothing more."""
        await self.end.send_eof()

    async def aclose(self) -> None:
        """Close this end."""
        await self.end.aclose()


@contextmanager
def _as_anyio() -> Generator[None]:
    try:
        yield
    except trio.BrokenResourceError as error:
        raise anyio.BrokenResourceError from error.__cause__
    except trio.ClosedResourceError as error:
        raise anyio.ClosedResourceError from error.__cause__


class Link:
    """One connection: ``near`` is the end of who connects, ``far`` that of who accepts."""

    def __init__(self, weather: Weather | None = None, *, back_size: int = BUFFER_SIZE) -> None:
        """Connect; ``back_size`` bytes may be on their way from ``far`` to ``near``."""
        weather = weather or Calm()
        there, back = _Direction(BUFFER_SIZE, weather), _Direction(back_size, weather)
        self.near, self.far = End(back, there), End(there, back)
        self.near.peer, self.far.peer = self.far, self.near
        self._directions = (there, back)

    def reset(self) -> None:
        """Break the connection: both ends lose what is on its way."""
        for end in (self.near, self.far):
            end.reset_peer_nowait()
        for direction in self._directions:
            direction.pieces.clear()
            direction.lose()

    def hold(self, seconds: float) -> None:
        """Let nothing arrive for so long."""
        for direction in self._directions:
            direction.hold(trio.current_time() + seconds)

    def cut(self) -> None:
        """Lose everything from now on, and tell nobody."""
        for direction in self._directions:
            direction.lose()

    @property
    def is_cut(self) -> bool:
        """Whether all is lost."""
        return all(direction.is_lost for direction in self._directions)

    @property
    def is_closed(self) -> bool:
        """Whether both ends have been closed."""
        return self.near.is_closed and self.far.is_closed


async def _wait(changed: Notify, until: float) -> None:
    """Wait for a change, or for a time that is known to bring one."""
    with trio.CancelScope(deadline=until):
        await changed.wait()
