"""The HTTP/2 state of a browser's connection: the transport's, for requests that are not gRPC's.

What it does with each frame in each state of a stream is in ``docs/http2_frames.md``. For example,
a read brings a whole request, the reset of another one, and headers that are too large::

    state = Http2State(hypercorn_config)
    for event in state.receive(data):   # RequestReceived, StreamEnded, StreamReset, HeadersTooLarge
        ...                             # each before the next frame is looked at
"""

from dataclasses import dataclass, replace
from itertools import chain

from h2.connection import ConnectionState
from h2.errors import ErrorCodes
from h2.events import Event, RequestReceived
from h2.stream import StreamState
from hypercorn.config import Config
from hyperframe.frame import Frame, HeadersFrame, RstStreamFrame

from grpclib_anyio.config import Configuration, Rate
from grpclib_anyio.http2 import Http2, Stream

__all__ = ["HeadersTooLarge", "Http2State", "memory_of"]

#: RFC 9113 § 6.9.2. hypercorn credits what an application has been given, and so needs no more.
_WINDOW = 65_535
#: Stands for headers that were dropped: h2 takes no request without these.
_DROPPED = (
    (b":method", b"GET"),
    (b":scheme", b"http"),
    (b":authority", b"-"),
    (b":path", b"/"),
)
#: Bytes that Python and the framework need for each header beyond its name and value.
_HEADER_OVERHEAD = 200


@dataclass(kw_only=True)
class HeadersTooLarge(Event):
    """A request had more headers than are accepted; its stream waits for an answer."""

    stream_id: int


def memory_of(request: RequestReceived) -> int:
    """Return about how many bytes of memory the headers of a request take."""
    headers = request.headers
    return sum(map(len, chain.from_iterable(headers))) + _HEADER_OVERHEAD * len(headers)


class Http2State(Http2):
    """The HTTP/2 state of one connection of a server; synchronous, does no IO."""

    stream_class = Stream
    #: What a client may do: as at the transport, but no browser measures the connection by pings.
    rates = Configuration(max_pings=Rate(per_second=500, burst=2_000))

    def __init__(self, config: Config) -> None:
        """Take hypercorn's limits, which the client is told, and the transport's budgets."""
        #: How often a stream was reset by us.
        self.resets_sent = 0
        self.limits = replace(
            self.rates,
            max_concurrent_streams=config.h2_max_concurrent_streams,
            max_header_list_size=config.h2_max_header_list_size,
            http2_stream_window_size=_WINDOW,
            http2_connection_window_size=_WINDOW,
        )
        super().__init__(self.limits, client_side=False)
        self.config.header_encoding = None  # hypercorn takes bytes
        self.config.normalize_outbound_headers = True
        self.config.validate_outbound_headers = True

    def initiate_connection(self) -> None:
        """Queue SETTINGS once: hypercorn asks again for what the transport has done."""
        if self.state_machine.state is ConnectionState.IDLE:
            super().initiate_connection()

    def is_over(self, number: int) -> bool:
        """Whether nothing more can be sent on a stream."""
        stream = self.streams.get(number)
        return stream is None or stream.closed

    def end_early(self, number: int) -> None:
        """Queue a reset of a stream whose answer is over, if its client has not ended it.

        NO_ERROR tells a client that it need not send the rest of its request (RFC 9113 § 8.1). An
        answer that has not been ended is one that failed.
        """
        if not self.is_over(number):
            stream = self.streams[number]
            is_whole = stream.state_machine.state is StreamState.HALF_CLOSED_LOCAL
            self.reset_stream(
                number, ErrorCodes.NO_ERROR if is_whole else ErrorCodes.INTERNAL_ERROR
            )

    def receive_oversized_headers(
        self, stream: Stream, frame: HeadersFrame
    ) -> tuple[list[Frame], list[Event]]:
        """Take headers of which nothing is kept: those of a request can be answered.

        Raises:
            StreamError: they are no request, and the stream is to be reset.
            StreamClosedError: it is over.

        """
        if stream.state_machine.headers_received:
            return super().receive_oversized_headers(stream, frame)
        frames, (_, *events) = stream.receive_headers(_DROPPED, "END_STREAM" in frame.flags, None)
        return frames, [HeadersTooLarge(stream_id=frame.stream_id), *events]

    def _prepare_for_sending(self, frames: list[Frame]) -> None:
        super()._prepare_for_sending(frames)
        self.resets_sent += sum([isinstance(frame, RstStreamFrame) for frame in frames])
