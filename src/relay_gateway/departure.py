"""How an application learns that its client has left, without a task that waits to be told.

ASGI tells it to who awaits ``receive``. An application that is busy with its response needs a task
beside it for that, which costs more than most of what is done for a request. So a server may cancel
a scope of the application's itself. It offers that for one request by an entry in the
``extensions`` of its ASGI scope, named :data:`CLIENT`. Where there is none (another server), a task
waits.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

import trio

__all__ = ["CLIENT", "Client", "client_of"]

CLIENT = "relay_gateway.client"


class Client(Protocol):
    """Who made a request."""

    #: It has left, or has all of its response; ``receive`` then gives ``http.disconnect``.
    has_left: bool

    @abstractmethod
    def cancel_when_it_leaves(self, scope: trio.CancelScope, /) -> None:
        """Cancel a scope when the client leaves, which may be at once.

        From now on ``receive`` must not be awaited: what comes of the request's body is dropped.
        """

    @abstractmethod
    def call_when_it_leaves(self, function: Callable[[], None], /) -> None:
        """Call a plain function just before that, for what must not wait until a task runs.

        If it has left already, nothing is called.
        """


def client_of(scope: Any) -> Client | None:  # noqa: ANN401 - ASGI's
    """Return who made the request with this ASGI scope, if the server says so."""
    extensions: dict[str, Any] = scope.get("extensions") or {}
    return extensions.get(CLIENT)
