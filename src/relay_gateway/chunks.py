"""The body of a response, past the layers between an application and a socket.

Once its headers are sent, a body in HTTP/1.1's chunked coding (RFC 9112 § 7.1) is chunk after chunk
until the application ends it, and no layer's state changes with one. So a server may let an
application write them itself. It offers that for one request by an entry in the ``extensions`` of
its ASGI scope, named :data:`CHUNKS`. Where there is none (HTTP/2, TLS, another server), a body goes
the usual way.
"""

from abc import abstractmethod
from typing import Any, Protocol

__all__ = ["CHUNKS", "ChunkWriter", "Connection", "writer_of"]

CHUNKS = "relay_gateway.chunks"


class Connection(Protocol):
    """What a server writes to."""

    @abstractmethod
    def write_nowait(self, data: bytes, /) -> bool:
        """Write what the client takes at once; False if some is left for ``write``."""

    @abstractmethod
    async def write(self, data: bytes, /) -> None:
        """Write what is left and then ``data``, or close the connection."""


class ChunkWriter:
    """Writes chunks of one response, from the end of its headers to the end of its body."""

    def __init__(self, connection: Connection) -> None:
        """Write to a connection."""
        self._connection = connection

    def write_nowait(self, data: bytes) -> bool:
        """Write one chunk as far as the client takes it at once; not to be called with nothing.

        Returns:
            False if some is left. It is sent by the next ``write``, before anything else.

        """
        return self._connection.write_nowait(b"%x\r\n%b\r\n" % (len(data), data))

    async def write(self, data: bytes) -> None:
        """Write what is left, and one chunk unless ``data`` is empty.

        Waits for a client that does not read, for as long as the connection allows. A checkpoint
        only then; what has been begun is finished also when the task is cancelled.
        """
        # A chunk of no bytes would be the end.
        await self._connection.write(b"%x\r\n%b\r\n" % (len(data), data) if data else b"")


def writer_of(scope: Any) -> ChunkWriter | None:  # noqa: ANN401 - ASGI's
    """Return what writes the response to the request with this ASGI scope, if there is one."""
    extensions: dict[str, Any] = scope.get("extensions") or {}
    return extensions.get(CHUNKS)
