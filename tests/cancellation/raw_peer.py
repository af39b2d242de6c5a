"""Peers that put bytes on the wire themselves: what no library of theirs would let them send.

For example, a healthy call and a malformed one on the same connection::

    peer = RawHttp2(link, journal, "rude:0", Random(0))
    peer.begin()
    healthy, malformed = peer.next_stream(), peer.next_stream()
    peer.send_headers(healthy, FIELDS, end=True)
    peer.send_headers(malformed, (*FIELDS, ("key", "value ")), end=True)
    await peer.streams[healthy].until_over()
"""

from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from random import Random

import trio
from hpack import Decoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from grpclib_anyio.testing import FrameParser
from harness.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PREFACE,
    RST,
    SETTINGS,
    UPDATE,
    block,
    frame,
)
from tests.cancellation.browsers import Peer
from tests.cancellation.journal import Journal
from tests.cancellation.network import Link

__all__ = ["Fields", "RawHttp2", "RawPeer", "RawStream"]

Fields = tuple[tuple[str, str], ...]

_MAX_FRAME = 16_384
_ACK = 1


class RawPeer(Peer):
    """One end of a connection that sends any bytes, in pieces of any size, and reads the rest."""

    def __init__(
        self, link: Link, journal: Journal, name: str, chance: Random, *, accepts: bool = False
    ) -> None:
        """Use the near end of ``link``, or the far one if it ``accepts``."""
        super().__init__(link, journal, name)
        if accepts:
            self._stream = link.far
        self._chance = chance
        # Unbounded, because a scripted peer decides how much it sends.
        self._unsent = bytearray()
        self._wake = trio.Event()

    @property
    def is_connected(self) -> bool:
        """Whether neither side has ended the connection."""
        return self.end is None and not self.is_left

    @property
    def has_sent_all(self) -> bool:
        """Whether nothing waits for room."""
        return not self._unsent

    def put(self, data: bytes) -> None:
        """Send bytes as soon as there is room for them."""
        self._unsent += data
        self._wake.set()

    def half_close(self) -> None:
        """Send nothing more, unless something is waiting for room: then all of it is sent."""
        with suppress(trio.BusyResourceError):
            super().half_close()

    def note(self, what: str) -> None:
        """Add a line to the schedule."""
        self._journal.note(self.name, what)

    async def run(self) -> None:
        """Read and write until the connection is over."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write)
            await super().run()
            nursery.cancel_scope.cancel()

    async def _write(self) -> None:
        try:
            while True:
                await self._wake.wait()
                await self._write_all()
                self._wake = trio.Event()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the reader is told as well

    async def _write_all(self) -> None:
        while self._unsent:
            size = self._chance.choice([len(self._unsent), self._chance.randint(1, _MAX_FRAME)])
            piece = bytes(self._unsent[:size])
            del self._unsent[:size]
            await self._stream.send_all(piece)

    def _receive(self, data: bytes) -> None:
        pass

    def _leave_exchanges(self) -> None:
        pass


@dataclass
class RawStream:
    """What has come on one stream."""

    headers: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    data: bytes = b""
    is_ended: bool = False
    #: RST_STREAM's code.
    reset: int | None = None
    _over: trio.Event = field(default_factory=trio.Event)

    async def until_over(self) -> None:
        """Wait until the other side has ended or reset it."""
        await self._over.wait()

    def end(self, reset: int | None = None) -> None:
        """Take note of its end."""
        self.is_ended, self.reset = reset is None, reset
        self._over.set()


class RawHttp2(RawPeer):
    """HTTP/2 by hand: polite in what it answers, unless told otherwise."""

    def __init__(
        self, link: Link, journal: Journal, name: str, chance: Random, *, accepts: bool = False
    ) -> None:
        """Prepare; nothing is sent before :meth:`begin`."""
        super().__init__(link, journal, name, chance, accepts=accepts)
        self.streams: defaultdict[int, RawStream] = defaultdict(RawStream)
        #: Whether windows are opened again for what arrives, and PING and SETTINGS are answered.
        self.is_polite = True
        #: Bytes of DATA that the other side has not given back to the connection's window.
        self.unreturned = 0
        self._numbers = count(1, 2)
        self._parser = FrameParser()
        self._decoder = Decoder(1 << 24)
        self._decoder.max_allowed_table_size = 2**32 - 1  # as some say in SETTINGS
        self._block = b""
        self._is_client = not accepts

    # -- sending --------------------------------------------------------------------------------

    def begin(self, settings: bytes = b"") -> None:
        """Send the preface, if a client, and SETTINGS."""
        self.put(PREFACE * self._is_client + frame(SETTINGS, 0, 0, settings))

    def next_stream(self) -> int:
        """Give the number of a client's next stream."""
        return next(self._numbers)

    def send(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """Send a frame, right or wrong."""
        if kind == DATA:
            self.unreturned += len(payload)
        self.put(frame(kind, flags, stream_id, payload))

    def send_headers(self, stream_id: int, fields: Fields, *, end: bool = False) -> None:
        """Send HEADERS, with CONTINUATION frames if they are long."""
        data = block(*fields)
        parts = [data[start : start + _MAX_FRAME] for start in range(0, len(data), _MAX_FRAME)]
        for number, part in enumerate(parts or [b""]):
            last = END_HEADERS * (number >= len(parts) - 1)
            if number:
                self.send(CONTINUATION, last, stream_id, part)
            else:
                self.send(HEADERS, last | END_STREAM * end, stream_id, part)

    def send_data(self, stream_id: int, data: bytes, *, end: bool = False) -> None:
        """Send DATA, which has to fit into the windows."""
        parts = [data[start : start + _MAX_FRAME] for start in range(0, len(data), _MAX_FRAME)]
        for number, part in enumerate(parts or [b""]):
            is_last = end and number >= len(parts) - 1
            self.send(DATA, END_STREAM * is_last, stream_id, part)

    def reset_stream(self, stream_id: int, code: int) -> None:
        """Send RST_STREAM."""
        self.send(RST, 0, stream_id, code.to_bytes(4))

    def open_window(self, stream_id: int, size: int) -> None:
        """Send WINDOW_UPDATE."""
        self.send(UPDATE, 0, stream_id, size.to_bytes(4))

    # -- receiving ------------------------------------------------------------------------------

    def _receive(self, data: bytes) -> None:
        for each in self._parser.feed(data):
            self._take(each)

    def _take(self, each: Frame) -> None:
        stream = each.stream_id
        if isinstance(each, DataFrame):
            self.streams[stream].data += each.data
            self._give_back(stream, each.flow_controlled_length)
        elif isinstance(each, HeadersFrame | ContinuationFrame):
            self._take_block(each)
        elif isinstance(each, RstStreamFrame):
            self.streams[stream].end(each.error_code)
        elif isinstance(each, WindowUpdateFrame) and not stream:
            self.unreturned -= each.window_increment
        elif isinstance(each, GoAwayFrame):
            self.note(f"is told GOAWAY({each.error_code}) {each.additional_data!r}")
        elif isinstance(each, SettingsFrame | PingFrame):
            self._acknowledge(each)
        if "END_STREAM" in each.flags:
            self._take_end(stream)

    def _take_block(self, each: HeadersFrame | ContinuationFrame) -> None:
        self._block += each.data
        if "END_HEADERS" not in each.flags:
            return
        fields = self._decoder.decode(self._block, raw=True)
        self._block = b""
        self.streams[each.stream_id].headers.append(
            {name.decode("latin-1"): value.decode("latin-1") for name, value in fields}
        )

    def _take_end(self, stream_id: int) -> None:
        self.streams[stream_id].end()

    def _give_back(self, stream_id: int, size: int) -> None:
        if self.is_polite and size:
            self.open_window(stream_id, size)
            self.open_window(0, size)

    def _acknowledge(self, each: SettingsFrame | PingFrame) -> None:
        if not self.is_polite or "ACK" in each.flags:
            return
        if isinstance(each, PingFrame):
            self.send(PING, _ACK, 0, each.opaque_data)
        else:
            self.send(SETTINGS, _ACK, 0, b"")
