"""A server's stream, whose headers and messages count against a budget of the server.

It holds bytes from their arrival until the handler lets go of them. A handler lets go of a message
when it has received the next one, or ends. For example, of a compressed message of 4 KiB::

    stream.data_received(data, 0)     # 4 KiB are held
    await stream.receive()            # 4 MiB are held, because that is what it inflates to
    stream.release()                  # nothing is held

What does not fit is not taken. Its call is told RESOURCE_EXHAUSTED, and no other call is touched.
"""

from grpclib.const import Status
from h2.errors import ErrorCodes

from grpclib_anyio._base.config import Configuration
from grpclib_anyio._base.errors import GRPCError
from grpclib_anyio._base.headers import Headers, header_list_size
from grpclib_anyio._base.memory_budget import Holding, Share
from grpclib_anyio._stream.buffers import PREFIX_SIZE, Inbox
from grpclib_anyio._stream.compression import Compressed
from grpclib_anyio._stream.stream import MessageStream, Wire

__all__ = ["CountedStream", "memory_of"]

#: Python's own bytes for an object and its place in a deque, and for the four of a header.
_MESSAGE_OVERHEAD, _HEADER_OVERHEAD = 64, 168


def memory_of(headers: Headers) -> int:
    """Return about how many bytes of memory ``headers`` take."""
    return header_list_size(headers) + _HEADER_OVERHEAD * len(headers)


class _CountedInbox(Inbox):
    """Counts what it holds."""

    __slots__ = ("_holding",)

    def __init__(self, max_message_size: int, holding: Holding) -> None:
        super().__init__(max_message_size)
        self._holding = holding

    def feed(self, data: bytes) -> bool:
        before = len(self.messages)
        try:
            return super().feed(data)
        finally:
            self._holding.add(len(data) + _MESSAGE_OVERHEAD * (len(self.messages) - before))

    def take(self) -> tuple[bytes, int]:
        message, credit = super().take()
        self._let_go(message)
        return message, credit

    def take_several(self, limit: int) -> tuple[list[bytes], int]:
        messages, credit = super().take_several(limit)
        for message in messages:
            self._let_go(message)
        return messages, credit

    def _let_go(self, message: bytes) -> None:
        self._holding.add(-(len(message) + PREFIX_SIZE + _MESSAGE_OVERHEAD))


class CountedStream(MessageStream):
    """The messages, headers and end of one HTTP/2 stream of a server."""

    def __init__(self, wire: Wire, stream_id: int, config: Configuration, share: Share) -> None:
        """Open the stream in memory; what it holds is its connection's ``share``."""
        super().__init__(wire, stream_id, config)
        self._holding = Holding(share)
        self._inbox = _CountedInbox(config.max_message_size, self._holding)
        #: Bytes of the message that the handler has received last.
        self._received_size = 0

    async def receive(self) -> bytes | None:
        """Return the next message, as ``MessageStream`` does; the one before is let go of."""
        message = await super().receive()
        if message is not None:
            self._note_received(message)
        return message

    async def receive_several(self, limit: int) -> list[bytes]:
        """Return the messages that are there; those before are let go of."""
        messages = await super().receive_several(limit)
        if messages:
            self._note_received(*messages)
        return messages

    def release(self, code: ErrorCodes = ErrorCodes.CANCEL) -> None:
        """Let go of the stream, and of all that it holds."""
        super().release(code)
        self._received_size = 0
        self._holding.give_back_all()

    def headers_received(self, headers: Headers) -> None:
        """Take the request's headers, which the receiver has found to fit."""
        self._holding.add(memory_of(headers))
        super().headers_received(headers)

    def trailers_received(self, trailers: Headers) -> None:
        """Take the request's trailers, of which gRPC makes no use."""
        self._holding.add(memory_of(trailers))
        super().trailers_received(trailers)

    def data_received(self, data: bytes, padding: int) -> bool:
        """Take the bytes of a DATA frame, if the server has room for them."""
        if self._refusal is None and len(data) > self._holding.room:
            self._refuse(_server_is_full())
            return False
        return super().data_received(data, padding)

    def _note_received(self, *messages: bytes) -> None:
        size = sum(map(len, messages))
        self._holding.add(size - self._received_size)
        self._received_size = size

    def _inflate(self, message: Compressed, max_size: int) -> bytes:
        room = self._holding.room
        try:
            return super()._inflate(message, min(room, max_size))
        except GRPCError as error:
            if room < max_size and error.status is Status.RESOURCE_EXHAUSTED:
                raise _server_is_full() from None
            raise


def _server_is_full() -> GRPCError:
    text = "The server holds as many bytes of its calls as it may"
    return GRPCError(Status.RESOURCE_EXHAUSTED, text)
