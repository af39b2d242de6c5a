"""Messages made and read the short way are betterproto's own in everything."""

from dataclasses import dataclass
from typing import Any

import betterproto
import pytest

from grpclib_anyio.betterproto.messages import getter, maker
from harness.ai import GenerateResponse


@dataclass(eq=False, repr=False)
class Everything(betterproto.Message):
    """One field of each shape."""

    text: str = betterproto.string_field(1)
    number: int | None = betterproto.int32_field(2, optional=True)
    items: list[str] = betterproto.string_field(3)  # noqa: RUF009 - betterproto's way
    inner: GenerateResponse = betterproto.message_field(4)  # noqa: RUF009 - betterproto's way


@dataclass(eq=False, repr=False)
class Either(betterproto.Message):
    """A oneof."""

    left: str = betterproto.string_field(1, group="side")
    right: str = betterproto.string_field(2, group="side")


VALUES: list[dict[str, Any]] = [
    {},
    {"text": ""},
    {"text": "a", "number": 0},
    {"number": None},
    {"items": ["a"], "inner": GenerateResponse(token="b")},
]


@pytest.mark.parametrize("values", VALUES)
def test_made_message_is_the_same(values: dict[str, Any]) -> None:
    made, expected = maker(Everything)(**values), Everything(**values)
    assert vars(made) | {"_serialized_on_wire": True} == vars(expected) | {
        "_serialized_on_wire": True
    }
    assert made == expected
    assert bytes(made) == bytes(expected)
    assert made.to_dict() == expected.to_dict()


def test_made_messages_share_nothing() -> None:
    make = maker(Everything)
    one, other = make(text="a"), make(text="a")
    one.items.append("b")
    one.text = "c"
    assert (other.text, other.items) == ("a", [])


def test_unknown_field_is_refused() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'tokn'"):
        maker(GenerateResponse)(tokn="a")


def test_class_with_a_oneof_is_made_by_itself() -> None:
    assert betterproto.which_one_of(maker(Either)(right="a"), "side") == ("right", "a")


@pytest.mark.parametrize("values", VALUES)
def test_read_field_is_the_same(values: dict[str, Any]) -> None:
    for name in ("text", "number", "items", "inner"):
        message = Everything(**values)
        assert getter(name)(message) == getattr(Everything(**values), name)
        assert getter(name)(message) is getattr(message, name)
