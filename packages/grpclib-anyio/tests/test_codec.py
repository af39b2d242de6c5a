"""The compiled codec against betterproto itself: the same bytes, messages and errors."""

import dataclasses
from collections.abc import Callable
from typing import Any, cast

import betterproto
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from hypothesis import given, settings
from hypothesis import strategies as st

from grpclib_anyio.betterproto.bounded_codec import BoundedCodec
from grpclib_anyio.betterproto.codec import CompiledCodec
from harness.ai import GenerateRequest, GenerateResponse

_MIB = 1 << 20


class Color(betterproto.Enum):
    """An enum with a gap, so that there are unknown numbers between known ones."""

    BLACK = 0
    RED = 1
    BLUE = 5


def _bits(low: int, high: int) -> st.SearchStrategy[int]:
    return st.integers(low, high)


# A list with a NaN in it is not equal to itself.
_FLOATS = st.floats(width=32, allow_nan=False)
_SCALARS: dict[str, tuple[Callable[..., Any], type, st.SearchStrategy[Any]]] = {
    "string": (betterproto.string_field, str, st.text()),
    "bytes": (betterproto.bytes_field, bytes, st.binary()),
    "bool": (betterproto.bool_field, bool, st.booleans()),
    "int32": (betterproto.int32_field, int, _bits(-(2**31), 2**31 - 1)),
    "int64": (betterproto.int64_field, int, _bits(-(2**63), 2**63 - 1)),
    "uint32": (betterproto.uint32_field, int, _bits(0, 2**32 - 1)),
    "uint64": (betterproto.uint64_field, int, _bits(0, 2**64 - 1)),
    "sint32": (betterproto.sint32_field, int, _bits(-(2**31), 2**31 - 1)),
    "sint64": (betterproto.sint64_field, int, _bits(-(2**63), 2**63 - 1)),
    "float": (betterproto.float_field, float, _FLOATS),
    "double": (betterproto.double_field, float, st.floats(allow_nan=False)),
    "fixed32": (betterproto.fixed32_field, int, _bits(0, 2**32 - 1)),
    "fixed64": (betterproto.fixed64_field, int, _bits(0, 2**64 - 1)),
    "sfixed32": (betterproto.sfixed32_field, int, _bits(-(2**31), 2**31 - 1)),
    "sfixed64": (betterproto.sfixed64_field, int, _bits(-(2**63), 2**63 - 1)),
    "enum": (betterproto.enum_field, Color, st.sampled_from(list(Color))),
}

_Field = tuple[type, Any, st.SearchStrategy[Any]]


def _scalar(kind: str, shape: str, number: int) -> _Field:
    make, python_type, values = _SCALARS[kind]
    if shape == "list":
        return list[python_type], make(number), st.lists(values, max_size=4)  # type: ignore[valid-type]
    if shape == "optional":
        annotation: Any = python_type | None
        return annotation, make(number, optional=True), st.none() | values
    return python_type, make(number), values


def _message_type(fields: list[_Field], numbers: list[int]) -> type[betterproto.Message]:
    names = [f"f{number}" for number in numbers]
    specifications = [(n, f[0], f[1]) for n, f in zip(names, fields, strict=True)]
    made: type[betterproto.Message] = dataclasses.make_dataclass(
        "Generated", specifications, bases=(betterproto.Message,), eq=False, repr=False
    )
    return made


@st.composite
def _types_and_values(
    draw: st.DrawFn, depth: int = 2
) -> tuple[type[betterproto.Message], st.SearchStrategy[betterproto.Message]]:
    """Draw a message type, and a strategy for its messages."""
    numbers = draw(st.lists(st.integers(1, 2000), min_size=1, max_size=5, unique=True))
    fields: list[_Field] = []
    for number in numbers:
        if depth and draw(st.integers(0, 3)) == 0:
            inner, values = draw(_types_and_values(depth=depth - 1))
            shape = draw(st.sampled_from(["one", "list", "optional"]))
            fields.append(_nested(inner, values, number, shape))
        else:
            kind = draw(st.sampled_from(sorted(_SCALARS)))
            shape = draw(st.sampled_from(["one", "list", "optional"]))
            fields.append(_scalar(kind, shape, number))
    made = _message_type(fields, numbers)
    arguments = {f"f{n}": f[2] for n, f in zip(numbers, fields, strict=True)}
    return made, st.fixed_dictionaries({}, optional=arguments).map(lambda given: made(**given))


