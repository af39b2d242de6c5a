"""Both sides of ``ai.AIService/Generate`` over HTTP/2, without IO, for the peers of a benchmark.

They do all that a peer must do, and stay fast. h2 reads what arrives and writes HEADERS. DATA
frames bypass h2, because there is one for each token. They are made here, and only charged to h2's
windows. For example, a token is sent like this::

    message = message_of("token ")
    side.charge(stream_id, len(message))
    sock.sendall(framed(stream_id, message))
"""

import struct
from collections.abc import Callable, Iterator

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    DataReceived,
    Event,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.settings import SettingCodes

from relay_proto.ai import GenerateRequest, GenerateResponse

__all__ = ["DONE", "AskingSide", "ModelSide", "framed", "message_of"]

#: RFC 9113 § 4.1: a length of 3 bytes, type, flags, stream. The type of DATA is 0.
_FRAME = struct.Struct(">BHBBI")
_FRAME_SIZE = 16_384
#: gRPC PROTOCOL-HTTP2, Length-Prefixed-Message.
_PREFIX = struct.Struct(">BI")
_MANY_STREAMS = 2**31 - 1
_LARGEST_WINDOW = 2**31 - 1
_DEFAULT_WINDOW = 65_535

_REQUEST = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/ai.AIService/Generate"),
    (":authority", "bench"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
]
_RESPONSE = [(":status", "200"), ("content-type", "application/grpc")]
_TRAILERS = [("grpc-status", "0")]


def _prefixed(message: bytes) -> bytes:
    return _PREFIX.pack(0, len(message)) + message


def message_of(token: str) -> bytes:
    """Encode the message of a token, with its prefix."""
    return _prefixed(bytes(GenerateResponse(token=token)))


#: The message after the last token.
DONE = _prefixed(bytes(GenerateResponse(done=True)))


def framed(stream_id: int, message: bytes) -> bytes:
    """Put one message into DATA frames, as gRPC servers do with tokens that come one by one."""
    return b"".join(
        _FRAME.pack(len(part) >> 16, len(part) & 0xFFFF, 0, 0, stream_id) + part
        for part in _parts(message)
    )


def _parts(message: bytes) -> Iterator[bytes]:
    for start in range(0, len(message), _FRAME_SIZE):
        yield message[start : start + _FRAME_SIZE]


class ModelSide:
    """A model service's end of a connection."""

    def __init__(
        self, on_asked: Callable[[int, str], None], on_left: Callable[[int], None]
    ) -> None:
        """Start a connection.

        Args:
            on_asked: called with a new stream and its prompt.
            on_left: called with a stream that the client has reset.

        """
        self._h2 = H2Connection(H2Configuration(client_side=False))
        self._h2.initiate_connection()
        self._h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: _MANY_STREAMS})
        self._requests: dict[int, bytes] = {}
        self._on_asked = on_asked
        self._on_left = on_left

    def receive(self, data: bytes) -> bool:
        """Handle bytes that arrived; return whether they opened a window."""
        is_opened = False
        for event in self._h2.receive_data(data):
            is_opened = is_opened or isinstance(event, WindowUpdated)
            self._handle(event)
        return is_opened

    def _handle(self, event: Event) -> None:
        match event:
            case RequestReceived():
                stream_id = event.stream_id
                self._requests[stream_id] = b""
                self._h2.send_headers(stream_id, _RESPONSE)
            case DataReceived():
                self._requests[event.stream_id] += event.data or b""
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case StreamEnded():
                stream_id = event.stream_id
                request = GenerateRequest().parse(self._requests.pop(stream_id)[_PREFIX.size :])
                self._on_asked(stream_id, request.prompt)
            case StreamReset():
                self._requests.pop(event.stream_id, None)
                self._on_left(event.stream_id)
            case _:
                pass

    def data_to_send(self) -> bytes:
        """Return the bytes to write now, before any DATA frame."""
        return self._h2.data_to_send()

    def window(self, stream_id: int) -> int:
        """Return how many bytes the stream may send now."""
        return self._h2.local_flow_control_window(stream_id)

    def charge(self, stream_id: int, size: int) -> None:
        """Charge bytes of messages that bypass h2 to its windows."""
        self._h2.outbound_flow_control_window -= size
        self._h2.streams[stream_id].outbound_flow_control_window -= size

    def end(self, stream_id: int) -> None:
        """End a stream with status OK."""
        self._h2.send_headers(stream_id, _TRAILERS, end_stream=True)


class AskingSide:
    """A gateway's end of a connection. It takes all data at once."""

    def __init__(self) -> None:
        """Start a connection with the largest windows there are."""
        self._h2 = H2Connection(H2Configuration(client_side=True))
        self._h2.initiate_connection()
        self._h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: _LARGEST_WINDOW})
        self._h2.increment_flow_control_window(_LARGEST_WINDOW - _DEFAULT_WINDOW)

    def ask(self, prompt: str) -> None:
        """Open a stream with a prompt."""
        stream_id = self._h2.get_next_available_stream_id()
        self._h2.send_headers(stream_id, _REQUEST)
        message = _prefixed(bytes(GenerateRequest(prompt=prompt)))
        self._h2.send_data(stream_id, message, end_stream=True)

    def receive(self, data: bytes) -> None:
        """Handle bytes that arrived."""
        self._h2.receive_data(data)

    def data_to_send(self) -> bytes:
        """Return the bytes to write now."""
        return self._h2.data_to_send()
