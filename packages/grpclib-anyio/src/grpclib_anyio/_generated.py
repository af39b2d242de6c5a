"""What generated code needs of us, done when a channel or a server is made and not before.

betterproto is optional: where it is not installed, messages are protobuf's and the codec is
grpclib's. Where it is, its classes are completed here (see ``betterproto/stubs.py`` and
``betterproto/handlers.py``), so that importing this package changes nothing in it.
"""

from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from typing import Any

from grpclib.encoding.base import CodecBase
from grpclib.encoding.proto import ProtoCodec

__all__ = ["complete_services", "complete_stubs", "default_codec"]


@cache
def _has_betterproto() -> bool:
    return find_spec("betterproto") is not None


def default_codec() -> CodecBase:
    """Return the codec of a channel or server that was given none."""
    if not _has_betterproto():
        return ProtoCodec()
    from grpclib_anyio.betterproto.codec import CompiledCodec  # noqa: PLC0415 - optional

    return CompiledCodec()


@cache
def complete_stubs(channel_type: type[Any]) -> None:
    """Have betterproto's stubs on channels of this type end their calls in time."""
    if _has_betterproto():
        from grpclib_anyio.betterproto.stubs import mend_stubs  # noqa: PLC0415 - optional

        mend_stubs(channel_type)


def complete_services(services: Iterable[object]) -> None:
    """Have betterproto's services close the generators of their handlers in time."""
    if _has_betterproto():
        from grpclib_anyio.betterproto.handlers import make_safe  # noqa: PLC0415 - optional

        for service in services:
            make_safe(service)
