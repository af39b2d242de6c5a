"""What generated code needs of us, done when a channel or a server is made and not before.

betterproto and betterproto2 are optional: where neither is installed, messages are protobuf's and
the codec is grpclib's. Where one is, its classes are completed (see ``betterproto/stubs.py`` and
``betterproto/handlers.py``), so that importing this package changes nothing in it.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any

from grpclib.encoding.base import CodecBase, StatusDetailsCodecBase
from grpclib.encoding.proto import (
    ProtoCodec,
    ProtoStatusDetailsCodec,
    _googleapis_available,  # pyright: ignore[reportPrivateUsage] - grpclib has no public name for it
)

from grpclib_anyio.betterproto.handlers import close_generators
from grpclib_anyio.betterproto.libraries import BETTERPROTO, LIBRARIES, Library
from grpclib_anyio.betterproto.stubs import mend_stubs

__all__ = ["choose_codecs", "complete_services", "complete_stubs", "installed_libraries"]


@cache
def installed_libraries() -> list[Library]:
    """Return the libraries that are installed; a wrong version is told each time it is asked."""
    return [library for library in LIBRARIES if library.is_installed()]


def choose_codecs(
    codec: CodecBase | None, status_details_codec: StatusDetailsCodecBase | None
) -> tuple[CodecBase, StatusDetailsCodecBase | None]:
    """Return the codecs of a channel or server that was given these."""
    if codec is None and status_details_codec is None and _googleapis_available():
        status_details_codec = ProtoStatusDetailsCodec()
    return codec or _default_codec(), status_details_codec


def _default_codec() -> CodecBase:
    if BETTERPROTO not in installed_libraries():
        return ProtoCodec()
    from grpclib_anyio.betterproto.codec import CompiledCodec  # noqa: PLC0415 - betterproto is optional

    return CompiledCodec()


@cache
def complete_stubs(channel_type: type[Any]) -> None:
    """Have generated stubs on channels of this type end their calls in time."""
    for library in installed_libraries():
        mend_stubs(library.stub_base(), channel_type)


def complete_services(services: Iterable[object]) -> None:
    """Have generated services close the generators of their handlers in time."""
    bases = tuple(library.service_base() for library in installed_libraries())
    for service in services:
        if isinstance(service, bases):
            close_generators(service)
