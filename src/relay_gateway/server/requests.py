"""What hypercorn tells an application of a request: the task for it, and the messages to it.

hypercorn puts them into a memory channel. This takes their place with the same bound, costs a turn
of the event loop less for each message, and offers the application to tell it of its client's
leaving at once; see ``disconnect``.
"""

from collections.abc import Awaitable, Callable
from typing import Any, cast

import hypercorn.trio.task_group
import trio
from grpclib_anyio._base.notify import Notify
from hypercorn.config import Config
from hypercorn.trio.task_group import TaskGroup
from hypercorn.typing import AppWrapper, ASGIReceiveEvent, ASGISendEvent, Scope

from relay_gateway.extensions import CLIENT

__all__ = ["Inbox", "RequestTasks"]

#: The last message. Who has it to tell may be cancelled, and may be the reader: it never waits.
_LEAVINGS = frozenset({"http.disconnect", "websocket.disconnect"})

_serve_request: Callable[..., Awaitable[object]] = hypercorn.trio.task_group.__dict__["_handle"]


class Inbox:
    """The messages to an application about one request; a ``disconnect.Client``.

    A full one makes the connection's reader wait: a body is not read faster than it is taken.
    """

    def __init__(self, size: int) -> None:
        """Hold up to ``size`` messages."""
        #: The client has left, or has all of its response.
        self.disconnected = False
        self._size = size
        self._messages: list[ASGIReceiveEvent] = []  # few; a deque takes 0.7 KiB
        self._scope: trio.CancelScope | None = None
        self._on_leaving: Callable[[], None] | None = None
        self._changed = Notify()

    def cancel_on_disconnect(self, scope: trio.CancelScope) -> None:
        """Cancel a scope when the client leaves, and drop everything else from now on."""
        self._scope = scope
        self._messages.clear()
        self._changed.notify()
        if self.disconnected:
            scope.cancel()

    def on_disconnect(self, function: Callable[[], None]) -> None:
        """Call a plain function when the client leaves, before the scope is cancelled."""
        self._on_leaving = function

    async def put(self, message: ASGIReceiveEvent) -> None:
        """Add a message; waits, and is a checkpoint, only while there is no room.

        There is always room for a disconnect.
        """
        if message["type"] in _LEAVINGS:
            self.disconnected = True
            if self._on_leaving is not None:
                self._on_leaving()
            if self._scope is not None:
                self._scope.cancel()
        while len(self._messages) >= self._size and not self.disconnected:
            await self._changed.wait()
        if self._scope is None:
            self._messages.append(message)
            self._changed.notify()

    async def receive(self) -> ASGIReceiveEvent:
        """Take a message; waits, and is a checkpoint, only while there is none."""
        while not self._messages:
            await self._changed.wait()
        self._changed.notify()
        return self._messages.pop(0)


class RequestTasks(TaskGroup):
    """The tasks of a connection, of which each request has one."""

    async def spawn_app(
        self,
        app: AppWrapper,
        config: Config,
        scope: Scope,
        send: Callable[[ASGISendEvent | None], Awaitable[None]],
    ) -> Callable[[ASGIReceiveEvent], Awaitable[None]]:
        """Start the application for a request, and return what takes the messages to it."""
        inbox = Inbox(config.max_app_queue_size)
        extensions: dict[str, Any] = scope["extensions"]  # type: ignore[typeddict-item]
        extensions[CLIENT] = inbox
        cast("Any", self).spawn(
            _serve_request,
            app,
            config,
            scope,
            inbox.receive,
            send,
            trio.to_thread.run_sync,
            trio.from_thread.run,
        )
        return inbox.put
