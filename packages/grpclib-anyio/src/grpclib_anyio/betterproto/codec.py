"""A codec for betterproto's messages that looks at a message class once, not once a message.

betterproto interprets a class's description for every message: 26 µs to decode one of two
fields. Here a class becomes two tables, by tag for decoding and in field order for encoding, and
such a message costs about a microsecond. Fields may be scalars and messages, optional ones too, and
lists of these.

The tables hold only what is plain. Whatever is not (a wire type that does not fit, a truncated
message, a value of an unexpected type) is left to betterproto as a whole, so that its behaviour
stays betterproto's by construction. A malformed message of more than 4 KiB is refused instead,
because betterproto may need minutes for it, in which no other call moves. Fields that the class
does not have are set aside here for the same reason. Left to betterproto are also classes with
oneofs, maps, wrapped values or timestamps, and messages that are not betterproto's at all.
"""

import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast

import betterproto
from betterproto import Message
from grpclib.encoding.base import CodecBase
from grpclib.encoding.proto import ProtoCodec

from grpclib_anyio.betterproto.messages import blank, message_of

__all__ = ["CompiledCodec", "Table"]

#: Protocol Buffers, "Encoding": how a value is delimited.
_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5
_WIRE_TYPE = 0b111
_SIZES = {_FIXED64: 8, _FIXED32: 4}
_MAX_VARINT_BITS = 64
_CONTINUES = 0x80
#: Bytes of a malformed message that betterproto may look at: it takes 9 µs for each.
_MAX_ODD_SIZE = 4_096


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


def _end_of_value(data: bytes, position: int, wire_type: int) -> int:
    if wire_type == _DELIMITED:
        size, position = _read_varint(data, position)
        return position + size
    if wire_type == _VARINT:
        return _read_varint(data, position)[1]
    if wire_type not in _SIZES:
        raise _OddError
    return position + _SIZES[wire_type]


#: The varints of one byte: most tags and lengths.
_SHORT = [bytes([value]) for value in range(_CONTINUES)]


def _varint(value: int) -> bytes:
    if 0 <= value < _CONTINUES:
        return _SHORT[value]
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
    size = len(data)
    return (_SHORT[size] if size < _CONTINUES else _varint(size)) + data


def _encoded(value: str) -> bytes:
    # As _delimited, without its call: each token comes here.
    data = value.encode()
    size = len(data)
    return (_SHORT[size] if size < _CONTINUES else _varint(size)) + data


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

    def decode(data: bytes) -> Any:
        return coder.unpack(data)[0]

    return _Kind(wire_type, python_type, decode, coder.pack)


#: What the tables raise for what is not plain.
_ODD = (_OddError, IndexError, struct.error, UnicodeError)


def _same(value: int) -> int:
    return value


