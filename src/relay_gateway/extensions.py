"""What our server offers an application beyond ASGI: the interface of ``server`` and ``web``.

Both offers are entries in the ``extensions`` of a request's ASGI scope. Where one is absent
(another server, HTTP/2, TLS), the application goes ASGI's own way, so both are optional::

    client = scope["extensions"].get(CLIENT)          # tells of the disconnect by a plain call
    writer = scope["extensions"].get(CHUNK_WRITER)    # writes chunks to the socket at once

**The client.** ASGI tells of a disconnect to the task that awaits ``receive``. An application that
is busy with its response needs a second task for that. This task costs more than most of what is
done for a request. So our server cancels a scope of the application's itself.

**The chunk writer.** Once the headers are sent, a body in HTTP/1.1's chunked coding (RFC 9112
§ 7.1) is chunk after chunk until the application ends it, and no layer's state changes with one.
So our server lets the application write the chunks itself.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Protocol

import trio

__all__ = ["CHUNK_WRITER", "CLIENT", "FLUSH", "ChunkWriter", "Client"]

CLIENT = "relay_gateway.client"
CHUNK_WRITER = "relay_gateway.chunk_writer"


class Client(Protocol):
    """The browser that made a request."""

    #: It has disconnected, or has all of its response; ``receive`` then gives ``http.disconnect``.
    disconnected: bool

    @abstractmethod
    def cancel_on_disconnect(self, scope: trio.CancelScope, /) -> None:
        """Cancel a scope when the client disconnects; this may be at once.

        From now on ``receive`` must not be awaited: what comes of the request's body is dropped.
        """

    @abstractmethod
    def on_disconnect(self, function: Callable[[], None], /) -> None:
        """Call a plain function just before that, for what must not wait until a task runs.

        If the client has disconnected already, nothing is called.
        """


#: For ``ChunkWriter.write``: write what is left and no chunk. A chunk of no bytes would be the end
#: of the body (RFC 9112 § 7.1), so no other meaning is lost.
FLUSH = b""


class ChunkWriter(Protocol):
    """Writes chunks of one response, from the end of its headers to the end of its body."""

    @abstractmethod
    def write_nowait(self, data: bytes, /) -> bool:
        """Write one chunk as far as the client takes it at once; ``data`` must not be empty.

        Returns:
            False if some is left. The next ``write`` sends it before anything else.

        """

    @abstractmethod
    async def write(self, data: bytes, /) -> None:
        """Write what is left and then one chunk, or no chunk if ``data`` is ``FLUSH``.

        Waits for a client that does not read, for as long as the connection allows. A checkpoint
        only then. What has been begun is finished also when the task is cancelled.
        """
