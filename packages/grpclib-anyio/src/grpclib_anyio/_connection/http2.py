"""h2's state machine, with what a gRPC connection needs and h2 does not offer.

For example, a client sends a request and reads what has come::

    h2 = Http2(config, client_side=True)
    h2.on_output = writer.wake              # called whenever there is something to write
    h2.send.headers(1, headers)
    socket.send(h2.data_to_send())
    for event in h2.receive(data):          # the first frame's events, before the second is read
        ...

Each part overrides something private to h2. That is why :func:`check_h2_version` refuses versions
that nobody has looked at, and why each part has a test that says when it is no longer needed:

- The events of a frame are given before the next frame is read, see :meth:`Http2.receive`.
- A frame that is too large is refused by its header. h2 would first wait for all of it, up to
  16 MiB.
- A GOAWAY from the peer becomes an event and nothing else. h2 would close its state machine in
  both directions, although the streams below ``last_stream_id`` go on (RFC 9113 § 6.8).
- A frame on a stream that is over for it is answered by RST_STREAM, once. Frames that crossed our
  reset on the wire are not answered, and h2 ends the connection for some that did not.
- What is wrong with one stream ends that stream: see ``stream_errors`` for its messages and
  ``frame_errors`` for its frames. A header list that is too
  large is read to its end, because later ones depend on it, and its stream is reset.
- DATA on a stream that is over becomes an event like any other. h2 would credit it to the
  connection by a count of its own, and what each of two counts holds back adds up.
- RST_STREAM on a stream that nobody has opened ends the connection; h2 takes no notice (§ 6.4).
- A stream that depends on itself is no error any more: RFC 9113 has no priorities (§ 5.3.2).
- A frame that means nothing to h2 becomes an event all the same, so that it can be counted.
- Settings of unknown code are dropped. h2 would keep each, and there are 65,536 codes.
- The limit of concurrent streams is announced and not enforced here. h2 would end the whole
  connection when a client exceeds it before it can know of it. We refuse the one stream.
- Streams that are over are looked for when their number may have doubled. h2 walks over all streams
  for each new one: with 10,000 open ones, longer than the rest of a request takes.
- The writer is told whenever there is something to write.
"""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from typing import cast

import h2
from h2.config import H2Configuration
from h2.connection import AllowedStreamIDs, ConnectionInputs, H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, DataReceived, Event, ResponseReceived, StreamReset
from h2.exceptions import (
    DenialOfServiceError,
    NoSuchStreamError,
    ProtocolError,
    StreamClosedError,
    StreamIDTooLowError,
)
from h2.settings import SettingCodes, Settings
from h2.stream import H2Stream, StreamClosedBy, StreamState
from hpack import HPACKError
from hyperframe.exceptions import InvalidPaddingError
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
)

from grpclib_anyio._base.config import Configuration
from grpclib_anyio._connection.frame_errors import Frames, MalformedFrame
from grpclib_anyio._connection.stream_errors import GrpcStream, Stream, StreamError
from grpclib_anyio._fast.hpack_cache import HeaderDecoder, HeaderEncoder
from grpclib_anyio._fast.received_frames import OnFrames, ReceivedFrames, has_content_length
from grpclib_anyio._fast.sent_frames import SentFrames

__all__ = ["FrameIgnored", "Http2", "without_values"]

_DEFAULT_WINDOW = 65_535
#: RFC 9113 § 4.1: a frame begins with the length of its payload in three bytes.
_FRAME_LENGTH_SIZE = 3
_FRAME_HEADER_SIZE = 9
_MAX_STREAM_ID = 2**31 - 1
#: So few streams are never too many to keep when they are over.
_LEAST_SWEEP = 64
#: How much longer than the longest header list its block may be, which is read to its end. Huffman
#: coding has 30 bits for the rarest byte (RFC 7541, Appendix B).
_MAX_BLOCKS = 4
#: Bytes of a CONTINUATION frame that brings its block further. h2 takes 64 of them for a block.
_LITTLE_PART = 64
_KNOWN_SETTINGS = frozenset(SettingCodes)
#: What a frame costs, in units of about 25 µs: most of them one, HEADERS four and one more for each
#: twelve bytes of their block. The shortest header takes one byte.
_HEADERS_COST, _BYTES_PER_UNIT = 4, 12


#: Versions of h2 that have the private parts overridden here; see the tests that say so.
_KNOWN_VERSIONS = ("4.3.", "4.4.")


