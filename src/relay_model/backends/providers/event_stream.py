"""A provider's server-sent events, decoded from the bytes of its response.

The format is that of the WHATWG HTML standard, section 9.2.6. The decoder is at least as tolerant
as the providers' own libraries: it does not check the content type, and text is UTF-8 whatever
charset the response names. For example::

    async for event in EventStream(response.aiter_bytes()):
        event.name, event.data  # ("message_stop", '{"type": "message_stop"}')
"""

from collections import deque
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

__all__ = ["Event", "EventDecoder", "EventStream"]

# Bytes of one event, which are kept until its end. Events of text have some hundred bytes; an event
# that repeats a whole answer, with its reasoning, stays below this.
_MAX_EVENT_BYTES = 16 * 2**20

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """One event."""

    name: str
    """Its ``event`` field; empty when it has none."""
    data: str
    """Its ``data`` fields, joined by line feeds; never empty."""


class EventStream:
    """An async iterator of the events in an async iterator of bytes."""

    def __init__(self, chunks: "AsyncIterator[bytes]") -> None:
        """Prepare to read; chunks may end anywhere, also within a character."""
        self._chunks = chunks
        self._decoder = EventDecoder()
        self._events: deque[Event] = deque()

    def __aiter__(self) -> Self:
        """Read the events, once."""
        return self

    async def __anext__(self) -> Event:
        """Wait for the next event; a checkpoint only if a read of bytes is one.

        An event that the response ends in the middle of is dropped, as the standard demands.

        Raises:
            ValueError: an event is too long.

        """
        while not self._events:
            self._events.extend(self._decoder.feed(await anext(self._chunks)))
        return self._events.popleft()


class EventDecoder:
    """Decodes events; does no IO."""

    def __init__(self) -> None:
        """Begin before the first byte."""
        self._line: list[bytes] = []
        self._size = 0  # bytes kept, of the line and of the event's data
        self._name = ""
        self._data: list[str] = []
        self._is_first_line = True
        self._ended_with_cr = False

    def feed(self, data: bytes) -> "Iterator[Event]":
        """Give the events that end in these bytes.

        Raises:
            ValueError: an event is too long.

        """
        if self._ended_with_cr and data:
            data = data.removeprefix(b"\n")  # of a CR LF that two chunks share
            self._ended_with_cr = False
        for line in data.splitlines(keepends=True):  # bytes are split at CR, LF and CR LF only
            self._add(line)
            if line.endswith((b"\r", b"\n")):
                yield from self._end_line()
        self._ended_with_cr = data.endswith(b"\r") or (self._ended_with_cr and not data)

    def _add(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > _MAX_EVENT_BYTES:
            message = f"an event has more than {_MAX_EVENT_BYTES} bytes"
            raise ValueError(message)
        self._line.append(part)

    def _end_line(self) -> "Iterator[Event]":
        line = b"".join(self._line)
        self._line.clear()
        self._size -= len(line)
        line = line.rstrip(b"\r\n")
        if self._is_first_line:
            line = line.removeprefix(_BYTE_ORDER_MARK)
            self._is_first_line = False
        if line:
            self._read_field(line)
            return
        if data := "\n".join(self._data):
            yield Event(self._name, data)
        self._size, self._name, self._data = 0, "", []

    def _read_field(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        text = value.removeprefix(b" ").decode(errors="replace")
        if field == b"data":
            self._data.append(text)
            self._size += len(line)
        elif field == b"event":
            self._name = text
