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

import logging
import socket
import ssl as ssl_module
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import anyio
from anyio.abc import ByteStream, SocketListener, TaskGroup, TaskStatus
from grpclib._typing import IServable
from grpclib.config import Configuration as GrpclibConfiguration
from grpclib.const import Cardinality, Handler, Status
from grpclib.encoding.base import CodecBase, StatusDetailsCodecBase
from grpclib.events import _DispatchServerEvents  # pyright: ignore[reportPrivateUsage] - grpclib exports no other

from grpclib_anyio._base.config import for_server
from grpclib_anyio._base.errors import GRPCError
from grpclib_anyio._base.memory_budget import MemoryBudget
from grpclib_anyio._base.peer import Peer
from grpclib_anyio._call.server import Method, Services, Stream, current_call, request_handler
from grpclib_anyio._channel.tls import wrap_tls
from grpclib_anyio._connection.connection import Connection
from grpclib_anyio._connection.drain import Drain
from grpclib_anyio._connection.http2 import check_h2_version
from grpclib_anyio._fast.trio_stream import unwrap_socket
from grpclib_anyio._generated import choose_codecs, complete_services
from grpclib_anyio._grpclib import NotStarted, warn_of_loop
from grpclib_anyio._listen import (
    DEFAULT_BACKLOG,
    BoundAddress,
    ListenOptions,
    accept,
    bound_address,
    listen,
)
from grpclib_anyio._stream.compression import accept_encoding
from grpclib_anyio._stream.stream import MessageStream

__all__ = [
    "BoundAddress",
    "Cardinality",
    "GRPCError",
    "Handler",
    "Server",
    "Status",
    "Stream",
    "current_call",
    "request_handler",
]

_CLOSE_TIMEOUT = 1.0

_log = logging.getLogger("grpclib_anyio")


class Server(NotStarted):
    """Serves the methods of some services on TCP or on a unix socket.

    What a handler raises becomes its call's status: ``GRPCError`` as it is, anything else UNKNOWN
    with a line in the log. No call and no connection affects another.
    """

    def __init__(
        self,
        handlers: Collection[IServable],
        *,
        loop: object = None,
        codec: CodecBase | None = None,
        status_details_codec: StatusDetailsCodecBase | None = None,
        config: GrpclibConfiguration | None = None,
    ) -> None:
        """Register services; no event loop is needed.

        Args:
            handlers: services, instances of generated base classes.
            loop: deprecated and ignored; the server runs on the loop that :meth:`serve` runs on.
            codec: decodes and encodes messages; if not given, ``CompiledCodec`` where betterproto
                is installed, and grpclib's ``ProtoCodec`` where it is not.
            status_details_codec: encodes ``grpc-status-details-bin``; grpclib's if neither this
                nor ``codec`` is given and googleapis-common-protos is installed.
            config: grpclib's or this package's configuration.

        Raises:
            TypeError: a service has something else than a ``Handler`` for a method.
            RuntimeError: h2 or betterproto is installed in a version that is not known here.

        """
        check_h2_version()
        warn_of_loop(loop)
        complete_services(handlers)
        codec, status_details_codec = choose_codecs(codec, status_details_codec)
        self.__dispatch__ = _DispatchServerEvents()
        self._config = for_server(config)
        self._budget = MemoryBudget(self._config.max_held_size)
        self._drain = Drain()
        self._services = Services(
            {
                route: method
                for service in handlers
                for route, method in _methods(service.__mapping__())
            },
            codec,
            status_details_codec,
            self.__dispatch__,
            compresses=self._config.compression is not None,
            accept_encoding=accept_encoding(gzip=self._config.accepts_compression),
        )

    async def serve(
        self,
        host: str | None = None,
        port: int | None = None,
        *,
        path: str | None = None,
        ssl: ssl_module.SSLContext | None = None,
        sock: socket.socket | None = None,
        family: socket.AddressFamily = socket.AF_UNSPEC,
        backlog: int = DEFAULT_BACKLOG,
        reuse_port: bool = False,
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
            sock: a bound stream socket, TCP or unix, instead of an address. The server makes it
                listen and closes it in the end.
            family: ``AF_INET`` or ``AF_INET6`` for only these addresses of the host.
            backlog: how many connections may wait to be accepted, see listen(2).
            reuse_port: other sockets may listen on the same port (``SO_REUSEPORT``, socket(7)).
            task_status: is told the addresses once connections are accepted.

        Raises:
            OSError: the address is in use or not to be had.
            ValueError: two places to listen at are given, or an option that has no meaning there.

        """
        options = ListenOptions(host, port, path, sock, family, backlog, reuse_port)
        listeners = await listen(options)
        async with anyio.create_task_group() as tasks:
            for listener in listeners:
                tasks.start_soon(self._accept, listener, ssl, tasks)
            task_status.started([bound_address(listener) for listener in listeners])

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
        async with Connection(
            transport, self._config, client_side=False, budget=self._budget
        ) as connection:
            peer = Peer(transport)
            async with anyio.create_task_group() as handlers:

                def start(stream: MessageStream) -> None:
                    handlers.start_soon(request_handler, self._services, stream, peer)

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
                    transport = await accept(listener)
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
            with anyio.fail_after(self._config.connect_timeout):
                return await _handshake(transport, ssl)
        raise ConnectionAbortedError("the server is being drained")


def _methods(mapping: Mapping[str, Any]) -> Sequence[tuple[str, Method]]:
    for route, handler in mapping.items():
        if not isinstance(handler, Handler):
            kind = type(handler).__name__
            raise TypeError(f"{route} is mapped to {kind!r}, and not to a grpclib.const.Handler")
    return [(route, Method(*handler)) for route, handler in mapping.items()]


async def _handshake(transport: ByteStream, ssl: ssl_module.SSLContext | None) -> ByteStream:
    return unwrap_socket(transport) if ssl is None else await wrap_tls(transport, ssl)