def _nested(
    inner: type[betterproto.Message],
    values: st.SearchStrategy[betterproto.Message],
    number: int,
    shape: str = "one",
) -> _Field:
    if shape == "list":
        return list[inner], betterproto.message_field(number), st.lists(values, max_size=3)  # type: ignore[valid-type]
    if shape == "optional":
        annotation: Any = inner | None
        return annotation, betterproto.message_field(number, optional=True), st.none() | values
    return inner, betterproto.message_field(number), values


def _outcome(function: Callable[[], Any]) -> tuple[type | None, Any]:
    try:
        return None, function()
    except Exception as error:  # noqa: BLE001 - compared, whatever it is
        return type(error), str(error)


def _assert_same_message(ours: betterproto.Message, theirs: betterproto.Message) -> None:
    assert type(ours) is type(theirs)
    assert ours == theirs
    assert repr(ours) == repr(theirs)
    assert ours.to_dict() == theirs.to_dict()
    assert bytes(ours) == bytes(theirs)
    assert vars(ours).keys() == vars(theirs).keys()


def _assert_same_outcome(data: bytes, message_type: type[betterproto.Message]) -> None:
    error, ours = _outcome(lambda: CompiledCodec().decode(data, message_type))
    expected_error, theirs = _outcome(lambda: message_type.FromString(data))
    assert error is expected_error
    if error is None:
        # betterproto takes a number for a text if that is what the wire says, and cannot write it.
        assert repr(ours) == repr(theirs)
        assert _outcome(lambda: bytes(ours)) == _outcome(lambda: bytes(theirs))


# Making a class takes milliseconds, and a shared machine takes its time.
@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_message_of_any_type_gives_the_same_bytes_and_message(data: st.DataObject) -> None:
    message_type, messages = data.draw(_types_and_values())
    codec, message = CompiledCodec(), data.draw(messages)
    expected = bytes(message)
    assert codec.encode(message, message_type) == expected
    _assert_same_message(codec.decode(expected, message_type), message_type.FromString(expected))


# Making a class takes milliseconds, and a shared machine takes its time.
@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_damage_gives_the_same_message_or_error(data: st.DataObject) -> None:
    message_type, messages = data.draw(_types_and_values())
    damaged = bytearray(bytes(data.draw(messages)))
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(damaged)))
        damaged[position : position + data.draw(st.integers(0, 2))] = data.draw(
            st.binary(max_size=3)
        )
    _assert_same_outcome(bytes(damaged), message_type)


@settings(deadline=None)
@given(st.binary(max_size=64))
def test_any_bytes_give_the_same_message_or_error(data: bytes) -> None:
    _assert_same_outcome(data, GenerateResponse)


def test_unknown_fields_are_kept() -> None:
    data = bytes(GenerateResponse(token="a")) + b"\x9a\x06\x03abc"
    message = CompiledCodec().decode(data, GenerateResponse)
    assert message.token == "a"
    assert CompiledCodec().encode(message, GenerateResponse) == data


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(
            (
                b"\x0a\x01a",  # known: the token
                b"\x10\x01",  # known: done
                b"\x78\x01",  # unknown: a varint
                b"\xf8\x80\x00\x80\x00",  # the same, longer than it need be
                b"\x79" + b"x" * 8,
                b"\x7d" + b"x" * 4,
                b"\x7a\x02xy",
                b"\x00\x00",  # of field 0, which betterproto keeps
                b"\x7b",  # a group's start
                b"\x08\x01",  # known, and of another wire type
                b"\x7a\x09x",  # shorter than it says, if it is the last
            )
        ),
        max_size=6,
    ).map(b"".join)
)
def test_unknown_fields_give_the_same_message_or_error(data: bytes) -> None:
    _assert_same_outcome(data, GenerateResponse)


