"""The address of a service, ``HOST:PORT``, as a setting.

For example ``parse_target("[::1]:50051")`` is ``("::1", 50051)``.
"""

from typing import Annotated

from pydantic import AfterValidator

__all__ = ["LAST_PORT", "Target", "parse_target"]

LAST_PORT = 65_535
"""The highest port number of TCP."""


def parse_target(target: str) -> tuple[str, int]:
    """Split ``host:port``, with brackets around an IPv6 address.

    Raises:
        ValueError: the text has no host, or no port between 0 and 65,535.

    """
    host, separator, port = target.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (separator and host and port.isascii() and port.isdecimal() and int(port) <= LAST_PORT):
        message = "must be HOST:PORT"
        raise ValueError(message)
    return host, int(port)


def _checked(target: str) -> str:
    parse_target(target)
    return target


Target = Annotated[str, AfterValidator(_checked)]
"""The type of a setting for an address; stays a string, see :func:`parse_target`."""
