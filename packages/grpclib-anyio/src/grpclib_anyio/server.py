"""The server's side: listening, and running a handler for each call.

A drop-in for ``grpclib.server`` but for how a server is started: :meth:`Server.serve` runs until it
is cancelled. Handlers are grpclib's and betterproto's.

The tree of one connection's tasks::

    serve ── accept loop
      └── connection                              reader, writer, keepalive: outlive the handlers
            └── handlers' task group
                  └── one task a call, in a scope of its own

A handler's scope is cancelled when the client resets the stream, when the connection is lost, at
the deadline that the client sent, and with the server. Its clean-up has run when its task ends, and
its connection is closed only after that.
"""

import errno
import logging
import ssl as ssl_module
from collections.abc import Collection, Sequence
from typing import cast

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketListener, TaskGroup, TaskStatus
from grpclib._typing import IServable
from grpclib.config import Configuration as GrpclibConfiguration
from grpclib.encoding.base import CodecBase, StatusDetailsCodecBase
from grpclib.encoding.proto import (
    ProtoStatusDetailsCodec,
    _googleapis_available,  # pyright: ignore[reportPrivateUsage] - nothing else tells
)
from grpclib.events import _DispatchServerEvents  # pyright: ignore[reportPrivateUsage] - as above

from grpclib_anyio._base.config import for_server
from grpclib_anyio._base.peer import Peer
from grpclib_anyio._call.server import Method, Services, Stream, run_call
from grpclib_anyio._channel.tls import wrap_tls
from grpclib_anyio._connection.connection import Connection
from grpclib_anyio._connection.drain import Drain
from grpclib_anyio._connection.http2 import check_h2_version
from grpclib_anyio._fast.trio_stream import unwrap_socket
from grpclib_anyio._generated import complete_services, default_codec
from grpclib_anyio._stream.stream import MessageStream

__all__ = ["BoundAddress", "Server", "Stream"]

#: Host and port, or the path of a unix socket.
BoundAddress = tuple[str, int] | str

#: The process or the system has no descriptors or buffers left for one more connection.
_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_SHORTAGE_PAUSE = 0.1
#: The client was gone before it was accepted (accept(2)).
_CONNECTION_ERRORS = frozenset({errno.ECONNABORTED, errno.EPROTO, errno.EPERM})
_HANDSHAKE_TIMEOUT = 20.0
_CLOSE_TIMEOUT = 1.0

_log = logging.getLogger("grpclib_anyio")


