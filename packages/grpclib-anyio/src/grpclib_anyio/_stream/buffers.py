"""Length-Prefixed-Messages (gRPC PROTOCOL-HTTP2), cut out of DATA frames and put into them.

A message is its compressed flag (one byte), its length (four bytes) and its bytes. Frames know
nothing of messages: one frame may hold several, and one message may take several frames. For
example, an inbox that is fed two messages in two pieces::

    inbox.feed(bytes.fromhex("00 00000002 6869  00 000000"))    # "hi", and a part of a prefix
    inbox.feed(bytes.fromhex("01 21"))                          # its rest, and "!"
    inbox.take()    # (b"hi", 7): the message, and the bytes of the window that it gives back

Both buffers are bounded by their user, see ``stream``.
"""

import struct
from collections import deque
from typing import TYPE_CHECKING

from grpclib.const import Status

from grpclib_anyio._base.errors import GRPCError
from grpclib_anyio._stream.compression import Compressed

if TYPE_CHECKING:
    from grpclib_anyio._base.headers import Headers

__all__ = ["COMPRESSED", "PLAIN", "PREFIX_SIZE", "Inbox", "Outbox"]

#: The compressed flag.
PLAIN, COMPRESSED = 0, 1
#: That flag and the length.
_PREFIX = struct.Struct(">BI")
PREFIX_SIZE = _PREFIX.size
#: Bytes of a frame that brings an incomplete message further; with less it is a crumb.
_CRUMB = 64
#: The messages of all inboxes that have none: a deque takes 0.7 KiB, and most streams wait.
_NONE: deque[bytes] = deque(maxlen=0)


class Inbox:
    """Cuts the bytes of DATA frames into messages, and counts what each gives back."""

    __slots__ = (
        "_buffer",
        "_credited",
        "_is_crumb",
        "_max_size",
        "_needed",
        "max_flag",
        "messages",
    )

    def __init__(self, max_message_size: int) -> None:
        """Start empty; a message of more than ``max_message_size`` bytes is refused."""
        self.messages: deque[bytes] = _NONE
        #: The largest compressed flag that is legal: 1 when the peer has said how it compresses.
        self.max_flag = PLAIN
        self._max_size = max_message_size
        self._buffer = bytearray()
        self._needed = _PREFIX.size
        self._credited = 0
        self._is_crumb = False

    def feed(self, data: bytes) -> bool:
        """Add bytes in the order of their arrival.

        Returns:
            Whether they bring an incomplete message less than 64 bytes further, and those before
            did so too: a peer that cuts its messages at the ends of windows has no two in a row.

        Raises:
            GRPCError: the peer announces a message that is too large or is compressed although
                it has not said how. What came before it has been cut.

        """
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._needed:
                return self._is_second_crumb(len(data))
            data = bytes(self._buffer)
            self._buffer.clear()
        rest = self._cut(data)
        if rest < len(data):
            self._buffer += data[rest:]
        return False

    def _is_second_crumb(self, size: int) -> bool:
        was_crumb, self._is_crumb = self._is_crumb, size < _CRUMB
        return was_crumb and self._is_crumb

    def _cut(self, data: bytes) -> int:
        position, end = 0, len(data)
        self._needed = _PREFIX.size
        while end - position >= _PREFIX.size:
            flag, size = _PREFIX.unpack_from(data, position)
            if flag > self.max_flag or size > self._max_size:
                raise self._refusal(flag, size)
            stop = position + _PREFIX.size + size
            if stop > end:
                self._needed = stop - position
                break
            message = data[position + _PREFIX.size : stop]
            if not self.messages:
                self.messages = deque()
            self.messages.append(Compressed(message) if flag else message)
            position = stop
        return position

    def _refusal(self, flag: int, size: int) -> GRPCError:
        if flag > COMPRESSED:
            return GRPCError(Status.INTERNAL, f"Message with compressed flag {flag}")
        if flag > self.max_flag:
            return GRPCError(Status.INTERNAL, "Compressed message without grpc-encoding")
        text = f"Message of {size} bytes is larger than the limit of {self._max_size}"
        return GRPCError(Status.RESOURCE_EXHAUSTED, text)

    def take(self) -> tuple[bytes, int]:
        """Return the first message and the bytes of the window that it gives back."""
        message = self.messages.popleft()
        if not self.messages:
            self.messages = _NONE
        credit = _PREFIX.size + len(message) - self._credited
        self._credited = 0
        return message, credit

    def take_several(self, limit: int) -> tuple[list[bytes], int]:
        """Return the first ``limit`` messages or what there is, and the bytes they give back."""
        count = min(limit, len(self.messages))
        messages = [self.messages.popleft() for _ in range(count)]
        if not self.messages:
            self.messages = _NONE
        credit = _PREFIX.size * count + sum(map(len, messages)) - self._credited
        self._credited = 0
        return messages, credit

    def credit_incomplete(self) -> int:
        """Return the bytes that an incomplete message gives back, each counted once.

        To be called only when there is no complete message and a task waits for one: a message
        larger than the window would otherwise never arrive.
        """
        credit = len(self._buffer) - self._credited
        self._credited = len(self._buffer)
        return credit

    @property
    def is_incomplete(self) -> bool:
        """Whether the last message lacks bytes."""
        return bool(self._buffer)

    def clear(self) -> None:
        """Drop everything."""
        self.messages = _NONE
        self._buffer.clear()


class Outbox:
    """Bytes to be sent on a stream, and how the stream ends after them."""

    __slots__ = ("_buffer", "is_compressing", "is_ending", "trailers")

    def __init__(self) -> None:
        """Start empty, with the end not in sight."""
        self._buffer = bytearray()
        #: Messages are to be compressed before they are added, because our headers say so.
        self.is_compressing = False
        self.is_ending = False
        self.trailers: Headers | None = None

    def __len__(self) -> int:
        """Return the number of bytes that wait."""
        return len(self._buffer)

    def add(self, message: bytes, flag: int = PLAIN) -> None:
        """Append one message with its prefix."""
        self._buffer += _PREFIX.pack(flag, len(message))
        self._buffer += message

    def take(self, size: int) -> bytes:
        """Remove and return the next ``size`` bytes or what there is."""
        if size >= len(self._buffer):
            data = bytes(self._buffer)
            self._buffer.clear()
        else:
            data = bytes(self._buffer[:size])
            del self._buffer[:size]
        return data

    def clear(self) -> None:
        """Drop what has not been sent, the ending too."""
        self._buffer.clear()
        self.is_ending = False
        self.trailers = None
