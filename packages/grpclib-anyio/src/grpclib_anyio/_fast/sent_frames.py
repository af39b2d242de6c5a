"""HEADERS, DATA and RST_STREAM past h2: the sending side's fast path, all of it.

h2 makes an object of each frame, with its flags and lists of it. It looks for what it may have to
correct in headers that we have made ourselves, and it makes an event that nobody reads. Three
things of that are necessary: its state machines know of each frame, its windows do, and headers are
compressed in the order in which they are sent. They are done here as h2 does them, in one step with
queueing the bytes. For example, a request and the reset that cancels it::

    h2.send.headers(1, headers)       # queued; the writer sends them
    h2.send.data(1, message)          # at most what both windows and one frame have room for
    h2.send.reset(1, 8)               # written at once, with what was queued before it
"""

import struct
from collections.abc import Callable

from h2.connection import AllowedStreamIDs, ConnectionInputs, H2Connection
from h2.exceptions import ProtocolError
from h2.stream import H2Stream, StreamInputs

from grpclib_anyio._base.headers import Headers

__all__ = ["SentFrames"]

#: RFC 9113 § 4.1: the length in 24 bits, type, flags, the stream.
_HEADER = struct.Struct(">HBBBL")
_LOW_BITS, _LOW = 8, 0xFF
_DATA, _HEADERS, _RST_STREAM, _CONTINUATION = 0, 1, 3, 9
_END_STREAM, _END_HEADERS = 1, 4


class SentFrames:
    """Writes the frames that calls are made of, for one connection."""

    def __init__(
        self,
        h2: H2Connection,
        *,
        find: Callable[[int], H2Stream],
        create: Callable[[int, AllowedStreamIDs], H2Stream],
        queue: Callable[[bytes], None],
        send: Callable[[bytes], None],
    ) -> None:
        """Keep ``h2`` informed; call ``queue`` with the bytes, or ``send`` if they cannot wait.

        ``find`` and ``create`` are h2's own and private ways to a stream. Both raise
        ``ProtocolError`` for a stream that is over.
        """
        self._h2 = h2
        self._find = find
        self._create = create
        self._queue = queue
        self._send = send

    def headers(self, stream_id: int, headers: Headers, *, end: bool = False) -> None:
        """Send HEADERS, and CONTINUATION for what a frame does not hold; may open the stream.

        Raises:
            ProtocolError: the stream or the connection is not in a state for it.

        """
        h2 = self._h2
        h2.state_machine.process_input(ConnectionInputs.SEND_HEADERS)
        _ = h2.open_outbound_streams  # asked for it, h2 forgets the streams that are over
        ids = AllowedStreamIDs(h2.config.client_side)
        stream = self._create(stream_id, ids)
        stream.state_machine.process_input(StreamInputs.SEND_HEADERS)
        flags = 0
        if end:
            stream.state_machine.process_input(StreamInputs.SEND_END_STREAM)
            flags = _END_STREAM
        elif stream.state_machine.trailers_sent:
            raise ProtocolError("Trailers end a stream")
        block, size = h2.encoder.encode(headers), h2.max_outbound_frame_size
        kind = _HEADERS
        while len(block) > size:
            self._put(kind, flags, stream_id, block[:size])
            block, kind, flags = block[size:], _CONTINUATION, 0
        self._put(kind, flags | _END_HEADERS, stream_id, block)

    def data(self, stream_id: int, data: bytes, *, end: bool = False) -> None:
        """Send one DATA frame of what both windows and a frame have room for.

        Raises:
            ProtocolError: the stream or the connection is not in a state for it.

        """
        h2 = self._h2
        h2.state_machine.process_input(ConnectionInputs.SEND_DATA)
        stream = self._find(stream_id)
        stream.state_machine.process_input(StreamInputs.SEND_DATA)
        if end:
            stream.state_machine.process_input(StreamInputs.SEND_END_STREAM)
        stream.outbound_flow_control_window -= len(data)
        h2.outbound_flow_control_window -= len(data)
        self._put(_DATA, _END_STREAM if end else 0, stream_id, data)

    def reset(self, stream_id: int, code: int) -> None:
        """Send RST_STREAM, and at once: the peer works for nobody until it comes.

        Raises:
            StreamClosedError: the stream is over.

        """
        h2 = self._h2
        h2.state_machine.process_input(ConnectionInputs.SEND_RST_STREAM)
        stream = self._find(stream_id)
        stream.state_machine.process_input(StreamInputs.SEND_RST_STREAM)
        self._send(_frame(_RST_STREAM, 0, stream_id, code.to_bytes(4)))

    def _put(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        self._queue(_frame(kind, flags, stream_id, payload))


def _frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    size = len(payload)
    return _HEADER.pack(size >> _LOW_BITS, size & _LOW, kind, flags, stream_id) + payload