class Server:
    """Serves the methods of some services on TCP or on a unix socket.

    What a handler raises becomes its call's status: ``GRPCError`` as it is, anything else UNKNOWN
    with a line in the log. No call and no connection affects another.
    """

    def __init__(
        self,
        handlers: Collection[IServable],
        *,
        codec: CodecBase | None = None,
        status_details_codec: StatusDetailsCodecBase | None = None,
        config: GrpclibConfiguration | None = None,
    ) -> None:
        """Register services; no event loop is needed.

        Args:
            handlers: services, instances of generated base classes.
            codec: decodes and encodes messages; ``CompiledCodec`` if not given.
            status_details_codec: encodes ``grpc-status-details-bin``; grpclib's with grpclib's
                codec if googleapis-common-protos is installed.
            config: grpclib's or this package's configuration.

        Raises:
            RuntimeError: this version of h2 has not been looked at.

        """
        check_h2_version()
        if codec is None and status_details_codec is None and _googleapis_available():
            status_details_codec = ProtoStatusDetailsCodec()
        complete_services(handlers)
        self.__dispatch__ = _DispatchServerEvents()
        self._config = for_server(config)
        self._drain = Drain()
        self._services = Services(
            {
                name: Method._make(method)
                for service in handlers
                for name, method in service.__mapping__().items()
            },
            codec or default_codec(),
            status_details_codec,
            self.__dispatch__,
            compresses=self._config.compression is not None,
        )

    async def serve(
        self,
        host: str | None = None,
        port: int | None = None,
        *,
        path: str | None = None,
        ssl: ssl_module.SSLContext | None = None,
        task_status: TaskStatus[Sequence[BoundAddress]] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Listen, and serve until cancelled.

        Returns after :meth:`drain`, when the last connection is over.

        Cancelling cancels every handler; a client whose call was in progress is told UNAVAILABLE.
        It takes as long as the handlers' clean-up and ``close_timeout`` seconds at most.

        Args:
            host: the address to listen on, all of them if None.
            port: the port to listen on, any free one if 0, 50051 if not given.
            path: the path of a unix socket to make, instead of host and port.
            ssl: a context for TLS, with ALPN for ``h2`` set.
            task_status: is told the addresses once connections are accepted.

        Raises:
            OSError: the address is in use or not to be had.
            ValueError: both a path and a host or port are given.

        """
        if path is not None and (host is not None or port is not None):
            text = "A path cannot be combined with a host or a port"
            raise ValueError(text)
        listeners = await _listen(host, port, path)
        async with anyio.create_task_group() as tasks:
            for listener in listeners:
                tasks.start_soon(self._accept, listener, ssl, tasks)
            task_status.started([_address(listener) for listener in listeners])

    def drain(self, grace: float) -> None:
        """Take no new connections and calls, and let :meth:`serve` return when all are over.

        Clients are told to go elsewhere (GOAWAY, RFC 9113 § 6.8); a request that was on its way
        then is still served. Calls go on for ``grace`` seconds at most; what is left after that
        is cancelled, and its clients are told UNAVAILABLE. Called again, it can only shorten
        the grace. A plain call, which needs the event loop; the server cannot be used again.
        """
        self._drain.begin(grace)

    async def serve_connection(self, transport: ByteStream) -> None:
        """Serve one connection on any byte stream, which is closed at the end.

        Returns when the connection is over; cancelling ends it, as for :meth:`serve`.
        """
        async with Connection(transport, self._config, client_side=False) as connection:
            peer = Peer(transport)
            async with anyio.create_task_group() as handlers:

                def start(stream: MessageStream) -> None:
                    handlers.start_soon(run_call, self._services, stream, peer)

                connection.on_request = start
                try:
                    await self._drain.wait_drained(connection, self._config)
                finally:
                    # The group takes no task once those it has are over: refuse what comes now.
                    connection.on_request = None
                handlers.cancel_scope.cancel()

    async def _accept(
        self, listener: SocketListener, ssl: ssl_module.SSLContext | None, tasks: TaskGroup
    ) -> None:
        try:
            with self._drain.opening():
                while True:
                    transport = await _accept_one(listener)
                    tasks.start_soon(self._serve_socket, transport, ssl)
        finally:
            with anyio.move_on_after(_CLOSE_TIMEOUT, shield=True):
                await listener.aclose()

    async def _serve_socket(self, transport: ByteStream, ssl: ssl_module.SSLContext | None) -> None:
        try:
            secured = await self._secure(transport, ssl)
        except OSError as error:
            _log.info("A TLS handshake failed: %s", error)
        else:
            await self.serve_connection(secured)

    async def _secure(self, transport: ByteStream, ssl: ssl_module.SSLContext | None) -> ByteStream:
        with self._drain.opening():
            return await _handshake(transport, ssl)
        raise ConnectionAbortedError("the server is being drained")


async def _listen(host: str | None, port: int | None, path: str | None) -> Sequence[SocketListener]:
    if path is not None:
        return [await anyio.create_unix_listener(path)]
    tcp = await anyio.create_tcp_listener(
        local_host=host, local_port=50051 if port is None else port
    )
    return cast("Sequence[SocketListener]", tcp.listeners)  # which anyio types by what they accept


def _address(listener: SocketListener) -> BoundAddress:
    return listener.extra(SocketAttribute.local_address)


async def _accept_one(listener: SocketListener) -> ByteStream:
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


async def _handshake(transport: ByteStream, ssl: ssl_module.SSLContext | None) -> ByteStream:
    if ssl is None:
        return unwrap_socket(transport)
    with anyio.fail_after(_HANDSHAKE_TIMEOUT):
        return await wrap_tls(transport, ssl)
