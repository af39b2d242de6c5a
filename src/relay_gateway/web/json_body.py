"""A request's body as JSON, which it has to be."""

import json
import math
from typing import Any, NoReturn, cast

from quart import Request

from relay_gateway.web.refusal import RefusedError

__all__ = ["read_json_object"]


async def read_json_object(request: Request) -> dict[str, Any]:
    """Wait for the body and return the object that it is.

    Raises:
        RefusedError: it is not JSON, not an object, or has text that is not Unicode.

    """
    try:
        body = await request.get_data(cache=False)
        fields = json.loads(body, parse_constant=_no_number, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise RefusedError("the body must be JSON") from error
    if not isinstance(fields, dict):
        raise RefusedError("the body must be a JSON object")
    try:
        json.dumps(fields, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:  # JSON can spell half of a surrogate pair
        raise RefusedError("the body must be valid Unicode") from error
    return cast("dict[str, Any]", fields)


def _finite(text: str) -> float:
    """Refuse 1e400, of which Python makes Infinity and what comes after us would make null."""
    number = float(text)
    if math.isinf(number):
        raise ValueError(text)
    return number


def _no_number(name: str) -> NoReturn:
    """Refuse NaN and Infinity, which Python reads and JSON does not have."""
    raise ValueError(name)
