"""What is recorded of each request for an answer: one cause, one line in the log, the metrics.

A request is in :attr:`RequestLog.open` from its acceptance to its end. This also holds when its
browser disconnects before the body has begun. Code that must reach all open requests finds them
there; for example, ``shutdown`` stops them.
"""

import logging
from typing import Any

import trio
from structlog.stdlib import get_logger

from relay_common.shared_text import without_prompt
from relay_gateway.relay.outcome import Cause
from relay_gateway.relay.relay import Relay
from relay_gateway.web.metrics import Metrics

__all__ = ["RequestLog"]

#: Characters of a session id that are logged, since a stranger may send any number of them.
_LOGGED_SESSION_LENGTH = 64

_log = get_logger(__name__)
_lines = logging.getLogger(__name__)


class RequestLog:
    """The requests that are open, and what is recorded when one ends."""

    def __init__(self, metrics: Metrics) -> None:
        """Begin with none."""
        #: The requests for an answer that are not over.
        self.open: set[Relay] = set()
        self._metrics = metrics

    def begin(self, relay: Relay) -> None:
        """Count a request that has been accepted."""
        self.open.add(relay)
        self._metrics.in_progress.inc()

    def end(self, relay: Relay, *, disconnected: bool) -> None:
        """Record why a request is over; to be called once, after its ``Relay`` has been left.

        Args:
            relay: the request.
            disconnected: whether its browser has disconnected.

        """
        # A request that is not over by itself was cancelled: by its browser, or from above.
        otherwise = Cause.CLIENT_DISCONNECT if disconnected else Cause.SHUTDOWN
        cause = relay.cause(otherwise=otherwise)
        self.open.discard(relay)
        self._count(relay, cause)
        if _lines.isEnabledFor(logging.INFO):  # structlog would find out after most of the work
            _log.info("request ended", cause=cause.value, **_details(relay))

    def _count(self, relay: Relay, cause: Cause) -> None:
        metrics = self._metrics
        metrics.in_progress.dec()
        metrics.requests.labels(cause).inc()
        metrics.duration.observe(trio.current_time() - relay.started)
        metrics.tokens.inc(relay.tokens)
        if relay.first_token is not None:
            metrics.first_token.observe(relay.first_token - relay.started)


def _details(relay: Relay) -> dict[str, Any]:
    details: dict[str, Any] = {
        "session_id": relay.request.session_id[:_LOGGED_SESSION_LENGTH],
        "seconds": round(trio.current_time() - relay.started, 3),
        "tokens": relay.tokens,
    }
    if relay.first_token is not None:
        details["first_token_seconds"] = round(relay.first_token - relay.started, 3)
    if relay.outcome is not None and relay.outcome.detail:
        details["status"] = relay.outcome.code
        # The model service may quote the prompt, and prompts are never logged.
        details["detail"] = without_prompt(relay.outcome.detail, relay.request)
    return details
