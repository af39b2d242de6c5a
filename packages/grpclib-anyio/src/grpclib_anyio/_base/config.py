"""What can be set on a channel or a server: grpclib's ``Configuration`` and our bounds.

For example, ``Channel(config=Configuration(max_message_size=64 * 1024))``. A channel and a server
take grpclib's own configuration as well, and then use the defaults of what it does not have.

grpclib's own settings of keepalive begin with an underscore. Here they have public names, which
are gRPC's, and grpclib's names stand for the same values::

    Configuration(keepalive_time=10.0)._keepalive_time   # 10.0
    Configuration(_keepalive_time=10.0).keepalive_time   # 10.0
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from grpclib.config import _DEFAULT as UNSET  # pyright: ignore[reportPrivateUsage] - grpclib's mark of a value that is not given
from grpclib.config import Configuration as GrpclibConfiguration

from grpclib_anyio._base.rate_limit import Rate

__all__ = ["Configuration"]

_HTTP2_DEFAULT_WINDOW = 65_535
_KIB = 1024
_MIB = 1024 * 1024


def _check_compression(name: str, value: object) -> None:
    if value not in {None, "gzip"}:
        raise ValueError(f'"{name}" should be "gzip" or None')


def _check_not_negative(name: str, value: float) -> None:
    if value < 0:
        raise ValueError(f'"{name}" should not be negative')


def _public(grpclibs_name: str) -> Any:
    """Declare a setting that grpclib has under another name, with its check and its defaults."""
    grpclibs = GrpclibConfiguration.__dataclass_fields__[grpclibs_name]
    return field(default=UNSET, metadata={"default": grpclibs.default, **grpclibs.metadata})


def _alias(public_name: str) -> Any:
    """Declare grpclib's name for such a setting; the check is done under the public name."""
    grpclibs = GrpclibConfiguration.__dataclass_fields__[f"_{public_name}"]
    metadata = {"default": grpclibs.default, **grpclibs.metadata, "validate": None}
    return field(default=UNSET, metadata=metadata, repr=False)


#: The settings with two names: ours, and grpclib's, which is the same with an underscore.
_KEEPALIVE = (
    "keepalive_time",
    "keepalive_timeout",
    "keepalive_permit_without_calls",
    "http2_max_pings_without_data",
    "http2_min_sent_ping_interval_without_data",
)


