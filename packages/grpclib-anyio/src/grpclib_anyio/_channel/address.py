"""Where a server is, and how a byte stream to it is made.

For example, ``Address("127.0.0.1", 50051)`` is a TCP port and ``Address("", 0, "/run/model.sock")``
a unix socket; ``connect`` gives a stream for HTTP/2.
"""

import ssl as ssl_module
from dataclasses import dataclass

import anyio
from anyio.abc import ByteStream
from anyio.streams.tls import TLSAttribute

from grpclib_anyio._channel.tls import wrap_tls
from grpclib_anyio._fast.trio_stream import unwrap_socket

__all__ = ["Address"]


@dataclass(frozen=True)
class Address:
    """Where a server is: a host and port or the path of a unix socket, with TLS or without."""

    host: str
    port: int
    path: str | None = None
    ssl: ssl_module.SSLContext | None = None
    #: The name that the server's certificate has to be for; the host if None.
    tls_name: str | None = None

    def __str__(self) -> str:
        """Return what identifies the server in messages."""
        name = self.path or f"{self.host}:{self.port}"
        # Half of a surrogate pair can be in a name, and in no message that is sent or logged.
        return name.encode("utf-8", "backslashreplace").decode()

    async def connect(self) -> ByteStream:
        """Connect a byte stream.

        Raises:
            OSError: nobody listens there, the name is unknown, or the TLS handshake failed.

        """
        if self.path is not None:
            return await self._wrap(await anyio.connect_unix(self.path))
        return await self._wrap(await anyio.connect_tcp(self.host, self.port))

    async def _wrap(self, stream: ByteStream) -> ByteStream:
        if self.ssl is None:
            return unwrap_socket(stream)
        secured = await wrap_tls(stream, self.ssl, hostname=self.tls_name or self.host)
        if secured.extra(TLSAttribute.alpn_protocol) != "h2":
            await anyio.aclose_forcefully(secured)
            text = "the peer does not speak HTTP/2 (ALPN)"
            raise OSError(text)
        return secured
