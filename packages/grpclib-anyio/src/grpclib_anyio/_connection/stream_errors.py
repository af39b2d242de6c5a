"""What is wrong with one stream's messages is an error of that stream (RFC 9113 § 8.1.1).

h2 ends the connection for all that it finds wrong. Behind a proxy this lets one client end the
streams of all others. For example, a request with ``Content-Length: 5`` and six bytes of body is
told RST_STREAM(PROTOCOL_ERROR), and the streams beside it go on.

What cannot be told to belong to one stream still ends the connection: a header block that cannot be
decoded, because all later blocks depend on it (§ 4.3), and frames that are no frames (§ 5.4.1).
"""

from collections.abc import Iterable
from typing import Any, NoReturn

from h2.errors import ErrorCodes
from h2.events import Event
from h2.exceptions import FlowControlError, InvalidBodyLengthError, ProtocolError
from h2.stream import H2Stream, StreamInputs
from hyperframe.frame import Frame

__all__ = ["GrpcStream", "Stream", "StreamError"]

#: h2's errors that are about one stream when a stream raises them; their subclasses are about more.
_OF_A_STREAM = (ProtocolError, FlowControlError, InvalidBodyLengthError)


class StreamError(ProtocolError):
    """A stream has to be reset, and nothing else."""

    def __init__(self, stream_id: int, code: ErrorCodes) -> None:
        """Have ``stream_id`` reset with ``code``."""
        super().__init__(f"stream {stream_id}: {code.name}")
        self.stream_id = stream_id
        self.error_code = code


class Stream(H2Stream):
    """h2's stream, whose errors are its own."""

    def receive_headers(
        self,
        headers: Iterable[Any],
        end_stream: bool,  # noqa: FBT001 - h2's signature
        header_encoding: bool | str | None,  # noqa: FBT001 - h2's signature
    ) -> tuple[list[Frame], list[Event]]:
        """Take headers.

        Raises:
            StreamError: they are malformed, or end what is shorter than ``content-length`` says.

        """
        length = self._expected_content_length
        is_trailers = self.state_machine.headers_received
        try:
            received = super().receive_headers(headers, end_stream, header_encoding)
            if is_trailers:  # h2 forgets the length there, and compares it at the end of data only
                self._expected_content_length = length
            if end_stream:
                self._track_content_length(0, end_stream)
        except _OF_A_STREAM as error:
            raise self._own(error) from error
        return received

    def receive_oversized_headers(self) -> NoReturn:
        """Take headers that are more than is accepted, and of which nothing is kept.

        Raises:
            StreamError: always, unless the stream is over.
            StreamClosedError: it is over.

        """
        try:
            self.state_machine.process_input(StreamInputs.RECV_HEADERS)
        except _OF_A_STREAM as error:
            raise self._own(error) from error
        raise StreamError(self.stream_id, ErrorCodes.ENHANCE_YOUR_CALM)

    def receive_data(
        self,
        data: bytes,
        end_stream: bool,  # noqa: FBT001 - h2's signature
        flow_control_len: int,
    ) -> tuple[list[Frame], list[Event]]:
        """Take data.

        Raises:
            StreamError: it is more than the window, not what ``content-length`` says, or comes
                before the headers.

        """
        try:
            return super().receive_data(data, end_stream, flow_control_len)
        except _OF_A_STREAM as error:
            raise self._own(error) from error

    def _own(self, error: ProtocolError) -> ProtocolError:
        if type(error) not in _OF_A_STREAM:
            return error
        return StreamError(self.stream_id, error.error_code)


class GrpcStream(Stream):
    """A stream of gRPC, which bears white space at the ends of a value."""

    def _process_received_headers(
        self, headers: Iterable[Any], header_validation_flags: Any, header_encoding: Any
    ) -> list[Any]:
        given = list(headers)
        try:
            return super()._process_received_headers(
                given, header_validation_flags, header_encoding
            )
        except ProtocolError:
            # gRPC PROTOCOL-HTTP2: white space at the ends of a value may be stripped. What is
            # still wrong then raises again.
            return super()._process_received_headers(
                [_stripped(header) for header in given], header_validation_flags, header_encoding
            )


def _stripped(header: Any) -> Any:
    name, value = header
    return header if name.startswith(b":") else type(header)(name, value.strip(b" \t"))
