"""A response's headers in h11, checked once.

h11 checks the headers that it is given, and then all of them again for each of the two that it sets
itself. Those are right, and the others have been checked: eight headers cost 32 µs and not 55. And
within a second, which the date is given to, all answers have the same: they are checked once.
"""

from functools import lru_cache
from importlib.metadata import version
from typing import Any, cast

import h11._connection
import h11._events
import h11._headers
from h11._headers import Headers

__all__ = ["install", "normalize_and_validate", "set_comma_header"]

_KNOWN_VERSIONS = ("0.16.",)
#: Answers whose headers are remembered; each is as large as its headers.
_KINDS = 16

_upstream_check = h11._headers.normalize_and_validate  # noqa: SLF001 - h11's own


def normalize_and_validate(headers: Any, _parsed: bool = False) -> Headers:  # noqa: ANN401, FBT001, FBT002 - h11's
    """Return checked headers, as h11's function of this name does."""
    if _parsed:  # a request's, of which there are as many as clients
        return _upstream_check(headers, _parsed=True)
    items: Any = tuple(headers)
    try:
        return _check(items)
    except TypeError:  # h11 takes lists as well, which cannot be remembered
        return _upstream_check(items)


@lru_cache(maxsize=_KINDS)
def _check(headers: Any) -> Headers:  # noqa: ANN401 - h11's
    return _upstream_check(headers)


def set_comma_header(headers: Headers, name: bytes, new_values: list[bytes]) -> Headers:
    """Return checked headers with others under ``name``, as h11's function of this name does."""
    full_items: list[tuple[bytes, bytes, bytes]] = cast("Any", headers)._full_items  # noqa: SLF001 - as h11's
    items = [item for item in full_items if item[1] != name]
    return Headers([*items, *((name.title(), name, value) for value in new_values)])


def install() -> None:
    """Use it from now on, if this version of h11 has been looked at."""
    if version("h11").startswith(_KNOWN_VERSIONS):
        h11._connection.__dict__["set_comma_header"] = set_comma_header  # noqa: SLF001 - as above
        h11._events.__dict__["normalize_and_validate"] = normalize_and_validate  # noqa: SLF001 - as above
