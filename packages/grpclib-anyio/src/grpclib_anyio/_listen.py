"""How a server gets its connections: sockets that listen, and a loop that survives what fails.

A process that has a socket already, for example because systemd started it with one, gives it::

    sock = socket.socket(fileno=3)
    await Server([Greeter()]).serve(sock=sock)
"""

import errno
import logging
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketListener

__all__ = ["BoundAddress", "ListenOptions", "accept", "bound_address", "listen"]

#: Host and port, or the path of a unix socket.
BoundAddress = tuple[str, int] | str

DEFAULT_PORT = 50051
#: Connections that may wait to be accepted; the system has a smaller limit of its own (listen(2)).
DEFAULT_BACKLOG = 65_535
#: The process or the system has no descriptors or buffers left for one more connection.
_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_SHORTAGE_PAUSE = 0.1
#: The client was gone before it was accepted (accept(2)).
_CONNECTION_ERRORS = frozenset({errno.ECONNABORTED, errno.EPROTO, errno.EPERM})

_log = logging.getLogger("grpclib_anyio")


@dataclass(frozen=True)
class ListenOptions:
    """Where to listen, and how; the arguments of ``Server.serve``."""

    host: str | None = None
    port: int | None = None
    path: str | None = None
    sock: socket.socket | None = None
    family: socket.AddressFamily = socket.AF_UNSPEC
    backlog: int = DEFAULT_BACKLOG
    reuse_port: bool = False

    def __post_init__(self) -> None:
        """Check that the options go together.

        Raises:
            ValueError: there is more than one place to listen at, or an option that has no meaning
                there.

        """
        is_address = self.host is not None or self.port is not None
        if self.path is not None and is_address:
            raise ValueError("A path cannot be combined with a host or a port")
        if self.sock is not None and (is_address or self.path is not None):
            raise ValueError("A socket cannot be combined with a host, a port or a path")
        is_made = self.path is None and self.sock is None
        if not is_made and (self.family != socket.AF_UNSPEC or self.reuse_port):
            raise ValueError("family and reuse_port are for a host and a port only")


async def listen(options: ListenOptions) -> Sequence[SocketListener]:
    """Open what connections will come from; a checkpoint.

    Raises:
        OSError: the address is in use, or cannot be had.
        ValueError: the socket that is given is not bound, or is not a stream's.

    """
    if options.sock is not None:
        return [await _listen_on(options.sock, options.backlog)]
    if options.path is not None:
        return [await anyio.create_unix_listener(options.path, backlog=options.backlog)]
    tcp = await anyio.create_tcp_listener(
        local_host=options.host,
        local_port=DEFAULT_PORT if options.port is None else options.port,
        family=cast("Any", options.family),  # anyio's type lists the three that it takes
        backlog=options.backlog,
        reuse_port=options.reuse_port,
    )
    return cast("Sequence[SocketListener]", tcp.listeners)  # which anyio types by what they accept


async def _listen_on(sock: socket.socket, backlog: int) -> SocketListener:
    listener = await SocketListener.from_socket(sock)
    try:
        sock.listen(backlog)  # a socket that listens already may be told so again
    except OSError:
        sock.close()
        raise
    return listener


def bound_address(listener: SocketListener) -> BoundAddress:
    """Return where a listener listens."""
    return listener.extra(SocketAttribute.local_address)


async def accept(listener: SocketListener) -> ByteStream:
    """Return the next connection; a checkpoint.

    A client that left before it was accepted is passed over. Without descriptors for one more
    connection, it tries again every 0.1 seconds.

    Raises:
        OSError: the listener itself is broken.

    """
    while True:
        try:
            return await listener.accept()
        except (OSError, anyio.BrokenResourceError) as error:
            # anyio raises the one on asyncio and the other on trio.
            reason = error if isinstance(error, OSError) else error.__cause__
            await _recover_from_accept_error(reason)


async def _recover_from_accept_error(reason: BaseException | None) -> None:
    """Get over an accept that failed for this connection, or for want of descriptors."""
    number = reason.errno if isinstance(reason, OSError) else None
    if number in _SHORTAGES:
        _log.warning("Cannot accept a connection: %s; trying again", reason)
        await anyio.sleep(_SHORTAGE_PAUSE)
    elif number not in _CONNECTION_ERRORS:
        raise reason or anyio.BrokenResourceError
