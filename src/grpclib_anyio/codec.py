"""A codec for betterproto's messages that looks at a message class once, not once a message.

betterproto interprets a class's description anew for every message: 26 µs to decode one of two
fields. Here a class of scalar fields becomes two tables, by tag for decoding and in field order
for encoding, and a message costs about a microsecond.

The tables hold only what is plain. Whatever is not (an unknown field, a wire type that does not
fit, a truncated message, a value of an unexpected type) is left to betterproto as a whole, so that
its behaviour stays betterproto's by construction. So are classes with oneofs, optional, repeated,
map or message fields, and messages that are not betterproto's at all.
"""

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import betterproto
from betterproto import Message
from grpclib.encoding.base import CodecBase
from grpclib.encoding.proto import ProtoCodec

__all__ = ["CompiledCodec"]

#: Protocol Buffers, "Encoding": how a value is delimited.
_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5
_WIRE_TYPE = 0b111
_SIZES = {_FIXED64: 8, _FIXED32: 4}
_MAX_VARINT_BITS = 64
_CONTINUES = 0x80


class _OddError(Exception):
    """Not plain: left to betterproto."""


class _Kind(NamedTuple):
    """A scalar type: its wire type, its Python type, and the functions between them."""

    wire_type: int
    python_type: type
    decode: Callable[[Any], Any]
    encode: Callable[[Any], bytes]


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < _CONTINUES:
            return value, position
        shift += 7
        if shift >= _MAX_VARINT_BITS:
            raise _OddError


def _varint(value: int) -> bytes:
    if not -(1 << 63) <= value < 1 << 64:
        raise _OddError
    value &= (1 << 64) - 1
    encoded = bytearray()
    while value >= _CONTINUES:
        encoded.append(value & 0x7F | _CONTINUES)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _delimited(data: bytes) -> bytes:
    return _varint(len(data)) + data


def _signed(bits: int) -> Callable[[int], int]:
    mask, sign = (1 << bits) - 1, 1 << (bits - 1)
    return lambda value: ((value & mask) ^ sign) - sign


def _zigzag(value: int) -> int:
    return (value >> 1) ^ -(value & 1)


def _unzigzag(value: int) -> bytes:
    return _varint(value << 1 if value >= 0 else (value << 1) ^ -1)


def _fixed(python_type: type, code: str) -> _Kind:
    coder = struct.Struct(f"<{code}")
    wire_type = _FIXED32 if coder.size == struct.calcsize("<i") else _FIXED64
    return _Kind(wire_type, python_type, lambda data: coder.unpack(data)[0], coder.pack)


def _same(value: int) -> int:
    return value


_KINDS = {
    betterproto.TYPE_STRING: _Kind(_DELIMITED, str, bytes.decode, lambda v: _delimited(v.encode())),
    betterproto.TYPE_BYTES: _Kind(_DELIMITED, bytes, bytes, _delimited),
    betterproto.TYPE_BOOL: _Kind(_VARINT, bool, bool, _varint),
    betterproto.TYPE_INT32: _Kind(_VARINT, int, _signed(32), _varint),
    betterproto.TYPE_INT64: _Kind(_VARINT, int, _signed(64), _varint),
    betterproto.TYPE_UINT32: _Kind(_VARINT, int, _same, _varint),
    betterproto.TYPE_UINT64: _Kind(_VARINT, int, _same, _varint),
    betterproto.TYPE_SINT32: _Kind(_VARINT, int, _zigzag, _unzigzag),
    betterproto.TYPE_SINT64: _Kind(_VARINT, int, _zigzag, _unzigzag),
    betterproto.TYPE_FLOAT: _fixed(float, "f"),
    betterproto.TYPE_DOUBLE: _fixed(float, "d"),
    betterproto.TYPE_FIXED32: _fixed(int, "I"),
    betterproto.TYPE_FIXED64: _fixed(int, "Q"),
    betterproto.TYPE_SFIXED32: _fixed(int, "i"),
    betterproto.TYPE_SFIXED64: _fixed(int, "q"),
}


