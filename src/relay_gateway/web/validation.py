"""What is wrong with a JSON body, in words for its sender; never with what it has.

For example, for ``{"messages": [{"role": "usr"}]}``::

    what_is_wrong(error, given)
    # Wrong("messages[0].role", "must be one of 'system', 'user', …")
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import pydantic

__all__ = ["Wrong", "what_is_wrong"]

#: Characters of a field's name that are repeated, since a stranger may send any number of them.
_SHOWN_LENGTH = 100
#: What tells the kind of a value, by the field that holds it or a list of it.
_KINDS = {"messages": "role", "content": "type", "response_format": "type"}


class Wrong(NamedTuple):
    """One thing that is wrong."""

    field: str
    reason: str

    def __str__(self) -> str:
        """Say it in a sentence."""
        return f"{self.field} {self.reason}"


def what_is_wrong(error: pydantic.ValidationError, given: Mapping[str, Any]) -> Wrong:
    """Return the first thing that is wrong with what was given."""
    # Of alternatives that all do not fit, the one that fitted furthest is what was meant.
    wrong = max(error.errors(include_url=False), key=lambda each: len(each["loc"]))
    field = _path(wrong["loc"], given)
    context = wrong.get("ctx", {})
    match wrong["type"]:
        case "extra_forbidden":
            reason = "is not supported: leave it out"
        case "missing":
            reason = "is required"
        case "union_tag_invalid":  # pydantic's words contain what was given
            field = f"{field}.{context['discriminator']}".replace("'", "")
            reason = f"must be one of {context['expected_tags']}"
        case "union_tag_not_found":
            field = f"{field}.{context['discriminator']}".replace("'", "")
            reason = "is required"
        case _:
            reason = wrong["msg"].replace("Input should be", "must be", 1)
            if not reason.startswith("must be"):
                reason = f"is wrong: {reason}"
    return Wrong(field[:_SHOWN_LENGTH], reason)


def _path(location: tuple[int | str, ...], value: object) -> str:
    """Write where a value is as JavaScript would.

    pydantic's location has names of types as well, and the kind of a message or a part. These are
    no steps into what was given.
    """
    path, name, kind = "", "", None
    for step in location:
        if isinstance(step, int):
            path, value = f"{path}[{step}]", cast("list[object]", value)[step]
        elif isinstance(value, dict) and step not in {kind, "NamedToolChoice"}:
            path, name = f"{path}.{step}" if path else step, step
            value = cast("dict[str, object]", value).get(step)
        else:
            kind = None
            continue
        kind = _kind(name, value)
    return path


def _kind(name: str, value: object) -> str | None:
    """Return what tells the kind of a value; None if nothing does, or something that cannot."""
    fields = cast("dict[str, object]", value) if isinstance(value, dict) else {}
    kind = fields.get(_KINDS.get(name, ""))
    return kind if isinstance(kind, str) else None
