"""The address of a service, ``HOST:PORT``, as a setting.

For example ``parse_target("[::1]:50051")`` is ``("::1", 50051)``.
"""

import re
from ipaddress import AddressValueError, IPv6Address
from typing import Annotated

from pydantic import AfterValidator

__all__ = ["LAST_PORT", "Target", "parse_target"]

LAST_PORT = 65_535
"""The highest port number of TCP."""

_TARGET = re.compile(
    r"(?:\[(?P<address>[^\[\]]*)\]|(?P<name>[^:\[\]]*)):(?P<port>[0-9]+)", re.ASCII
)
#: RFC 1123 section 2.1, and the underscore that some names of services have.
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.ASCII | re.IGNORECASE)
_LONGEST_NAME = 253


def parse_target(target: str) -> tuple[str, int]:
    """Split ``host:port``, with brackets around an IPv6 address.

    Raises:
        ValueError: the text has no host that there can be, or no port between 1 and 65,535. It says
            what is wrong.

    """
    if "://" in target:
        raise ValueError("must be HOST:PORT, without a scheme")
    if target.count(":") > 1 and "[" not in target:
        raise ValueError("must be HOST:PORT, with brackets around an IPv6 address")
    match = _TARGET.fullmatch(target)
    if match is None:
        raise ValueError("must be HOST:PORT")
    host = match["name"] if match["address"] is None else match["address"]
    if not (_is_name(host) if match["address"] is None else _is_ipv6(host)):
        raise ValueError("must be HOST:PORT, and the host a name or an address")
    if not 1 <= int(match["port"][:6]) <= LAST_PORT:
        raise ValueError(f"must be HOST:PORT, and the port from 1 to {LAST_PORT}")
    return host, int(match["port"])


def _is_name(host: str) -> bool:
    try:
        name = host.encode("idna").decode()
    except UnicodeError:  # no IDNA name, or half of a surrogate pair
        return False
    labels = name.removesuffix(".").split(".")
    return len(name) <= _LONGEST_NAME and all(map(_LABEL.fullmatch, labels))


def _is_ipv6(host: str) -> bool:
    try:
        IPv6Address(host)
    except AddressValueError:
        return False
    return True


def _checked(target: str) -> str:
    parse_target(target)
    return target


Target = Annotated[str, AfterValidator(_checked)]
"""The type of a setting for an address; stays a string, see :func:`parse_target`."""