class _Table:
    """The fields of one message class."""

    def __init__(self, message_type: type[Message], kinds: dict[str, _Kind]) -> None:
        self._type = message_type
        self._by_tag: dict[int, tuple[str, int | None, Callable[[Any], Any]]] = {}
        self._in_order: list[tuple[str, type, bytes, Callable[[Any], bytes]]] = []
        # What betterproto keeps in a message's __dict__ when nothing was set.
        self._blank = vars(message_type()) | {"_serialized_on_wire": True}
        for name, meta in message_type._betterproto.meta_by_field_name.items():
            kind = kinds[name]
            tag = meta.number << 3 | kind.wire_type
            self._by_tag[tag] = (name, _SIZES.get(kind.wire_type), kind.decode)
            self._in_order.append((name, kind.python_type, _varint(tag), kind.encode))

    def decode(self, data: bytes) -> Message:
        values = self._blank.copy()
        position, end = 0, len(data)
        while position < end:
            tag, position = data[position], position + 1
            if tag >= _CONTINUES:
                tag, position = _read_varint(data, position - 1)
            field = self._by_tag.get(tag)
            if field is None:
                raise _OddError
            name, size, decode = field
            if size is None:  # a varint, which is the value or the value's length
                size, position = data[position], position + 1
                if size >= _CONTINUES:
                    size, position = _read_varint(data, position - 1)
                if tag & _WIRE_TYPE == _VARINT:
                    values[name] = decode(size)
                    continue
            start, position = position, position + size
            values[name] = decode(data[start:position])
        if position != end:
            raise _OddError
        return self._message(values)

    def _message(self, values: dict[str, Any]) -> Message:
        # Past betterproto's __setattr__ and __getattribute__, which are most of its cost.
        message: Message = object.__new__(self._type)
        object.__setattr__(message, "__dict__", values)
        return message

    def encode(self, message: Message) -> bytes:
        values = object.__getattribute__(message, "__dict__")
        encoded = b""
        for name, python_type, tag, encode in self._in_order:
            value = values[name]
            if type(value) is python_type:
                if value:
                    encoded += tag + encode(value)
            elif value is not betterproto.PLACEHOLDER:
                raise _OddError
        return encoded + values["_unknown_fields"]


def _compile(message_type: type) -> _Table | None:
    if not issubclass(message_type, Message):
        return None
    description = message_type._betterproto
    kinds: dict[str, _Kind] = {}
    for name, meta in description.meta_by_field_name.items():
        kind = _kind(description, name, meta)
        if kind is None:
            return None
        kinds[name] = kind
    return _Table(message_type, kinds)


def _kind(description: Any, name: str, meta: Any) -> _Kind | None:  # noqa: ANN401 - betterproto's
    if meta.group or meta.optional or meta.wraps or description.default_gen[name] is list:
        return None
    if meta.proto_type == betterproto.TYPE_ENUM:
        enum = description.cls_by_field[name]
        return _Kind(_VARINT, enum, enum.try_value, _varint)
    return _KINDS.get(meta.proto_type)


class CompiledCodec(CodecBase):
    """Encodes and decodes protobuf messages of betterproto, quickly, and of google.protobuf.

    The same bytes and the same messages as grpclib's ``ProtoCodec`` gives, and the same errors.
    """

    __content_subtype__ = "proto"

    def __init__(self) -> None:
        """Start with no class known."""
        self._tables: dict[type, _Table | None] = {}
        self._general = ProtoCodec()

    def encode(self, message: Any, message_type: Any) -> bytes:  # noqa: ANN401 - grpclib's
        """Return a message's bytes.

        Raises:
            TypeError: ``message`` is not a ``message_type``.

        """
        if type(message) is message_type and (table := self._table(message_type)):
            try:
                return table.encode(message)
            except (_OddError, struct.error, UnicodeEncodeError):
                pass
        return self._general.encode(message, message_type)

    def decode(self, data: bytes, message_type: Any) -> Any:  # noqa: ANN401 - grpclib's
        """Return the message that ``data`` holds.

        Raises:
            Exception: whatever the message's own library raises for malformed data.

        """
        if table := self._table(message_type):
            try:
                return table.decode(data)
            except (_OddError, IndexError, UnicodeDecodeError):
                pass
        return self._general.decode(data, message_type)

    def _table(self, message_type: type) -> _Table | None:
        try:
            return self._tables[message_type]
        except KeyError:
            table = self._tables[message_type] = _compile(message_type)
            return table
