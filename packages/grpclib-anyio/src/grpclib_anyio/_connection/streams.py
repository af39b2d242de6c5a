"""The streams of one connection: a table of them, the slots that they take, and the unsent ones.

A stream is in the table until its call lets go of it. This may be later than the stream's end,
because a server's handler may still clean up. A stream takes a slot of the limit (RFC 9113 § 5.1.2)
until it is *closed*, and this may be sooner. For example, on a client's connection::

    stream = streams.add(1, sender)    # in the table, and one slot is taken
    streams.add_unsent(stream)         # its HEADERS are queued, the peer knows nothing of it
    streams.mark_sent()                # they are on their way to the peer
    streams.reset(stream)              # True; the slot is free, and the next caller gets it
    streams.remove(stream)             # the call has ended

Plain calls only, no IO.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from grpclib_anyio._base.config import Configuration
from grpclib_anyio._base.errors import TerminatedError, unprocessed
from grpclib_anyio._base.headers import Headers
from grpclib_anyio._base.memory_budget import Share
from grpclib_anyio._connection.stream_limit import StreamLimit
from grpclib_anyio._stream.counted_stream import CountedStream, memory_of
from grpclib_anyio._stream.stream import MessageStream, Wire

__all__ = ["ConnectionStatistics", "Streams"]

#: A client may cancel all of its calls and make as many again before our handlers have run.
_HANDLERS_PER_SLOT = 2


@dataclass(frozen=True)
class ConnectionStatistics:
    """What a connection holds at this moment; all zero when no call is in progress."""

    #: Streams that their calls still hold.
    streams: int
    #: Callers that wait for the peer's limit to admit them.
    waiting_for_slot: int
    #: Bytes of outboxes, and of frames that wait for the socket.
    unsent_bytes: int


class Streams:
    """The table of a connection's streams, by their numbers."""

    def __init__(
        self,
        config: Configuration,
        *,
        max_streams: Callable[[], int],
        on_opened: Callable[[], None],
        on_unused: Callable[[], None],
        share: Share | None = None,
    ) -> None:
        """Begin without a stream.

        What a server's streams hold is the connection's ``share``. ``max_streams`` tells how many
        the peer admits now. ``on_opened`` is called with each new stream, ``on_unused`` when the
        last one has been removed.
        """
        self.limit = StreamLimit(max_streams, config.max_waiting_streams)
        #: All streams have been failed, and nothing is sent on any.
        self.is_closed = False
        self._by_id: dict[int, MessageStream] = {}
        #: The stream of a number, or None. Not a method, because that costs a call for each frame.
        self.get: Callable[[int], MessageStream | None] = self._by_id.get
        #: A client's streams with HEADERS that are queued, not written.
        self._unsent: set[MessageStream] = set()
        self._config = config
        self._share = share
        self._on_opened = on_opened
        self._on_unused = on_unused

    def __len__(self) -> int:
        """Count those in the table."""
        return len(self._by_id)

    def __iter__(self) -> Iterator[MessageStream]:
        """Iterate over those in the table at this moment; it may change meanwhile."""
        return iter(list(self._by_id.values()))

    @property
    def is_full(self) -> bool:
        """Whether a client has as many streams as we let it have, or their handlers still run."""
        limit = self._config.max_concurrent_streams
        return self.limit.taken >= limit or len(self._by_id) >= _HANDLERS_PER_SLOT * limit

    def has_room_for(self, headers: Headers) -> bool:
        """Return whether the server may hold the headers of one more request."""
        return self._share is None or memory_of(headers) <= self._share.room

    def statistics(self, *, queued: int) -> ConnectionStatistics:
        """Count what the connection holds; ``queued`` bytes of it are frames already."""
        return ConnectionStatistics(
            streams=len(self._by_id),
            waiting_for_slot=self.limit.waiting,
            unsent_bytes=queued + sum(len(stream.outbox) for stream in self),
        )

    def add(self, stream_id: int, wire: Wire) -> MessageStream:
        """Make a stream that sends its frames to ``wire``; it takes a slot."""
        if self._share is None:
            stream = MessageStream(wire, stream_id, self._config)
        else:
            stream = CountedStream(wire, stream_id, self._config, self._share)
        self._by_id[stream_id] = stream
        self.limit.take()
        self._on_opened()
        return stream

    def remove(self, stream: MessageStream) -> None:
        """Forget a stream because its call has ended; harmless if that is done already."""
        self._by_id.pop(stream.id, None)
        if not self._by_id:
            self._on_unused()

    # -- a stream's state, and the slot that goes with it ---------------------------------------

    def end_local(self, stream: MessageStream) -> None:
        """END_STREAM has been sent."""
        if stream.state.end_local():
            self.limit.give_back()

    def end_remote(self, stream: MessageStream) -> None:
        """END_STREAM has arrived."""
        if stream.state.end_remote():
            self.limit.give_back()

    def reset(self, stream: MessageStream) -> bool:
        """RST_STREAM has arrived or is to be sent; return False if the stream was closed."""
        if not stream.state.reset():
            return False
        self.limit.give_back()
        return True

    # -- streams that the peer does not know yet ------------------------------------------------

    def add_unsent(self, stream: MessageStream) -> None:
        """Note that a client's HEADERS are queued."""
        self._unsent.add(stream)

    def mark_sent(self) -> None:
        """Note that all HEADERS that were queued may have reached the peer."""
        self._unsent.clear()

    # -- failures -------------------------------------------------------------------------------

    def fail_above(self, last_stream_id: int, error: TerminatedError) -> None:
        """Fail the streams that the peer has not processed and will not (RFC 9113 § 6.8)."""
        for stream in self:
            if stream.id > last_stream_id:
                stream.fail(unprocessed(error))

    def close(self, error: TerminatedError) -> None:
        """Fail all streams: the connection has ended. They stay until their calls let go."""
        self.is_closed = True
        for stream in self:
            stream.fail(unprocessed(error) if stream in self._unsent else error.copy())
        self._unsent.clear()