@pytest.mark.parametrize(
    "field", [b"\x78\x01", b"\x00\x00", b"\x7a\x00", b"\x79" + b"x" * 8], ids=bytes.hex
)
@pytest.mark.timeout(10)
def test_unknown_fields_by_the_million_are_no_work(field: bytes) -> None:
    """With betterproto it takes minutes, in which nobody else has a turn."""
    data = field * (_MIB // len(field))
    message = CompiledCodec().decode(data, GenerateResponse)
    assert CompiledCodec().encode(message, GenerateResponse) == data


@pytest.mark.parametrize("end", [b"\x0a\xff", b"\x08\x01", b"\x7b", b"\x0a\x01\xff"], ids=bytes.hex)
@pytest.mark.timeout(10)
def test_long_malformed_message_is_refused_at_once(end: bytes) -> None:
    with pytest.raises(ValueError, match="malformed"):
        CompiledCodec().decode(b"\x78\x01" * (_MIB // 2) + end, GenerateResponse)


def test_a_decoded_message_is_like_any_other() -> None:
    message = CompiledCodec().decode(bytes(GenerateResponse(token="a")), GenerateResponse)
    message.done = True
    assert message == GenerateResponse(token="a", done=True)
    assert CompiledCodec().decode(b"", GenerateResponse) == GenerateResponse()


def test_two_messages_share_nothing() -> None:
    codec = CompiledCodec()
    one, other = (codec.decode(b"", GenerateResponse) for _ in range(2))
    one.token = "changed"
    assert other.token == ""


def test_a_message_that_was_set_but_is_empty_is_written() -> None:
    outer_type = _message_type([_nested(GenerateRequest, st.nothing(), 1)], [1])
    message = cast("Any", outer_type)(f1=GenerateRequest(prompt=""))
    assert CompiledCodec().encode(message, outer_type) == bytes(message) == b"\x0a\x00"
    looked_at = outer_type()
    assert looked_at.f1.prompt == ""  # type: ignore[attr-defined] # a generated field
    assert CompiledCodec().encode(looked_at, outer_type) == bytes(looked_at) == b""


@pytest.mark.parametrize("value", [7, b"bytes", None, "\ud800"])
def test_a_value_of_the_wrong_type_gives_the_same_error(value: Any) -> None:
    message = GenerateResponse(token=value)
    ours = _outcome(lambda: CompiledCodec().encode(message, GenerateResponse))
    assert ours == _outcome(lambda: bytes(message))


def test_messages_of_google_protobuf_are_left_to_it() -> None:
    codec, message = CompiledCodec(), StringValue(value="x")
    data = codec.encode(message, StringValue)
    assert data == message.SerializeToString()
    assert codec.decode(data, StringValue) == message


def test_a_message_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match="must be of type"):
        CompiledCodec().encode(GenerateRequest(), GenerateResponse)


# -- how much a message may hold ------------------------------------------------------------------


def _list_of(python_type: type) -> Any:
    return list[python_type]  # type: ignore[valid-type]


_Leaf = _message_type([(_list_of(str), betterproto.string_field(1), st.none())], [1])
_Tree = _message_type(
    [
        (_Leaf, betterproto.message_field(1), st.none()),
        (_list_of(_Leaf), betterproto.message_field(2), st.none()),
        (_list_of(str), betterproto.string_field(3), st.none()),
        (_list_of(int), betterproto.int32_field(4), st.none()),
    ],
    [1, 2, 3, 4],
)


#: Eleven items each, of two bytes and more.
MANY = {
    "messages": b"\x12\x00" * 11,
    "one message, again and again": b"\x0a\x00" * 11,
    "texts": b"\x1a\x00" * 11,
    "texts of messages": (b"\x12\x0a" + b"\x0a\x00" * 5) * 2,
}


@pytest.mark.parametrize("kind", MANY)
def test_a_message_of_more_items_than_allowed_is_refused(kind: str) -> None:
    data = MANY[kind]
    BoundedCodec(max_items=12).decode(data, _Tree)
    bounded = BoundedCodec(max_items=10)
    for _ in range(2):  # the count begins again with each message
        with pytest.raises(GRPCError) as raised:
            bounded.decode(data, _Tree)
        assert raised.value.status is Status.RESOURCE_EXHAUSTED
        assert bounded.decode(b"\x12\x00" * 10, _Tree).f2 == [_Leaf()] * 10


def test_without_a_bound_a_message_may_hold_any_number() -> None:
    assert len(CompiledCodec().decode(b"\x12\x00" * 20_000, _Tree).f2) == 20_000


def test_packed_values_are_no_items() -> None:
    assert len(BoundedCodec(max_items=10).decode(b"\x22\x0b" + bytes(11), _Tree).f4) == 11
