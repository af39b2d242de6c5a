"""What goes over a channel's connections, and what must be true of it whatever was cancelled."""

from typing import cast

from anyio.abc import ByteStream
from h2.errors import ErrorCodes
from hyperframe.frame import DataFrame, Frame, RstStreamFrame, WindowUpdateFrame

from grpclib_anyio._connection.connection import Connection
from grpclib_anyio.testing import FrameRecorder, MemoryStream
from harness.leaks.registry import CONNECTIONS

#: HTTP/2's window of a connection, as it is at first.
FIRST_WINDOW = 65_535


class Wires:
    """The client's ends of a channel's connections, and the frames that they have seen."""

    def __init__(self) -> None:
        self.streams: list[MemoryStream] = []
        self.recorders: list[FrameRecorder] = []

    def wrap(self, stream: ByteStream) -> ByteStream:
        """Note a new connection; see `ChannelFor`."""
        self.streams.append(cast("MemoryStream", stream))
        self.recorders.append(FrameRecorder(stream))
        return self.recorders[-1]

    @property
    def resets(self) -> list[int]:
        """The streams that the client has reset, in this order."""
        frames = [frame for recorder in self.recorders for frame in recorder.sent]
        return [frame.stream_id for frame in frames if isinstance(frame, RstStreamFrame)]

    def check_frames(self) -> None:
        """See that none was sent on a stream that had been reset, nor the half of one."""
        for recorder in self.recorders:
            assert not recorder.is_torn
            check_resets(recorder.sent)

    def check_windows(self) -> None:
        """See that both windows of the one connection are full, with nothing on its way."""
        (recorder,) = self.recorders
        client, server = sorted((one for one in CONNECTIONS if one.is_open), key=repr)
        assert _missing(recorder.sent, recorder.received) == _owed(server)
        assert _missing(recorder.received, recorder.sent) == _owed(client)


def check_resets(frames: list[Frame], *, also: frozenset[ErrorCodes] = frozenset()) -> None:
    """See that streams are reset by CANCEL only (and `also` by these), and that nothing follows."""
    reset: set[int] = set()
    for frame in frames:
        assert frame.stream_id not in reset, f"after RST_STREAM: {frame}"
        if isinstance(frame, RstStreamFrame):
            assert frame.error_code in {ErrorCodes.CANCEL, *also}
            reset.add(frame.stream_id)


def _missing(sent: list[Frame], received: list[Frame]) -> int:
    """Return by how much a sender's window of the connection is smaller than at first."""
    data = sum(frame.flow_controlled_length for frame in sent if isinstance(frame, DataFrame))
    updates = [frame for frame in received if isinstance(frame, WindowUpdateFrame)]
    return data - sum(frame.window_increment for frame in updates if frame.stream_id == 0)


def _owed(receiver: Connection) -> int:
    """Return what a receiver will give back as soon as it is worth a frame."""
    more = receiver._config.http2_connection_window_size - FIRST_WINDOW  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - nothing else tells
    return receiver._receiver.window.owed - more  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - nothing else tells
