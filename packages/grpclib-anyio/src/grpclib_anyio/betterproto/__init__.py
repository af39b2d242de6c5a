"""Messages and stubs of betterproto on this transport; needs the extra ``betterproto``.

``CompiledCodec`` encodes and decodes betterproto's messages, and is what a ``Channel`` and a
``Server`` use when betterproto is installed. ``maker`` and ``getter`` make a message and read one of
its fields at the cost of plain objects::

    make_request = maker(GenerateRequest)
    token_of = getter("token")
    request = make_request(prompt="hi")
"""

from grpclib_anyio.betterproto.codec import CompiledCodec
from grpclib_anyio.betterproto.messages import getter, maker

__all__ = ["CompiledCodec", "getter", "maker"]
