"""The client's side: a channel to one server, on which calls are made.

A drop-in for ``grpclib.client``: generated stubs and grpclib's method classes work unchanged, on
trio and on asyncio.
"""

import ssl as ssl_module
from ipaddress import AddressValueError, IPv6Address
from math import inf, isnan
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from anyio.abc import ByteStream
from grpclib.client import (
    ServiceMethod,
    StreamStreamMethod,
    StreamUnaryMethod,
    UnaryStreamMethod,
    UnaryUnaryMethod,
)
from grpclib.config import Configuration as GrpclibConfiguration
from grpclib.const import Cardinality, Handler, Status
from grpclib.encoding.base import CodecBase, StatusDetailsCodecBase
from grpclib.events import _DispatchChannelEvents  # pyright: ignore[reportPrivateUsage] - grpclib exports no other
from grpclib.metadata import Deadline
from multidict import MultiDict

from grpclib_anyio._base.config import for_client
from grpclib_anyio._base.errors import GRPCError
from grpclib_anyio._base.headers import MAX_TIMEOUT, MetadataLike
from grpclib_anyio._base.trio_io import current_time
from grpclib_anyio._call.client import Client, Stream
from grpclib_anyio._channel.address import Address
from grpclib_anyio._channel.connector import Connector
from grpclib_anyio._connection.connection import ConnectionStatistics
from grpclib_anyio._generated import choose_codecs, complete_stubs
from grpclib_anyio._grpclib import warn_of_loop
from grpclib_anyio._stream.compression import accept_encoding

if TYPE_CHECKING:
    # What generated stubs and grpclib's method classes say that they take.
    from grpclib.client import Channel as _GrpclibChannel
else:
    _GrpclibChannel = object

__all__ = [
    "Cardinality",
    "Channel",
    "GRPCError",
    "Handler",
    "ServiceMethod",
    "Status",
    "Stream",
    "StreamStreamMethod",
    "StreamUnaryMethod",
    "UnaryStreamMethod",
    "UnaryUnaryMethod",
]

_SendType = TypeVar("_SendType")
_RecvType = TypeVar("_RecvType")