@cache
def check_h2_version() -> None:
    """Refuse to work with an h2 that nobody has compared with what is overridden here.

    Cheap when it is called again.

    Raises:
        RuntimeError: it is another version.

    """
    if not h2.__version__.startswith(_KNOWN_VERSIONS):
        known = " and ".join(f"{prefix}*" for prefix in _KNOWN_VERSIONS)
        text = (
            f"h2 {h2.__version__} is installed, and grpclib-anyio relies on private parts of h2 "
            f"that it knows of {known} only: install one of these, or a newer grpclib-anyio"
        )
        raise RuntimeError(text)


@cache
def _hide_headers_from_logs() -> None:
    """Keep hpack from writing every header, credentials among them, to a log of level DEBUG.

    A program that wants to see them sets the level of the logger ``hpack`` itself.
    """
    logger = logging.getLogger("hpack")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)


#: Where an error of h2's begins to quote the peer: a string, bytes, or a set of either.
_QUOTED = re.compile(r"""\s*(?:b?['"]|\{|frozenset|set\().*""", re.DOTALL)


def without_values(error: ProtocolError) -> str:
    """Return what h2 says of an error, up to what it quotes: that may be a credential.

    For example, "Received header value surrounded by whitespace b'Bearer x '" ends before the b.
    """
    if isinstance(error, NoSuchStreamError):
        return f"{type(error).__name__}: {error.stream_id}"
    return _QUOTED.sub("", str(error)) or type(error).__name__


def _do_nothing() -> None:
    """Be told of output that nobody writes."""


def _take_nothing(_queued: bytearray) -> int:
    """Write nothing, so that all stays queued."""
    return 0


class FrameIgnored(Event):
    """A frame that changes nothing."""

    def __init__(self, frame: Frame, *, is_late: bool) -> None:
        """Say which, and whether it may have crossed our reset of its stream on the wire."""
        self.frame = frame
        self.is_late = is_late


class _Frames(Frames):
    #: Bytes of one header block at most.
    max_block_size = 0

    def __init__(self, *, server: bool) -> None:
        super().__init__(server)
        #: The CONTINUATION frames of the last header block that brought it hardly any further.
        self.little_parts: list[Frame] = []

    def _update_header_buffer(self, f: Frame | None) -> Frame | None:
        if isinstance(f, ContinuationFrame) and len(f.data) < _LITTLE_PART:
            self.little_parts += [f] * ("END_HEADERS" not in f.flags)
        frame = super()._update_header_buffer(f)
        parts = self._headers_buffer
        if parts and sum([len(part.data) for part in parts]) > self.max_block_size:
            raise DenialOfServiceError("Oversized header block")
        return frame

    def find_end(self, data: bytes, start: int) -> int:
        """Return where in ``data`` the frame ends that began before ``start`` or begins there.

        That may be beyond ``data``. The preface counts as a frame.
        """
        if self._preamble_len:
            return start + self._preamble_len
        known = len(self._data)
        head = self._data[:_FRAME_LENGTH_SIZE] + data[start : start + _FRAME_LENGTH_SIZE]
        if len(head) < _FRAME_LENGTH_SIZE:
            return len(data)
        return start + _FRAME_HEADER_SIZE + int.from_bytes(head[:_FRAME_LENGTH_SIZE]) - known

    @property
    def is_within_frame(self) -> bool:
        """Whether more of a frame is to come, or of a header block."""
        return bool(self._data or self._headers_buffer or self._preamble_len)

    def refuse_oversized(self) -> None:
        """Raise FrameTooLargeError if the next frame, as far as it is here, is too large."""
        start = self._data[:_FRAME_LENGTH_SIZE]
        if len(start) == _FRAME_LENGTH_SIZE:
            self._validate_frame_length(int.from_bytes(start))


