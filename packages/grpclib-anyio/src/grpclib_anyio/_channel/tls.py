"""The TLS handshake, for either side.

For example, ``await wrap_tls(stream, context, hostname="model.example")`` for a client and ``await
wrap_tls(stream, context)`` for a server.
"""

import ssl

import anyio
from anyio.abc import ByteStream
from anyio.streams.tls import TLSStream

__all__ = ["wrap_tls"]


async def wrap_tls(
    transport: ByteStream, context: ssl.SSLContext, *, hostname: str | None = None
) -> TLSStream:
    """Shake hands as a client with the server ``hostname``, or as a server if that is None.

    Takes over ``transport``: it is closed if this fails or is cancelled.

    Raises:
        OSError: the handshake failed; ``ssl.SSLError`` is one.

    """
    try:
        return await TLSStream.wrap(
            transport,
            server_side=hostname is None,
            hostname=hostname,
            ssl_context=context,
            standard_compatible=False,  # HTTP/2 says itself when it ends
        )
    except (anyio.BrokenResourceError, anyio.EndOfStream) as error:
        await anyio.aclose_forcefully(transport)
        raise OSError("the peer ended the TLS handshake") from error
    except BaseException:
        await anyio.aclose_forcefully(transport)
        raise
