"""What every peer speaks: the product's own streaming call, and one call of each other kind.

The messages are betterproto's, on all sides: they serialise themselves, and that is all that
grpcio and grpclib want of a message.
"""

import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import anyio.to_thread
from betterproto.lib.google.protobuf import StringValue
from grpclib.const import Cardinality, Status

__all__ = [
    "DETAILS",
    "ECHO_METHODS",
    "GENERATE",
    "MESSAGE",
    "PATIENCE",
    "Failure",
    "Metadata",
    "Reply",
    "StringValue",
    "Witness",
    "flood",
    "token",
    "tokens",
]

#: Seconds that anything may take here; what works takes a small part of it.
PATIENCE = 10.0

GENERATE = "/ai.AIService/Generate"

ECHO_METHODS: Mapping[str, Cardinality] = MappingProxyType(
    {
        # Answers with the request; metadata whose key begins with "x-" comes back with the
        # headers, and again with the trailers under "trailing-x-".
        "Echo": Cardinality.UNARY_UNARY,
        # Answers with the seconds that are left of the deadline.
        "Remaining": Cardinality.UNARY_UNARY,
        # Fails with the status that the request names, the message after it or else MESSAGE,
        # and DETAILS.
        "Fail": Cardinality.UNARY_UNARY,
        # Raises what it should not.
        "Crash": Cardinality.UNARY_UNARY,
        # Answers with as many zeros as the first word of the request says.
        "Zeros": Cardinality.UNARY_UNARY,
        # Answers with all requests in one.
        "Join": Cardinality.STREAM_UNARY,
        # Answers each request with itself before it takes the next.
        "Chat": Cardinality.STREAM_STREAM,
    }
)

#: Needs percent-encoding in each of the ways there are.
MESSAGE = "100 % of it: 5%41, \u00fcber \U0001f680,\r\n\ttilde ~"
DETAILS = bytes(range(256))

Metadata = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True)
class Reply:
    """The answer to a unary call, with the metadata that is ours."""

    text: str
    initial: Metadata = ()
    trailing: Metadata = ()


class Failure(Exception):  # noqa: N818 - the outcome that many tests are about
    """How a call failed, in the terms of gRPC and not of one library."""

    def __init__(self, status: Status, message: str | None, details: bytes | None = None) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message
        self.details = details


@dataclass
class Witness:
    """What the handlers of a server saw of calls, told apart by their session.

    Handlers run in threads and event loops of their own, so these are events of threads.
    """

    _started: dict[str, threading.Event] = field(
        default_factory=lambda: defaultdict(threading.Event)
    )
    _ended: dict[str, threading.Event] = field(default_factory=lambda: defaultdict(threading.Event))
    _steps: dict[str, threading.Semaphore] = field(
        default_factory=lambda: defaultdict(lambda: threading.Semaphore(0))
    )
    #: The other ends of the connections on which Generate was called.
    peers: set[str] = field(default_factory=set[str])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def started(self, session: str) -> threading.Event:
        """Return what is set when the handler has been called."""
        with self._lock:
            return self._started[session]

    def ended(self, session: str) -> threading.Event:
        """Return what is set when the handler has been told that its call is over."""
        with self._lock:
            return self._ended[session]

    def steps(self, session: str) -> threading.Semaphore:
        """Return what lets a handler that was told to "step" send one more token."""
        with self._lock:
            return self._steps[session]

    async def see_started(self, session: str) -> None:
        assert await _is_set(self.started(session)), f"{session} did not start"

    async def see_ended(self, session: str, within: float = 2.0) -> None:
        assert await _is_set(self.ended(session), within), f"{session} did not end"


async def _is_set(event: threading.Event, within: float = PATIENCE) -> bool:
    return await anyio.to_thread.run_sync(event.wait, within)


def token(index: int) -> str:
    """Return the token that Generate sends at that place."""
    return f"{index} "


def flood(index: int) -> str:
    """Return the token of an answer that fills every window soon."""
    return token(index).ljust(1024)


def tokens(count: int) -> list[str]:
    """Return the tokens that Generate sends first."""
    return list(map(token, range(count)))
