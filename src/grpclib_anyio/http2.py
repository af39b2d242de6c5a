"""h2's state machine, with what a gRPC connection needs and h2 does not offer.

Each part overrides something private to h2. That is why h2's version is bounded, and each has a
test that says when it is no longer needed:

- a GOAWAY from the peer becomes an event and nothing else. h2 would close its state machine in
  both directions, although the streams below ``last_stream_id`` go on (RFC 9113 § 6.8);
- no second RST_STREAM answers frames that crossed our first one on the wire;
- the limit of concurrent streams is announced but not enforced here. h2 would end the whole
  connection when a client exceeds it before it can know of it; we refuse the one stream;
- whoever writes to the socket is told whenever there is something to write.
"""

from collections.abc import Callable

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, Event
from h2.settings import SettingCodes, Settings
from h2.stream import StreamClosedBy
from hyperframe.frame import Frame, GoAwayFrame, RstStreamFrame, SettingsFrame

from .config import Configuration

__all__ = ["Http2"]

_DEFAULT_WINDOW = 65_535
#: RFC 9113 § 6.5.2; h2 refuses larger ones with DenialOfServiceError (a connection error).
_MAX_HEADER_LIST_SIZE = 65_536


class Http2(H2Connection):
    """The HTTP/2 state of one connection; synchronous, does no IO."""

    def __init__(
        self, config: Configuration, *, client_side: bool, on_output: Callable[[], None]
    ) -> None:
        """Prepare the preface and SETTINGS; ``on_output`` is called when bytes are queued."""
        super().__init__(
            H2Configuration(
                client_side=client_side,
                # Any byte is a latin-1 character: odd metadata of a peer cannot fail to decode.
                header_encoding="latin-1",
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self._on_output = on_output
        self.local_settings = Settings(
            client=client_side,
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.INITIAL_WINDOW_SIZE: config.http2_stream_window_size,
                SettingCodes.MAX_HEADER_LIST_SIZE: _MAX_HEADER_LIST_SIZE,
            },
        )
        self.initiate_connection()
        self._announce(config, client_side=client_side)

    def _announce(self, config: Configuration, *, client_side: bool) -> None:
        if not client_side:
            limit = {SettingCodes.MAX_CONCURRENT_STREAMS: config.max_concurrent_streams}
            self._prepare_for_sending([SettingsFrame(0, settings=limit)])
        more = config.http2_connection_window_size - _DEFAULT_WINDOW
        if more > 0:
            self.increment_flow_control_window(more)

    @property
    def queued(self) -> int:
        """Bytes of frames that wait to be written."""
        return len(self._data_to_send)

    def goaway(self, code: ErrorCodes, detail: bytes = b"") -> None:
        """Queue GOAWAY for streams above the last one received; existing streams go on."""
        self._prepare_for_sending(
            [GoAwayFrame(0, self.highest_inbound_stream_id, code, additional_data=detail)]
        )

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Frame], list[Event]]:
        event = ConnectionTerminated()
        event.error_code = frame.error_code
        event.last_stream_id = frame.last_stream_id
        event.additional_data = frame.additional_data
        return [], [event]

    def _prepare_for_sending(self, frames: list[Frame]) -> None:
        super()._prepare_for_sending([f for f in frames if not self._is_second_reset(f)])
        self._on_output()

    def _is_second_reset(self, frame: Frame) -> bool:
        # STREAM_CLOSED is h2's answer to a frame on a stream that is over; we never send it.
        return (
            isinstance(frame, RstStreamFrame)
            and frame.error_code == ErrorCodes.STREAM_CLOSED
            and self._stream_closed_by(frame.stream_id) is StreamClosedBy.SEND_RST_STREAM
        )