_KINDS = {
    betterproto.TYPE_STRING: _Kind(_DELIMITED, str, bytes.decode, _encoded),
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


class _Decoder(NamedTuple):
    """What to do with one tag: where the value goes, and how it is read."""

    name: str
    #: Bytes of a fixed-size value; None for a varint, or a length that is one.
    size: int | None
    decode: Callable[[Any], Any]
    is_appended: bool


class _Encoder(NamedTuple):
    """How one field is written, whose value is of just this type."""

    name: str
    python_type: type
    #: What the field holds until it is set: None if it is optional.
    unset: object
    #: Gives the field with its tag, or nothing for a value that is not written.
    encode: Callable[[Any], bytes]


class Table:
    """The fields of one message class."""

    def __init__(self, message_type: type[Message]) -> None:
        self.decoders: dict[int, _Decoder] = {}
        self.encoders: list[_Encoder] = []
        self._type = message_type
        self.blank = blank(message_type) | {"_serialized_on_wire": True}

    def decode(self, data: bytes) -> Message:
        """Return the message that ``data`` holds; raises one of ``_ODD`` if it is not plain."""
        values = self.blank.copy()
        position, end = 0, len(data)
        while position < end:
            tag, position = data[position], position + 1
            if tag >= _CONTINUES:
                tag, position = _read_varint(data, position - 1)
            field = self.decoders.get(tag)
            if field is None:
                return self._decode_known(data)
            # The size of a value stands for it until the value itself is read.
            value: Any
            name, value, decode, is_appended = field
            if value is None:
                value, position = data[position], position + 1
                if value >= _CONTINUES:
                    value, position = _read_varint(data, position - 1)
            if tag & _WIRE_TYPE != _VARINT:
                start, position = position, position + value
                value = data[start:position]
            if is_appended:
                _items(values, name).append(decode(value))
            else:
                values[name] = decode(value)
        if position != end:
            raise _OddError
        return message_of(self._type, values)

    def _decode_known(self, data: bytes) -> Message:
        """Decode a message with fields that its class does not have: they are kept as they came.

        betterproto needs 17 µs for each of them, and a message may hold millions.
        """
        known, unknown = bytearray(), bytearray()
        numbers = {tag >> 3 for tag in self.decoders}
        position = 0
        while position < len(data):
            start = position
            tag, position = _read_varint(data, position)
            position = _end_of_value(data, position, tag & _WIRE_TYPE)
            (known if tag >> 3 in numbers else unknown).extend(data[start:position])
        if not unknown or position != len(data):
            raise _OddError
        message = self.decode(bytes(known))
        object.__getattribute__(message, "__dict__")["_unknown_fields"] = bytes(unknown)
        return message

    def encode(self, message: Message) -> bytes:
        """Return a message's bytes; raises one of ``_ODD`` if it is not plain."""
        values = object.__getattribute__(message, "__dict__")
        encoded = b""
        for name, python_type, unset, encode in self.encoders:
            if (value := values[name]) is unset:
                continue
            if type(value) is not python_type:
                raise _OddError
            encoded += encode(value)
        unknown: bytes = values["_unknown_fields"]
        return encoded + unknown


def _items(values: dict[str, Any], name: str) -> list[Any]:
    items: list[Any] | Any = values[name]
    if items is betterproto.PLACEHOLDER:
        items = values[name] = []
    return items


def _unpack(kind: _Kind) -> Callable[[bytes], list[Any]]:
    """Read a packed list; the last one of a field stands, as with betterproto."""

    def unpack(data: bytes) -> list[Any]:
        items: list[Any] = []
        position = 0
        while position < len(data):
            if kind.wire_type == _VARINT:
                value, position = _read_varint(data, position)
                items.append(kind.decode(value))
            else:
                start, position = position, position + _SIZES[kind.wire_type]
                items.append(kind.decode(data[start:position]))
        return items

    return unpack


def _one(tag: bytes, kind: _Kind, *, has_presence: bool) -> Callable[[Any], bytes]:
    encode_value = kind.encode

    def encode(value: Any) -> bytes:
        return tag + encode_value(value) if value or has_presence else b""

    return encode


def _packed(tag: bytes, kind: _Kind) -> Callable[[list[Any]], bytes]:
    def encode(items: list[Any]) -> bytes:
        return tag + _delimited(b"".join(_checked(items, kind))) if items else b""

    return encode


def _repeated(tag: bytes, kind: _Kind) -> Callable[[list[Any]], bytes]:
    def encode(items: list[Any]) -> bytes:
        return b"".join(tag + item for item in _checked(items, kind))

    return encode


def _checked(items: list[Any], kind: _Kind) -> Iterator[bytes]:
    for item in items:
        if type(item) is not kind.python_type:
            raise _OddError
        yield kind.encode(item)


def _message_field(tag: bytes, kind: _Kind) -> Callable[[Message], bytes]:
    def encode(message: Message) -> bytes:
        # A message that was set is written even if it is empty; one that was only looked at is not.
        is_set = object.__getattribute__(message, "__dict__")["_serialized_on_wire"]
        return tag + kind.encode(message) if is_set or message != type(message)() else b""

    return encode


class _Tables(dict[type, "Table | None"]):
    """The tables of the classes that were used; None for a class that is left to its library."""

    def __init__(self, compile_: Callable[[type], "Table | None"]) -> None:
        super().__init__()
        self._compile = compile_

    def __missing__(self, message_type: type) -> "Table | None":
        table = self[message_type] = self._compile(message_type)
        return table


class CompiledCodec(CodecBase):
    """Encodes and decodes protobuf messages of betterproto, quickly, and of google.protobuf.

    The same bytes and the same messages as grpclib's ``ProtoCodec`` gives, and the same errors.
    """

    __content_subtype__ = "proto"  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride] - a property there, but not in grpclib's own codecs

    def __init__(self) -> None:
        """Start with no class known."""
        self._tables = _Tables(self._compile)
        self._general = ProtoCodec()

    def encode(self, message: Any, message_type: Any) -> bytes:
        """Return a message's bytes.

        Raises:
            TypeError: ``message`` is not a ``message_type``.

        """
        if type(message) is message_type and (table := self._tables[message_type]):
            try:
                return table.encode(message)
            except _ODD:
                pass
        return self._general.encode(message, message_type)

    def decode(self, data: bytes, message_type: Any) -> Any:
        """Return the message that ``data`` holds.

        Raises:
            Exception: whatever the message's own library raises for malformed data.

        """
        if table := self._tables[message_type]:
            try:
                return table.decode(data)
            except _ODD as error:
                if len(data) > _MAX_ODD_SIZE:
                    raise ValueError("The message is malformed") from error
        return self._general.decode(data, message_type)

    def _compile(self, message_type: type) -> Table | None:
        if not issubclass(message_type, Message):
            return None
        table = Table(message_type)
        # betterproto has no types for a property of a class, nor another way to a description.
        description = cast("Any", message_type)._betterproto  # noqa: SLF001 - there is no other way to it
        for name, meta in description.meta_by_field_name.items():
            kind = self._kind(meta, description.cls_by_field[name])
            if meta.group or meta.wraps or kind is None:
                return None
            _add(table, name, meta, kind, is_list=description.default_gen[name] is list)
        return table

    def _kind(self, meta: Any, python_type: Any) -> _Kind | None:
        if meta.proto_type == betterproto.TYPE_ENUM:
            return _Kind(_VARINT, python_type, python_type.try_value, _varint)
        if meta.proto_type == betterproto.TYPE_MESSAGE and issubclass(python_type, Message):
            return self._message_kind(python_type)
        return _KINDS.get(meta.proto_type)

    def _message_kind(self, message_type: type[Message]) -> _Kind:
        def decode(data: bytes) -> Any:
            return CompiledCodec.decode(self, data, message_type)

        def encode(message: Message) -> bytes:
            return _delimited(self.encode(message, message_type))

        return _Kind(_DELIMITED, message_type, decode, encode)


def _add(table: Table, name: str, meta: Any, kind: _Kind, *, is_list: bool) -> None:
    own_tag = meta.number << 3 | kind.wire_type
    table.decoders[own_tag] = _Decoder(name, _SIZES.get(kind.wire_type), kind.decode, is_list)
    if is_list and meta.proto_type in betterproto.PACKED_TYPES:
        packed_tag = meta.number << 3 | _DELIMITED
        table.decoders[packed_tag] = _Decoder(name, None, _unpack(kind), is_appended=False)
        encode: Callable[[Any], bytes] = _packed(_varint(packed_tag), kind)
    elif is_list:
        encode = _repeated(_varint(own_tag), kind)
    elif meta.proto_type == betterproto.TYPE_MESSAGE and not meta.optional:
        encode = _message_field(_varint(own_tag), kind)
    else:
        encode = _one(_varint(own_tag), kind, has_presence=bool(meta.optional))
    python_type = list if is_list else kind.python_type
    table.encoders.append(_Encoder(name, python_type, table.blank[name], encode))
