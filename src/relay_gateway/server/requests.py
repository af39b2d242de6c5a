"""One request in hypercorn: the task of the application for it, and the messages to that task.

hypercorn puts the messages into a memory channel. An :class:`Inbox` has the same bound, costs one
turn of the event loop less for each message, and offers to tell the application of a disconnect by
a plain call (see ``extensions``). For example, when a browser closes its connection::

    reader of the connection ── put(http.disconnect) ──▶ Inbox ── on_disconnect ──▶ application
                                                          └── cancels the application's scope
"""

from collections.abc import Awaitable, Callable
from typing import Any, cast

import hypercorn.trio.task_group
import trio
from hypercorn.config import Config
from hypercorn.trio.task_group import TaskGroup
from hypercorn.typing import AppWrapper, ASGIReceiveEvent, ASGISendEvent, Scope

from relay_gateway.extensions import CLIENT

__all__ = ["Inbox", "RequestTasks"]

#: Disconnect messages always fit, so that putting one never blocks: the sender may be the socket
#: reader, or a task that is being cancelled.
_DISCONNECTS = frozenset({"http.disconnect", "websocket.disconnect"})

_serve_request: Callable[..., Awaitable[object]] = hypercorn.trio.task_group.__dict__["_handle"]


class Inbox:
    """The messages to an application about one request; an ``extensions.Client``.

    When it is full, the connection's reader blocks, so that a request's body is not read faster
    than the application takes it.
    """

    def __init__(self, size: int) -> None:
        """Hold up to ``size`` messages."""
        #: The client has left, or has all of its response.
        self.disconnected = False
        self._size = size
        self._messages: list[ASGIReceiveEvent] = []  # few; a deque takes 0.7 KiB
        self._scope: trio.CancelScope | None = None
        self._on_disconnect: Callable[[], None] | None = None
        #: Set when a message is put or taken; there is one only while a task waits.
        self._changed: trio.Event | None = None

    def cancel_on_disconnect(self, scope: trio.CancelScope) -> None:
        """Cancel a scope when the client leaves, and drop everything else from now on."""
        self._scope = scope
        self._messages.clear()
        self._notify()
        if self.disconnected:
            scope.cancel()

    def on_disconnect(self, function: Callable[[], None]) -> None:
        """Call a plain function when the client leaves, before the scope is cancelled."""
        self._on_disconnect = function

    async def put(self, message: ASGIReceiveEvent) -> None:
        """Add a message; waits, and is a checkpoint, only while there is no room.

        There is always room for a disconnect.
        """
        if message["type"] in _DISCONNECTS:
            self.disconnected = True
            if self._on_disconnect is not None:
                self._on_disconnect()
            if self._scope is not None:
                self._scope.cancel()
        while len(self._messages) >= self._size and not self.disconnected:
            await self._wait_for_change()
        if self._scope is None:
            self._messages.append(message)
            self._notify()

    async def receive(self) -> ASGIReceiveEvent:
        """Take a message; waits, and is a checkpoint, only while there is none."""
        while not self._messages:
            await self._wait_for_change()
        self._notify()
        return self._messages.pop(0)

    async def _wait_for_change(self) -> None:
        if self._changed is None:
            self._changed = trio.Event()
        await self._changed.wait()

    def _notify(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None


class RequestTasks(TaskGroup):
    """The tasks of a connection, of which each request has one."""

    @property
    def running(self) -> int:
        """How many tasks there are: of requests, also of those that are over for their client."""
        return len(cast("Any", self)._nursery.child_tasks)  # noqa: SLF001 - hypercorn tells nobody

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
