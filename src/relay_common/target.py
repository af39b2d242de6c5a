"""Where a service is: ``HOST:PORT``, as a setting."""

from typing import Annotated

from pydantic import AfterValidator

__all__ = ["LAST_PORT", "Target", "parse_target"]

LAST_PORT = 65_535


def parse_target(target: str) -> tuple[str, int]:
    """Split ``host:port``, with brackets around an IPv6 address.

    Raises:
        ValueError: it is something else.

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
