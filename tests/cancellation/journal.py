"""What happened in a run, in order: the schedule that a failure is read from."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import trio
from h2.errors import ErrorCodes
from hyperframe.exceptions import HyperframeError
from hyperframe.frame import Frame, GoAwayFrame, RstStreamFrame

from grpclib_anyio._fast.trio_stream import TrySendStream
from grpclib_anyio.testing import FrameParser


@dataclass(frozen=True)
class Entry:
    """One thing that happened."""

    time: float
    #: Who saw it.
    where: str
    what: str
    #: The frame, if it was one.
    frame: Frame | None = None

    def __str__(self) -> str:
        """Write it as a line of the schedule."""
        return f"{self.time:10.4f}  {self.where:<12} {self.what}"


@dataclass
class Journal:
    """The entries of a run."""

    entries: list[Entry] = field(default_factory=list[Entry])

    def note(self, where: str, what: str, frame: Frame | None = None) -> None:
        """Add an entry, now."""
        self.entries.append(Entry(trio.current_time(), where, what, frame))

    def of(self, where: str) -> Iterator[Entry]:
        """Give what one of them saw."""
        return (entry for entry in self.entries if entry.where == where)

    def __str__(self) -> str:
        """Write the whole schedule."""
        return "\n".join(map(str, self.entries))


class WatchedStream(TrySendStream):
    """Notes the HTTP/2 frames that pass a byte stream, each before anybody else sees it."""

    def __init__(self, stream: TrySendStream, journal: Journal, where: str) -> None:
        """Wrap ``stream``."""
        self._stream = stream
        self._journal = journal
        self._where = where
        self._sent, self._received = FrameParser(), FrameParser()
        self._is_http2 = True

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        """Receive, and note what came."""
        data = await self._stream.receive(max_bytes)
        if self._is_http2:
            self._note_received(data)
        return data

    def _note_received(self, data: bytes) -> None:
        try:
            for frame in self._received.feed(data):
                self._journal.note(self._where, f"<- {describe(frame)}", frame)
        except HyperframeError as error:
            self._journal.note(self._where, f"<- nonsense: {error!r}")
            self._is_http2 = False  # nobody knows where the next frame begins

    async def send(self, item: bytes) -> None:
        """Note what is sent, and send it."""
        self._note_sent(item)
        await self._stream.send(item)

    def send_nowait(self, item: bytes | bytearray) -> int:
        """Send what can be sent at once, and note that."""
        size = self._stream.send_nowait(item)
        self._note_sent(bytes(item[:size]))
        return size

    def _note_sent(self, data: bytes) -> None:
        for frame in self._sent.feed(data):
            self._journal.note(self._where, f"-> {describe(frame)}", frame)

    async def send_eof(self) -> None:
        """Half-close."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """Close."""
        await self._stream.aclose()


def describe(frame: Frame) -> str:
    """Name a frame as one reads it in a schedule."""
    name = type(frame).__name__.removesuffix("Frame")
    flags = "".join(f" {flag}" for flag in ("END_STREAM", "ACK") if flag in frame.flags)
    if isinstance(frame, RstStreamFrame):
        return f"RST_STREAM({_code(frame.error_code)}) on {frame.stream_id}"
    if isinstance(frame, GoAwayFrame):
        return f"GOAWAY({_code(frame.error_code)}) last {frame.last_stream_id}"
    return f"{name}{flags} on {frame.stream_id}, {frame.body_len} bytes"


def _code(number: int) -> str:
    return ErrorCodes(number).name if number in set(ErrorCodes) else str(number)
