"""Generated code of betterproto and of betterproto2 on this transport; needs the extra of either.

``CompiledCodec`` encodes and decodes betterproto's messages, and is what a ``Channel`` and a
``Server`` use when betterproto is installed. ``maker`` and ``getter`` make a message of betterproto
and read one of its fields at the cost of plain objects::

    make_request = maker(GenerateRequest)
    token_of = getter("token")
    request = make_request(prompt="hi")

Generated stubs and services of both libraries are completed when a channel or a server is made, and
not before. This is all that is replaced in other people's code, in the whole process:

=====================================================  =============================================
what                                                   why
=====================================================  =============================================
``betterproto.ServiceStub.__init__``                   the one place that every stub passes: on a
                                                       channel of ours, the object gets the helpers
                                                       of ``stubs``, which end a call in time
``betterproto2.grpclib.ServiceStub.__init__``          the same
=====================================================  =============================================

They can go when a stub that was left alone ends its call in time and works on trio, which
``test_still_needed.py`` tries in each test run. A service *object* also gets a helper, see
``handlers``; its class and the library keep theirs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grpclib_anyio.betterproto.bounded_codec import BoundedCodec
    from grpclib_anyio.betterproto.codec import CompiledCodec
    from grpclib_anyio.betterproto.messages import getter, maker

__all__ = ["BoundedCodec", "CompiledCodec", "getter", "maker"]

#: Imported when they are asked for, because the rest of this folder works without betterproto.
_MODULES = {
    "BoundedCodec": "bounded_codec",
    "CompiledCodec": "codec",
    "getter": "messages",
    "maker": "messages",
}


def __getattr__(name: str) -> Any:
    """Import one of the names above.

    Raises:
        ImportError: betterproto is not installed.

    """
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    except ModuleNotFoundError as error:
        text = f"{name} is for betterproto: pip install 'grpclib-anyio[betterproto]'"
        raise ImportError(text) from error
