"""Frames whose payload is wrong: what RFC 9113 makes of them, where hyperframe ends the connection.

hyperframe refuses a frame before anybody has asked which stream it is of. For example, a
WINDOW_UPDATE by 0 on stream 5 is an error of stream 5 (§ 6.9), and the streams beside it go on::

    buffer.add_data(bytes([0, 0, 4, 8, 0, 0, 0, 0, 5, 0, 0, 0, 0]))
    next(buffer)                # MalformedFrame(5), PROTOCOL_ERROR

Read here, and not by hyperframe:

- PRIORITY of another size than five bytes, and WINDOW_UPDATE by 0: errors of their stream.
- WINDOW_UPDATE with the reserved bit, which has no meaning.
- SETTINGS, ACK with a payload: hyperframe says PROTOCOL_ERROR, and § 6.5 FRAME_SIZE_ERROR.
- ALTSVC (RFC 7838): an extension that we do not have, and so ignore, however it looks (§ 5.5).
"""

from h2.errors import ErrorCodes
from h2.exceptions import FrameDataMissingError, ProtocolError
from h2.frame_buffer import FrameBuffer
from hyperframe.frame import ExtensionFrame, Frame, WindowUpdateFrame

__all__ = ["Frames", "MalformedFrame"]

_HEADER_SIZE = 9
_PRIORITY, _SETTINGS, _WINDOW_UPDATE, _ALTSVC = 2, 4, 8, 10
_ACK = 1
_PRIORITY_SIZE, _INCREMENT_SIZE = 5, 4
#: Of 32 bits that are a number of 31.
_RESERVED = 2**31


class MalformedFrame(Frame):
    """A frame that is an error of its stream."""

    def __init__(self, stream_id: int, code: ErrorCodes) -> None:
        """Have ``stream_id`` reset with ``code``."""
        super().__init__(stream_id)
        self.error_code = code

    def _body_repr(self) -> str:
        return self.error_code.name


class Frames(FrameBuffer):
    """h2's buffer, which cuts bytes into frames."""

    def __next__(self) -> Frame:
        """Return the next frame that is complete.

        Raises:
            StopIteration: there is none.
            ProtocolError: it is an error of the connection.

        """
        odd = self._read_odd() if len(self._data) >= _HEADER_SIZE else None
        return super().__next__() if odd is None else odd

    def _read_odd(self) -> Frame | None:
        """Take the frame at the beginning, if it is one that hyperframe shall not see."""
        data = self._data
        read = _READERS.get(data[3])
        if read is None:
            return None
        end = _HEADER_SIZE + int.from_bytes(data[:3])
        if len(data) < end or end - _HEADER_SIZE > self.max_frame_size:
            return None
        stream_id = int.from_bytes(data[5:_HEADER_SIZE]) % _RESERVED
        odd = read(data[4], stream_id, bytes(data[_HEADER_SIZE:end]))
        if odd is None:
            return None
        if self._headers_buffer:
            raise ProtocolError("Invalid frame during header block")
        del data[:end]
        return odd


def _read_priority(_flags: int, stream_id: int, payload: bytes) -> Frame | None:
    if not stream_id or len(payload) == _PRIORITY_SIZE:
        return None
    return MalformedFrame(stream_id, ErrorCodes.FRAME_SIZE_ERROR)


def _read_window_update(_flags: int, stream_id: int, payload: bytes) -> Frame | None:
    increment = int.from_bytes(payload) % _RESERVED
    if len(payload) != _INCREMENT_SIZE or not (stream_id or increment):
        return None
    if not increment:
        return MalformedFrame(stream_id, ErrorCodes.PROTOCOL_ERROR)
    return WindowUpdateFrame(stream_id, increment)


def _read_settings(flags: int, _stream_id: int, payload: bytes) -> Frame | None:
    if flags & _ACK and payload:
        raise FrameDataMissingError("SETTINGS, ACK with a payload")
    return None


def _read_altsvc(_flags: int, stream_id: int, payload: bytes) -> Frame | None:
    return ExtensionFrame(_ALTSVC, stream_id, body=payload)


_READERS = {
    _PRIORITY: _read_priority,
    _SETTINGS: _read_settings,
    _WINDOW_UPDATE: _read_window_update,
    _ALTSVC: _read_altsvc,
}
