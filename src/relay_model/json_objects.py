"""JSON objects in the strings of a request: schemas, and the arguments of calls.

For example ``read_object('{"zone": "Z"}', "tools[0].parameters")`` gives ``{"zone": "Z"}``.
"""

import json
from typing import cast

from relay_model.errors import refused

__all__ = ["read_object"]


def read_object(text: str, field: str, reason: str = "must be a JSON object") -> dict[str, object]:
    """Return the object that a text is.

    Args:
        text: JSON.
        field: the field that has it, for the refusal.
        reason: what the refusal says.

    Raises:
        BackendError: INVALID_ARGUMENT with the field; the text is something else.

    """
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise refused(field, reason)
    return cast("dict[str, object]", value)