class Http2(H2Connection):
    """The HTTP/2 state of one connection; synchronous, does no IO."""

    #: What is made of each stream.
    stream_class: type[Stream] = GrpcStream

    def __init__(self, config: Configuration, *, client_side: bool) -> None:
        """Queue the preface, SETTINGS and the connection's window."""
        _hide_headers_from_logs()
        super().__init__(
            H2Configuration(
                client_side=client_side,
                # Any byte is a latin-1 character: odd metadata of a peer cannot fail to decode.
                header_encoding="latin-1",
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        #: Called whenever bytes are queued.
        self.on_output: Callable[[], None] = _do_nothing
        #: Writes what can be written at once of what is queued, and returns its size in bytes.
        self.try_send: Callable[[bytearray], int] = _take_nothing
        self.encoder = HeaderEncoder()
        self.decoder = self._decoder = HeaderDecoder()
        #: Writes the frames of calls, as h2's own methods do and in less time.
        self.send = SentFrames(
            self,
            find=self._get_stream_by_id,
            create=self._get_or_create_stream,
            queue=self._queue_bytes,
            send=self._send_bytes,
        )
        self._plain: ReceivedFrames | None = None
        #: The stream of the frame that is being read had been reset by us before.
        self._was_reset = False
        self.incoming_buffer = self._frames = _Frames(server=not client_side)
        self._frames.max_block_size = _MAX_BLOCKS * config.max_header_list_size
        #: What the frames have cost that h2 was shown; see ``_HEADERS_COST``.
        self.cost = 0
        self.local_settings = Settings(
            client=client_side,
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.INITIAL_WINDOW_SIZE: config.http2_stream_window_size,
                SettingCodes.MAX_HEADER_LIST_SIZE: config.max_header_list_size,
            },
        )
        self.decoder.max_header_list_size = config.max_header_list_size
        self._frame_dispatch_table[MalformedFrame] = self._receive_malformed_frame  # pyright: ignore[reportUnknownMemberType] - h2 gives no more types
        self._last_stream_id = _MAX_STREAM_ID
        self._next_sweep = _LEAST_SWEEP
        self.initiate_connection()
        self._announce(config, client_side=client_side)

    def _announce(self, config: Configuration, *, client_side: bool) -> None:
        if not client_side:
            limit: dict[int, int] = {
                SettingCodes.MAX_CONCURRENT_STREAMS: config.max_concurrent_streams
            }
            self._queue(SettingsFrame(0, settings=limit))
        more = config.http2_connection_window_size - _DEFAULT_WINDOW
        if more > 0:
            self.increment_flow_control_window(more)

    def read_past(self, on_frames: OnFrames) -> None:
        """Make calls of ``on_frames`` of plain frames, not events: see ``received_frames``."""
        self._plain = ReceivedFrames(
            self,
            on_frames,
            window=self._inbound_flow_control_window_manager,
            closed_by=self._stream_closed_by,
            decoder=self._decoder,
            queue=self._queue_bytes,
        )

    def max_streams(self) -> int:
        """Return how many streams the peer admits at once, as far as it has said."""
        limit: int = self.remote_settings.max_concurrent_streams
        return limit

    @property
    def is_used_up(self) -> bool:
        """Whether a client has no number left for a stream (RFC 9113 § 5.1.1)."""
        return self.highest_outbound_stream_id > _MAX_STREAM_ID - 2

    @property
    def queued(self) -> int:
        """Bytes of frames that wait to be written."""
        return len(self._data_to_send)

    def _queue_bytes(self, data: bytes) -> None:
        self._data_to_send.extend(data)
        self.on_output()

    def _send_bytes(self, data: bytes) -> None:
        """Send at once what is queued, and ``data`` after it; what is not taken stays queued."""
        queued = self._data_to_send
        queued.extend(data)
        del queued[: self.try_send(queued)]
        if queued:
            self.on_output()

    def _queue(self, frame: Frame) -> None:
        self._prepare_for_sending([frame])

    def receive(self, data: bytes) -> Iterator[Event]:
        """Take bytes from the peer, and yield what each frame means before reading the next.

        h2's ``receive_data`` reads them all first. Its streams are then ahead of ours while the
        events are handled: a stream that the last frame ended, or that h2 has forgotten, is still
        open here. And a bad frame takes the events of the good ones with it.

        Raises:
            ProtocolError: the peer broke the protocol; a GOAWAY that says how is queued.

        """
        buffer = self._frames
        buffer.max_frame_size = self.max_inbound_frame_size
        try:
            for piece in self._split(data):
                buffer.add_data(piece)
                for frame in buffer:
                    yield from self._receive_frame(frame)
            buffer.refuse_oversized()
        except InvalidPaddingError as error:
            self._terminate_connection(ErrorCodes.PROTOCOL_ERROR)
            raise ProtocolError("Invalid padding") from error
        except ProtocolError as error:
            self._terminate_connection(error.error_code)
            raise

    def _split(self, data: bytes) -> Iterator[bytes]:
        """Yield what is for h2, in order, each piece when those before it have been handled."""
        if self._plain is None:
            yield data
            return
        start = 0
        while start < len(data):
            if not self._frames.is_within_frame:
                start = self._plain.take(data, start)
                if start == len(data):
                    return
            stop = self._frames.find_end(data, start)
            yield data[start:stop]
            start = stop

    def announce_goaway(self) -> None:
        """Queue a GOAWAY that refuses no stream; a second one names the last (RFC 9113 § 6.8)."""
        self._queue(GoAwayFrame(0, self._last_stream_id, ErrorCodes.NO_ERROR))

    def goaway(self, code: ErrorCodes, detail: bytes = b"") -> None:
        """Queue GOAWAY for streams above the last one received; existing streams go on.

        Said again, it does not take in those that have come meanwhile.
        """
        self._last_stream_id = min(self._last_stream_id, self.highest_inbound_stream_id)
        self._queue(GoAwayFrame(0, self._last_stream_id, code, additional_data=detail))

    def _receive_settings_frame(self, frame: SettingsFrame) -> tuple[list[Frame], list[Event]]:
        known = {code: v for code, v in frame.settings.items() if code in _KNOWN_SETTINGS}
        frame.settings = known
        return super()._receive_settings_frame(frame)

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Frame], list[Event]]:
        event = ConnectionTerminated()
        event.error_code = frame.error_code
        event.last_stream_id = frame.last_stream_id
        event.additional_data = frame.additional_data
        return [], [event]

    def _begin_new_stream(self, stream_id: int, allowed_ids: AllowedStreamIDs) -> H2Stream:
        stream = super()._begin_new_stream(stream_id, allowed_ids)
        stream.__class__ = self.stream_class  # h2 offers no other way to have it made by us
        return stream

    def _receive_frame(self, frame: Frame) -> list[Event]:
        self._was_reset = self._is_reset_by_us(frame.stream_id)
        self.cost += 1
        events = super()._receive_frame(frame)
        if events and type(frame) is not PriorityFrame:
            return events
        return [FrameIgnored(frame, is_late=self._was_reset)]

    def _receive_headers_frame(self, frame: HeadersFrame) -> tuple[list[Frame], list[Event]]:
        if len(frame.data) > self._frames.max_block_size:
            raise DenialOfServiceError("Oversized header block")
        self.cost += _HEADERS_COST + len(frame.data) // _BYTES_PER_UNIT
        frames, events = self._receive_block(frame)
        little, self._frames.little_parts = self._frames.little_parts, []
        self.cost += len(little)
        return frames, [*events, *(FrameIgnored(part, is_late=False) for part in little)]

    def _receive_block(self, frame: HeadersFrame) -> tuple[list[Frame], list[Event]]:
        try:
            return self._read_headers(frame)
        except StreamError as error:
            return self._reset(error.stream_id, error.error_code)
        except (StreamClosedError, StreamIDTooLowError):
            if self._stream_closed_by(frame.stream_id) is None:
                raise  # it was passed over, and so never open (§ 5.1.1)
            return self._answer_late(frame.stream_id)
        except ProtocolError as error:
            if isinstance(error.__cause__, HPACKError):
                error.error_code = ErrorCodes.COMPRESSION_ERROR
            raise

    def _read_headers(self, frame: HeadersFrame) -> tuple[list[Frame], list[Event]]:
        try:
            frames, events = super()._receive_headers_frame(frame)
        except DenialOfServiceError:
            self.state_machine.process_input(ConnectionInputs.RECV_HEADERS)
            allowed = AllowedStreamIDs(not self.config.client_side)
            stream = self._get_or_create_stream(frame.stream_id, allowed)
            return self.receive_oversized_headers(cast("Stream", stream), frame)
        if self._decoder.knows(frame.data) and len(events) == 1:
            self._note_response(frame, events[0])
        return frames, events

    def receive_oversized_headers(
        self,
        stream: Stream,
        frame: HeadersFrame,  # noqa: ARG002 - for another server, which may answer it
    ) -> tuple[list[Frame], list[Event]]:
        """Take headers of which nothing is kept; return frames to send, and events.

        Raises:
            StreamError: the stream is to be reset.
            StreamClosedError: it is over.

        """
        stream.receive_oversized_headers()

    def _reset(self, stream_id: int, code: ErrorCodes | int) -> tuple[list[Frame], list[Event]]:
        """Answer what is wrong with a stream by its reset, unless it was over before."""
        machine = self.streams[stream_id].state_machine
        frames: list[Frame] = []
        # h2 closes a stream that gets what its state has no place for, and says nothing of it.
        if machine.stream_closed_by is None:
            machine.state = StreamState.CLOSED
            machine.stream_closed_by = StreamClosedBy.SEND_RST_STREAM
            frames.append(RstStreamFrame(stream_id, error_code=code))
        event = StreamReset(stream_id=stream_id, error_code=ErrorCodes(code), remote_reset=False)
        return frames, [event]

    def _answer_late(self, stream_id: int) -> tuple[list[Frame], list[Event]]:
        """Answer a frame on a stream that is over for it (RFC 9113 § 5.1); once (§ 5.4.2)."""
        if self._was_reset:
            return [], []
        if (stream := self.streams.get(stream_id)) is not None:
            stream.state_machine.stream_closed_by = StreamClosedBy.SEND_RST_STREAM
        else:
            self._closed_streams[stream_id] = StreamClosedBy.SEND_RST_STREAM
        code = ErrorCodes.STREAM_CLOSED
        event = StreamReset(stream_id=stream_id, error_code=code, remote_reset=False)
        return [RstStreamFrame(stream_id, error_code=code)], [event]

    def _receive_malformed_frame(self, frame: MalformedFrame) -> tuple[list[Frame], list[Event]]:
        try:
            stream = self._get_stream_by_id(frame.stream_id)
        except StreamClosedError:
            return [], []
        except NoSuchStreamError as error:
            error.error_code = frame.error_code  # there is no stream to be reset
            raise
        return ([], []) if stream.closed else self._reset(frame.stream_id, frame.error_code)

    def _receive_rst_stream_frame(self, frame: RstStreamFrame) -> tuple[list[Frame], list[Event]]:
        with suppress(StreamClosedError):
            self._get_stream_by_id(frame.stream_id)
        return super()._receive_rst_stream_frame(frame)

    def _receive_priority_frame(
        self, frame: HeadersFrame | PriorityFrame
    ) -> tuple[list[Frame], list[Event]]:
        if frame.depends_on == frame.stream_id:
            frame.depends_on = 0
        return super()._receive_priority_frame(frame)

    def _receive_naked_continuation(self, frame: ContinuationFrame) -> None:
        raise ProtocolError(f"CONTINUATION of nothing on stream {frame.stream_id}")

    def _receive_data_frame(self, frame: DataFrame) -> tuple[list[Frame], list[Event]]:
        try:
            return super()._receive_data_frame(frame)
        except StreamError as error:
            frames, events = self._reset(error.stream_id, error.error_code)
            return frames, [*events, _late(frame)]

    def _note_response(self, frame: HeadersFrame, event: Event) -> None:
        """Have the same headers taken past h2, but not with a length that h2 would hold DATA to."""
        stream = self.streams[frame.stream_id]
        if isinstance(event, ResponseReceived) and not has_content_length(stream):
            self._decoder.notes[frame.data] = event.headers

    def _open_streams(self, remainder: int) -> int:
        """Forget streams that are over; the count that h2 asks for is kept by ``Connection``."""
        if len(self.streams) >= self._next_sweep:
            super()._open_streams(remainder)
            self._next_sweep = max(_LEAST_SWEEP, 2 * len(self.streams))
        return 0

    def _handle_data_on_closed_stream(
        self,
        events: list[Event],
        exc: StreamClosedError,  # noqa: ARG002 - h2's signature
        frame: DataFrame,
    ) -> tuple[list[Frame], list[Event]]:
        frames, reset = self._answer_late(frame.stream_id)
        if frame.flow_controlled_length:
            reset.append(_late(frame))
        return frames, [*events, *reset]

    def _prepare_for_sending(self, frames: list[Frame]) -> None:
        super()._prepare_for_sending(frames)
        self.on_output()

    def _is_reset_by_us(self, stream_id: int) -> bool:
        return self._stream_closed_by(stream_id) is StreamClosedBy.SEND_RST_STREAM


def _late(frame: DataFrame) -> DataReceived:
    """Give the event of data that nobody takes, so that the connection's window is credited."""
    size = frame.flow_controlled_length
    return DataReceived(stream_id=frame.stream_id, data=b"", flow_controlled_length=size)