class Channel(_GrpclibChannel):
    """One connection to a server, shared by all calls that are made on it.

    An async context manager. The connection is made by the first call and again after a loss; a
    call on a lost connection fails with UNAVAILABLE, the next one connects. One that the server
    has surely not processed is made again, once, unseen. After a failed attempt to connect, calls
    fail at once, or wait (``Configuration.wait_for_ready``), until the next. Leaving ``async with``
    resets what calls are left and closes the connection, in one second at most, also in a
    cancelled scope.
    """

    def __init__(
        self,
        host: str | None = None,
        port: int | None = None,
        *,
        loop: object = None,
        path: str | None = None,
        ssl: bool | ssl_module.SSLContext | ssl_module.DefaultVerifyPaths | None = None,
        codec: CodecBase | None = None,
        status_details_codec: StatusDetailsCodecBase | None = None,
        config: GrpclibConfiguration | None = None,
    ) -> None:
        """Describe the server; nothing is connected yet, and no event loop is needed.

        Args:
            host: the server's name or address, 127.0.0.1 if not given.
            port: the server's port, 50051 if not given.
            loop: deprecated and ignored; the channel runs on the loop that ``async with`` runs on.
            path: the path of a unix socket, instead of host and port.
            ssl: True for TLS with the usual certificate authorities, or a context, or where
                the authorities' certificates are.
            codec: encodes messages; if not given, ``CompiledCodec`` where betterproto is
                installed, and grpclib's ``ProtoCodec`` where it is not.
            status_details_codec: decodes ``grpc-status-details-bin``; grpclib's if neither this
                nor ``codec`` is given and googleapis-common-protos is installed.
            config: grpclib's or this package's configuration.

        Raises:
            ValueError: both a path and a host or port are given.
            RuntimeError: betterproto is installed in a version that is not known here.

        """
        warn_of_loop(loop)
        if path is not None and (host is not None or port is not None):
            text = "A path cannot be combined with a host or a port"
            raise ValueError(text)
        codec, status_details_codec = choose_codecs(codec, status_details_codec)
        settings = for_client(config)
        address = Address(
            host or "127.0.0.1",
            port or 50051,
            path,
            _tls_context(ssl),
            settings.ssl_target_name_override,
        )
        complete_stubs(Channel)
        self.__dispatch__ = _DispatchChannelEvents()
        self._address = address
        self._connector = Connector(settings, self._connect, str(address))
        self._client = Client(
            self._connector,
            "http" if address.ssl is None else "https",
            _authority(address),
            codec,
            status_details_codec,
            self.__dispatch__,
            compresses=settings.compression is not None,
            accept_encoding=accept_encoding(gzip=settings.accepts_compression),
        )

    async def __aenter__(self) -> Self:
        """Open the task group in which the connection will live; connects to nothing yet."""
        await self._connector.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Close the connection, and wait until it is closed."""
        await self._connector.__aexit__(exc_type, exc_val, exc_tb)  # noqa: ASYNC102 - takes close_timeout at most

    async def _connect(self) -> ByteStream:
        """Connect a byte stream to the server; a subclass may make it in another way."""
        return await self._address.connect()

    def request(  # type: ignore[override] # the same methods in another class
        self,
        name: str,
        cardinality: Cardinality,
        request_type: type[_SendType],
        reply_type: type[_RecvType],
        *,
        timeout: float | None = None,
        deadline: Deadline | None = None,
        metadata: MetadataLike | None = None,
    ) -> Stream[_SendType, _RecvType]:
        """Prepare a call of the method ``name`` (``/package.Service/Method``).

        ``timeout`` is in seconds from now; the sooner of it and ``deadline`` counts. More than the
        11,000 years that gRPC can say, such as ``math.inf``, is no deadline. Nothing is sent before
        the first message.

        Raises:
            ValueError: ``timeout`` is NaN.

        """
        return Stream(
            self._client,
            name,
            MultiDict(metadata or ()),
            cardinality=cardinality,
            send_type=request_type,
            recv_type=reply_type,
            deadline=_earliest(timeout, deadline),
        )

    def close(self) -> None:
        """Close the connection now; its calls fail with UNAVAILABLE, the next one connects."""
        self._connector.close()

    def statistics(self) -> ConnectionStatistics:
        """Add up what the channel's connections hold at this moment."""
        parts = [connection.statistics() for connection in self._connector.connections]
        return ConnectionStatistics(
            streams=sum(part.streams for part in parts),
            waiting_for_slot=sum(part.waiting_for_slot for part in parts),
            unsent_bytes=sum(part.unsent_bytes for part in parts),
        )


def _earliest(timeout: float | None, deadline: Deadline | None) -> float | None:
    """Return the sooner of the two on the loop's clock, or None if it cannot be said on the wire.

    Infinity, for example, is no deadline.

    Raises:
        ValueError: ``timeout`` is not a number.

    """
    remaining = inf if timeout is None else timeout
    if deadline is not None:
        remaining = min(remaining, deadline.time_remaining())
    if remaining > MAX_TIMEOUT:
        return None
    if remaining <= 0:
        return current_time()
    if isnan(remaining):
        raise ValueError("timeout is not a number")
    return current_time() + remaining


def _authority(address: Address) -> str:
    try:
        return f"[{IPv6Address(address.host)}]:{address.port}"
    except AddressValueError:
        return f"{address.host}:{address.port}"


def _tls_context(
    ssl: bool | ssl_module.SSLContext | ssl_module.DefaultVerifyPaths | None,  # noqa: FBT001 - grpclib takes True here
) -> ssl_module.SSLContext | None:
    if isinstance(ssl, ssl_module.SSLContext):
        return ssl
    if not ssl:
        return None
    paths = ssl if isinstance(ssl, ssl_module.DefaultVerifyPaths) else None
    context = ssl_module.create_default_context(
        cafile=paths and paths.cafile, capath=paths and paths.capath
    )
    context.minimum_version = ssl_module.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    return context
