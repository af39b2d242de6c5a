r"""JSON schemas that the engine can keep to.

The engine makes a grammar of a schema. What the grammar has no words for it leaves out, with a line
on stderr that quotes the schema, so it is refused here before that. For example
``check_schema({"type": "string", "pattern": "\\d"})`` raises.
"""

import re
from collections.abc import Iterator
from typing import Any, cast

from relay_model.errors import refused

__all__ = ["check_schema"]

_FIELD = "response_format.schema"

#: What the engine's grammar leaves out, of the words that JSON Schema has for limits.
_LEFT_OUT = (
    "contains",
    "dependentRequired",
    "dependentSchemas",
    "if",
    "maxProperties",
    "minProperties",
    "multipleOf",
    "not",
    "patternProperties",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
    "uniqueItems",
)
_LIMITS_OF_NUMBERS = ("exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum")
_REPETITIONS = ("maxItems", "maxLength", "minItems", "minLength")
#: The engine refuses to repeat more often than this, and prints its grammar.
_MAX_REPETITIONS = 2000
#: Patterns of characters, classes, groups and counts, for the text as a whole.
_PATTERN = re.compile(r"\^(?:[^\\(]|\\[^A-Za-z0-9]|\((?!\?)|\(\?:)*\$")
_LISTS, _MAPS, _ONE = (
    ("allOf", "anyOf", "oneOf", "prefixItems"),
    ("$defs", "definitions", "properties"),
    ("additionalProperties", "items"),
)
_MAX_DEPTH = 64


def check_schema(schema: dict[str, object]) -> None:
    """Refuse a schema that the engine would keep to in part only.

    Raises:
        BackendError: INVALID_ARGUMENT, with a word of JSON Schema and no value of the schema.

    """
    _check(schema, 0)


def _check(schema: dict[str, Any], depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise refused(_FIELD, f"has more than {_MAX_DEPTH} levels")
    for reason in _reasons(schema):
        raise refused(_FIELD, f"the backend local {reason}")
    for inner in _inner(schema):
        if isinstance(inner, dict):
            _check(cast("dict[str, Any]", inner), depth + 1)


def _reasons(schema: dict[str, Any]) -> Iterator[str]:
    for word in _LEFT_OUT:
        if word in schema:
            yield f"cannot keep to {word}"
    if schema.get("type") != "integer":
        for word in _LIMITS_OF_NUMBERS:
            if word in schema:
                yield f"can keep to {word} for the type integer only"
    for word in _REPETITIONS:
        value = schema.get(word)
        if isinstance(value, int | float) and value > _MAX_REPETITIONS:
            yield f"can keep to {word} up to {_MAX_REPETITIONS} only"
    pattern = schema.get("pattern")
    if isinstance(pattern, str) and not _PATTERN.fullmatch(pattern):
        yield "cannot keep to this pattern: it needs ^ and $, and no letter after a backslash"


def _inner(schema: dict[str, Any]) -> Iterator[object]:
    for word in _ONE:
        yield schema.get(word)
    for word in _LISTS:
        value: object = schema.get(word)
        if isinstance(value, list):
            yield from cast("list[object]", value)
    for word in _MAPS:
        value = schema.get(word)
        if isinstance(value, dict):
            yield from cast("dict[str, object]", value).values()
