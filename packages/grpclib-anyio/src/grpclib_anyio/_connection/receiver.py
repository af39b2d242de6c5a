"""The receiving side of a connection: what each frame of the peer means for its streams.

Bytes become events of h2, in order, and each event is handled before the next frame is looked at.
Most frames never become one: DATA that moves two windows and nothing else, a response's usual
HEADERS and PING come here directly, see ``received_frames``. For example, a short answer is::

    HEADERS                 stream.headers_received(…)
    DATA                    stream.data_received(…), and the connection's window is credited
    HEADERS, END_STREAM     stream.trailers_received(…), stream.end_received()

Nothing here waits, least of all for a call: what arrives is put into its stream's inbox. The
stream's window bounds the inbox (RFC 9113 § 5.2). A frame of a stream that is not in the table (any
more) is counted and dropped.

Frames that cost us work and move no call forward are counted, each kind against a rate that no
honest peer keeps up. A peer that does is told ENHANCE_YOUR_CALM, and its connection ends.

The event loop waits for what one read has brought. So the frames are handled in turns of a few
milliseconds, and other tasks run in between. A turn is bounded by what frames cost, as it was
measured, and not by a clock, so that a test runs the same way each time.
"""

import logging
from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Protocol, cast

from grpclib.const import Status
from h2 import events as h2_events
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from hyperframe.frame import WindowUpdateFrame

from grpclib_anyio._base.config import Configuration
from grpclib_anyio._base.errors import TerminatedError, goaway_message, reset_error, unavailable
from grpclib_anyio._base.headers import Headers
from grpclib_anyio._connection.budgets import TOO_MANY_PINGS, Budgets
from grpclib_anyio._connection.http2 import FrameIgnored, Http2
from grpclib_anyio._connection.keepalive import Strikes
from grpclib_anyio._connection.sender import Sender
from grpclib_anyio._connection.streams import Streams
from grpclib_anyio._fast.received_frames import OnFrames
from grpclib_anyio._stream.flow_control import ReceiveWindow
from grpclib_anyio._stream.stream import MessageStream

__all__ = ["Receiver", "Receiving"]

#: A turn, in units of about 25 µs: five milliseconds.
_COST_OF_TURN = 200

_log = logging.getLogger("grpclib_anyio")


class Receiving(Protocol):
    """The connection, as far as what it receives is concerned."""

    @property
    @abstractmethod
    def on_request(self) -> Callable[[MessageStream], None] | None:
        """Takes each new request; without it, requests are refused."""

    @property
    @abstractmethod
    def last_received(self) -> float:
        """When the bytes that are being handled came, on the loop's clock."""

    @abstractmethod
    def settings_received(self) -> None:
        """Let callers in: the peer speaks HTTP/2, and its limits are known."""

    @abstractmethod
    def ping_answered(self, data: bytes) -> None:
        """Handle the answer to the PING that had ``data``."""

    @abstractmethod
    def goaway_received(self, error: TerminatedError, *, too_many_pings: bool) -> None:
        """Take no new calls: they would fail with ``error``."""

    @abstractmethod
    def protocol_broken(self, error: ProtocolError) -> None:
        """End the connection: the peer's bytes are no HTTP/2."""

    @abstractmethod
    def close(self, code: ErrorCodes, detail: bytes) -> None:
        """End the connection with GOAWAY."""


