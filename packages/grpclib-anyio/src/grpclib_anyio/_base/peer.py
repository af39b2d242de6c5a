"""The other end of a connection, as a call sees it.

For example, ``stream.peer.addr()`` is ``("127.0.0.1", 40312)`` for a client on TCP.
"""

from typing import Any

from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSAttribute

__all__ = ["Peer"]


class Peer:
    """The address and certificate of the other end; grpclib's ``Peer``."""

    def __init__(self, transport: ByteStream) -> None:
        """Describe the other end of ``transport``."""
        self._transport = transport

    def addr(self) -> tuple[str, int] | str | None:
        """Return host and port, or the path of a unix socket, or None if there is no socket."""
        return self._transport.extra(SocketAttribute.remote_address, None)

    def cert(self) -> dict[str, Any] | None:
        """Return the other end's certificate as ``ssl.SSLSocket.getpeercert`` does, or None."""
        return self._transport.extra(TLSAttribute.peer_certificate, None)