@dataclass(frozen=True)
class Configuration(GrpclibConfiguration):
    """grpclib's configuration with this transport's bounds added.

    Times are in seconds, sizes in bytes. The fields inherited from grpclib keep their meaning;
    only the default of the stream window differs, because a window is memory that one slow
    reader can fill.
    """

    #: A ping is sent after this time without a byte from the peer; None for never.
    #: A server's default is 7,200, a client's None. gRPC's keepalive document, as the four below.
    keepalive_time: float | None = _public("_keepalive_time")
    #: Without an answer to the ping for so long, the connection is lost (UNAVAILABLE).
    keepalive_timeout: float = _public("_keepalive_timeout")
    #: Pings are also sent while no call is open.
    keepalive_permit_without_calls: bool = _public("_keepalive_permit_without_calls")
    #: Pings that may be sent with no data in between; 0 for no such limit.
    http2_max_pings_without_data: int = _public("_http2_max_pings_without_data")
    #: The least time between two pings with no data sent in between.
    http2_min_sent_ping_interval_without_data: float = _public(
        "_http2_min_sent_ping_interval_without_data"
    )
    # grpclib's names for these, declared again so that a given value differs from a default.
    _keepalive_time: float | None = _alias("keepalive_time")
    _keepalive_timeout: float = _alias("keepalive_timeout")
    _keepalive_permit_without_calls: bool = _alias("keepalive_permit_without_calls")
    _http2_max_pings_without_data: int = _alias("http2_max_pings_without_data")
    _http2_min_sent_ping_interval_without_data: float = _alias(
        "http2_min_sent_ping_interval_without_data"
    )
    # What both names stood for in the configuration that this one was made from by
    # `dataclasses.replace`, which gives the new one all values, those that are to change and those
    # that are not. So a value differs from this if, and only if, it is to change.
    _before: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False, compare=False)
    #: Bytes of one stream that wait here unread before its sender has to stop.
    http2_stream_window_size: int = _HTTP2_DEFAULT_WINDOW
    #: A larger message from the peer ends its call with RESOURCE_EXHAUSTED.
    max_message_size: int = 4 * _MIB
    #: Calls that a client may have open on one connection; more wait at the client, and one that
    #: does not wait is refused (REFUSED_STREAM). A handler whose call is over may still clean up:
    #: a call beyond twice as many handlers is refused as well.
    max_concurrent_streams: int = 1000
    #: Calls of a client that wait until the server's limit admits them; one more fails with
    #: RESOURCE_EXHAUSTED, at once and unsent.
    max_waiting_streams: int = 10_000
    #: Bytes of one HEADERS as RFC 9113 § 6.5.2 counts them, announced to the peer. A stream with
    #: more is reset with ENHANCE_YOUR_CALM; a compressed block of four times as many bytes ends the
    #: connection.
    max_header_list_size: int = 64 * _KIB
    #: Calls that a client makes in vain: refused, reset before their handler has begun, or reset
    #: by us because they were malformed. Beyond it the client's connection ends with
    #: GOAWAY(ENHANCE_YOUR_CALM), as with the floods below (CVE-2023-44487, rapid reset;
    #: CVE-2025-8671, resets that the client provokes). A call whose handler has begun does not
    #: count: a relay cancels thousands at once when its users leave, and again when they come back.
    max_resets: Rate = field(default=Rate(per_second=500, burst=5_000))
    #: PING frames and answers to pings. There are peers that measure the connection with a PING
    #: for each round trip while data flows, so this is far above keepalive, which has its own
    #: limit (``http2_max_ping_strikes``). CVE-2019-9512.
    max_pings: Rate = field(default=Rate(per_second=5_000, burst=10_000))
    #: SETTINGS frames and their acknowledgements. A peer changes a window now and then.
    #: CVE-2019-9515.
    max_settings: Rate = field(default=Rate(per_second=10, burst=100))
    #: Frames that change nothing: DATA without data that ends nothing, PRIORITY, and frames of
    #: unknown type. Also DATA that brings a message less than 64 bytes further, time after time.
    #: CVE-2019-9518, CVE-2019-9513.
    max_empty_frames: Rate = field(default=Rate(per_second=100, burst=1_000))
    #: WINDOW_UPDATE frames beyond ten for each frame that we have sent. A window that is opened
    #: byte by byte makes us send byte by byte. CVE-2019-9511, CVE-2019-9517.
    max_window_updates: Rate = field(default=Rate(per_second=500, burst=2_000))
    #: Bytes of headers and messages that all calls of a server hold, on all of its connections:
    #: what has arrived, and the message that each handler has received last, inflated. A call that
    #: needs more fails with RESOURCE_EXHAUSTED. What a codec makes of a message does not count.
    max_held_size: int = 128 * _MIB
    #: Bytes of one stream that wait here to be sent before ``send_message`` waits.
    max_outbox_size: int = 65_536
    #: Bytes of frames that wait for a peer that does not read. With more, we read no further; if
    #: they still wait after ``close_timeout``, the connection is lost.
    max_write_buffer_size: int = _MIB
    #: Plain frames are not shown to h2, which saves most of what they cost; see
    #: ``received_frames``. Nothing else depends on it.
    reads_data_past_h2: bool = True
    #: How messages are compressed: not at all, or those that gzip makes smaller. A server does it
    #: only for clients that accept it.
    compression: Literal["gzip"] | None = field(
        default=None, metadata={"validate": _check_compression}
    )
    #: What the peer compresses is read. Without it the peer is told so. A call that is compressed
    #: all the same ends with UNIMPLEMENTED at a server, and with INTERNAL at a client.
    accepts_compression: bool = True
    #: Until a new connection is ready for use: TCP, TLS, the peer's SETTINGS. A server closes one
    #: that is not.
    connect_timeout: float = 20.0
    #: From the start of a failed attempt to connect to that of the next; 1.6 times as long after
    #: each further failure, give or take a fifth, and as at first after a success. Calls made in
    #: between fail with UNAVAILABLE at once, or wait if ``wait_for_ready``. With 0 every call
    #: tries.
    initial_backoff: float = field(default=1.0, metadata={"validate": _check_not_negative})
    #: What that grows to at most.
    max_backoff: float = field(default=120.0, metadata={"validate": _check_not_negative})
    #: A channel's calls wait for a connection, until their deadline (DEADLINE_EXCEEDED), instead
    #: of failing with UNAVAILABLE when an attempt has failed. Needs a backoff above 0.
    wait_for_ready: bool = False
    #: Bytes of messages that a call holds until the response's headers, so that it can be made
    #: again if the server has not processed it; one that has sent more fails in that case.
    max_retry_buffer_size: int = field(default=65_536, metadata={"validate": _check_not_negative})
    #: How long a closing connection may take to send what is queued.
    close_timeout: float = 1.0
    #: A server lets go of a connection that has had no call for so long (gRFC A9).
    max_connection_idle: float | None = None
    #: A server lets go of a connection of this age, give or take a tenth: clients are told to make
    #: another one, calls in progress go on (gRFC A9).
    max_connection_age: float | None = None
    #: How long the calls of such a connection may go on; then they end with UNAVAILABLE.
    max_connection_age_grace: float | None = None
    #: A server counts a ping that comes sooner, with no data sent in between, as a strike.
    http2_min_recv_ping_interval_without_data: float = 300.0
    #: Strikes that a server bears; one more is answered by GOAWAY(ENHANCE_YOUR_CALM).
    http2_max_ping_strikes: int = 2

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: one is out of its range, two do not go together, or one was given by both
                of its names with different values.

        """
        before = {name: self._only_value(name) for name in _KEEPALIVE}
        for name, value in {**before, "_before": before}.items():
            object.__setattr__(self, name, value)
        for name, value in before.items():
            object.__setattr__(self, f"_{name}", value)
        super().__post_init__()
        if self.wait_for_ready and not min(self.initial_backoff, self.max_backoff):
            raise ValueError('"wait_for_ready" without a backoff would connect without a pause')

    def _only_value(self, name: str) -> Any:
        """Return what a setting with two names stands for."""
        before = self._before.get(name, UNSET)
        own, grpclibs = getattr(self, name), getattr(self, f"_{name}")
        given = [value for value in (own, grpclibs) if value is not UNSET and value != before]
        if len(set(given)) > 1:
            raise ValueError(f'"{name}" is {own!r} and "_{name}" is {grpclibs!r}: give one of them')
        if given:
            return given[0]
        return (
            before if name in self._before else self.__dataclass_fields__[name].metadata["default"]
        )


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