class Receiver:
    """Handles what arrives on one connection."""

    def __init__(
        self,
        connection: Receiving,
        h2: Http2,
        streams: Streams,
        sender: Sender,
        *,
        strikes: Strikes,
        config: Configuration,
    ) -> None:
        """Read with ``h2``; tell ``streams`` what is theirs and ``connection`` the rest."""
        self._connection = connection
        self._h2 = h2
        self._streams = streams
        self._sender = sender
        self._strikes = strikes
        #: The connection's window, credited on receipt; each stream has one more.
        self.window = ReceiveWindow(config.http2_connection_window_size)
        self._budgets = Budgets(
            config, clock=lambda: connection.last_received, on_flood=self._end_flood
        )
        self._handlers: dict[type[h2_events.Event], Callable[..., None]] = {
            h2_events.RequestReceived: self._request_received,
            h2_events.ResponseReceived: self._response_received,
            h2_events.DataReceived: self._data_received,
            h2_events.TrailersReceived: self._trailers_received,
            h2_events.StreamEnded: self._stream_ended,
            h2_events.StreamReset: self._stream_reset,
            h2_events.WindowUpdated: self._window_updated,
            h2_events.RemoteSettingsChanged: self._settings_changed,
            h2_events.SettingsAcknowledged: self._settings_acknowledged,
            h2_events.UnknownFrameReceived: self._unknown_received,
            FrameIgnored: self._frame_ignored,
            h2_events.PingReceived: self._ping_received,
            h2_events.PingAckReceived: self._ping_answered,
            h2_events.ConnectionTerminated: self._goaway_received,
        }
        if config.reads_data_past_h2:
            h2.read_past(OnFrames(self._bytes_received, self._headers_received, self._pinged))

    def receive(self, data: bytes) -> Iterator[None]:
        """Handle bytes from the peer, in turns: other tasks should run after each ``None``."""
        # What arrives while we close has no meaning any more; read it all the same, for bytes
        # left unread would turn the close into a reset that overtakes our GOAWAY.
        events = self._h2.receive(data)
        while not self._streams.is_closed and (event := self._next_event(events)):
            handle = self._handlers.get(type(event))
            if handle is not None:
                handle(event)
            if self._h2.cost >= _COST_OF_TURN:
                self._h2.cost = 0
                yield

    def _next_event(self, events: Iterator[h2_events.Event]) -> h2_events.Event | None:
        try:
            return next(events, None)
        except ProtocolError as error:
            # h2 has queued a GOAWAY that says what it was.
            self._connection.protocol_broken(error)
            return None

    def _end_flood(self, name: bytes) -> None:
        _log.warning("%r: a flood from the peer: %s", self._connection, name.decode())
        self._connection.close(ErrorCodes.ENHANCE_YOUR_CALM, name)

    # -- headers --------------------------------------------------------------------------------

    def _request_received(self, event: h2_events.RequestReceived) -> None:
        on_request, headers = self._connection.on_request, cast("Headers", event.headers)
        if on_request is None or self._streams.is_full:
            self._sender.refuse(event.stream_id, ErrorCodes.REFUSED_STREAM)
            self._budgets.call_made_in_vain()
        elif not self._streams.has_room_for(headers):
            # gRPC's name for it is RESOURCE_EXHAUSTED. It may be the doing of other clients.
            self._sender.refuse(event.stream_id, ErrorCodes.ENHANCE_YOUR_CALM)
        else:
            stream = self._streams.add(event.stream_id, self._sender)
            stream.headers_received(headers)
            on_request(stream)

    def _response_received(self, event: h2_events.ResponseReceived) -> None:
        headers = cast("Headers", event.headers)
        if event.stream_ended is not None and (stream := self._streams.get(event.stream_id)):
            stream.trailers_received(headers)  # Trailers-Only: they are both
        self._headers_received(event.stream_id, headers)

    def _headers_received(self, stream_id: int, headers: Headers) -> None:
        if stream := self._streams.get(stream_id):
            stream.headers_received(headers)

    def _trailers_received(self, event: h2_events.TrailersReceived) -> None:
        if stream := self._streams.get(event.stream_id):
            stream.trailers_received(cast("Headers", event.headers))

    # -- data -----------------------------------------------------------------------------------

    def _bytes_received(self, stream_id: int, data: bytes, size: int) -> None:
        """Take a DATA frame that h2 has not made an event of, see ``OnFrames``."""
        if increment := self.window.credit(size):
            self._h2.increment_flow_control_window(increment)
        if data and (stream := self._streams.get(stream_id)) and stream.data_received(data, 0):
            self._budgets.little_received()

    def _data_received(self, event: h2_events.DataReceived) -> None:
        size = event.flow_controlled_length
        if increment := self.window.credit(size):
            self._h2.increment_flow_control_window(increment)
        stream = self._streams.get(event.stream_id)
        if stream and stream.data_received(event.data, size - len(event.data)):
            self._budgets.little_received()
        if not event.data:
            self._empty_data_received(event, size)

    def _empty_data_received(self, event: h2_events.DataReceived, size: int) -> None:
        stream = self._streams.get(event.stream_id)
        # What crossed our reset on the wire comes without its data: see Http2.
        is_late = size > 0 and (stream is None or stream.state.is_closed)
        if event.stream_ended is None and not is_late:
            self._budgets.little_received()

    def _unknown_received(self, _event: h2_events.UnknownFrameReceived) -> None:
        self._budgets.little_received()

    def _frame_ignored(self, event: FrameIgnored) -> None:
        if isinstance(event.frame, WindowUpdateFrame):
            self._count_window_update()
        else:
            self._budgets.frame_ignored(event, resets_sent=self._sender.resets_sent)

    # -- the end of a stream --------------------------------------------------------------------

    def _stream_ended(self, event: h2_events.StreamEnded) -> None:
        if stream := self._streams.get(event.stream_id):
            self._streams.end_remote(stream)
            stream.end_received()

    def _stream_reset(self, event: h2_events.StreamReset) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is None or not self._streams.reset(stream):
            if not event.remote_reset:  # the peer made us reset what never became a call
                self._budgets.call_made_in_vain()
            return
        if event.remote_reset:
            if not (stream.is_handled or stream.state.headers_sent):
                self._budgets.call_made_in_vain()
            stream.fail(reset_error(event.error_code))
        else:
            self._budgets.call_made_in_vain()
            stream.fail(_stream_error(event.error_code))

    # -- the connection -------------------------------------------------------------------------

    def _window_updated(self, event: h2_events.WindowUpdated) -> None:
        self._sender.unblock(event.stream_id or 0)
        self._count_window_update()

    def _count_window_update(self) -> None:
        self._budgets.window_updated(frames_sent=self._sender.frames_sent)

    def _settings_changed(self, event: h2_events.RemoteSettingsChanged) -> None:
        self._connection.settings_received()
        self._budgets.settings_received()
        if SettingCodes.INITIAL_WINDOW_SIZE in event.changed_settings:
            self._sender.unblock_all()
        self._streams.limit.admit()

    def _settings_acknowledged(self, _event: h2_events.SettingsAcknowledged) -> None:
        self._budgets.settings_received()

    def _ping_answered(self, event: h2_events.PingAckReceived) -> None:
        self._budgets.pinged()
        self._connection.ping_answered(event.ping_data or b"")

    def _ping_received(self, _event: h2_events.PingReceived) -> None:
        self._pinged()

    def _pinged(self) -> None:
        self._budgets.pinged()
        if not self._h2.config.client_side and self._strikes.is_out():
            self._connection.close(ErrorCodes.ENHANCE_YOUR_CALM, TOO_MANY_PINGS)

    def _goaway_received(self, event: h2_events.ConnectionTerminated) -> None:
        code, detail = event.error_code or ErrorCodes.NO_ERROR, event.additional_data or b""
        too_many_pings = code == ErrorCodes.ENHANCE_YOUR_CALM and detail == TOO_MANY_PINGS
        error = unavailable(goaway_message(code, detail))
        if self._h2.config.client_side:
            self._streams.fail_above(event.last_stream_id or 0, error)
        self._connection.goaway_received(error, too_many_pings=too_many_pings)


def _stream_error(code: ErrorCodes | int | None) -> TerminatedError:
    """Say why we have reset a stream."""
    if code == ErrorCodes.ENHANCE_YOUR_CALM:
        text = "The peer's metadata is more than is accepted"
        return TerminatedError(Status.RESOURCE_EXHAUSTED, text)
    return TerminatedError(Status.INTERNAL, "The peer broke the HTTP/2 protocol")
