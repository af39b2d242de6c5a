"""What a call holds so that it can be made again, unseen (gRFC A6, transparent retries).

A request for which the peer is known to have done nothing (``UnprocessedError``) can be sent again,
whatever it means. That is done once, on the connection that there is then or on the next, with the
same metadata and messages and with what is left of the deadline. The caller notices nothing, nor do
those who listen to events. The response's headers end it: the peer has done something.
"""

from collections.abc import Callable
from functools import cached_property

import anyio

from grpclib_anyio._base.headers import Headers
from grpclib_anyio._stream.stream import MessageStream

__all__ = ["Retry"]


class Retry:
    """A request, as far as it has been sent."""

    def __init__(self, headers: Callable[[], Headers], max_size: int) -> None:
        """Begin with ``headers``; ``max_size`` bytes of messages can be held as well."""
        self.headers = headers
        #: What that task is in while it waits for a connection.
        self.scope: anyio.CancelScope | None = None
        # Bounded by the room: the message that is too much ends the retry, see `add`.
        self._messages: list[bytes] = []
        self._room = max_size
        self._is_ended = False

    @cached_property
    def lock(self) -> anyio.Lock:
        """Had by the task that makes the call again; others of the same call wait for it."""
        return anyio.Lock()  # not made for each call: few are made again

    def add(self, message: bytes, *, end: bool) -> bool:
        """Hold a message that has been sent; False if that is too much to be held."""
        self._room -= len(message)
        self._messages.append(message)
        self._is_ended |= end
        return self._room >= 0

    def end(self) -> None:
        """Remember that the request has ended."""
        self._is_ended = True

    def send(self, stream: MessageStream) -> None:
        """Send all of it again, but for the headers; a plain call."""
        stream.resend(self._messages, end=self._is_ended)

    def interrupt(self) -> None:
        """Let the task that waits for a connection give up."""
        if self.scope is not None:
            self.scope.cancel()
