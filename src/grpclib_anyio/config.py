"""What can be set on a channel or a server: grpclib's ``Configuration`` and our bounds."""

from dataclasses import dataclass, fields
from typing import Any

from grpclib.config import Configuration as GrpclibConfiguration

__all__ = ["Configuration"]

_HTTP2_DEFAULT_WINDOW = 65_535
_MIB = 1024 * 1024


@dataclass(frozen=True)
class Configuration(GrpclibConfiguration):
    """grpclib's configuration with this transport's bounds added.

    Times are in seconds, sizes in bytes. The fields inherited from grpclib keep their meaning;
    only the default of the stream window differs, because a window is memory that one slow
    reader can fill.
    """

    #: Bytes of one stream that wait here unread before its sender has to stop.
    http2_stream_window_size: int = _HTTP2_DEFAULT_WINDOW
    #: A larger message from the peer ends its call with RESOURCE_EXHAUSTED.
    max_message_size: int = 4 * _MIB
    #: Calls that a client may have open on one connection; more wait at the client.
    max_concurrent_streams: int = 1000
    #: Bytes of one stream that wait here to be sent before ``send_message`` waits.
    max_outbox_size: int = 65_536
    #: Bytes of frames that wait for a peer that does not read; more ends the connection.
    max_write_buffer_size: int = _MIB
    #: Until a new connection is ready for use: TCP, TLS, the peer's SETTINGS.
    connect_timeout: float = 20.0
    #: How long a closing connection may take to send what is queued.
    close_timeout: float = 1.0
    #: A server counts a ping that comes sooner, with no data sent in between, as a strike.
    http2_min_recv_ping_interval_without_data: float = 300.0
    #: Strikes that a server bears; one more is answered by GOAWAY(ENHANCE_YOUR_CALM).
    http2_max_ping_strikes: int = 2


def _lift(config: GrpclibConfiguration | None) -> Configuration:
    if config is None:
        return Configuration()
    if isinstance(config, Configuration):
        return config
    given: dict[str, Any] = {f.name: getattr(config, f.name) for f in fields(config)}
    return Configuration(**given)


def for_client(config: GrpclibConfiguration | None) -> Configuration:
    """Return ``config``, which may be grpclib's own or none, with a client's defaults."""
    return _lift(config).__for_client__()  # type: ignore[return-value]


def for_server(config: GrpclibConfiguration | None) -> Configuration:
    """Return ``config``, which may be grpclib's own or none, with a server's defaults."""
    return _lift(config).__for_server__()  # type: ignore[return-value]
