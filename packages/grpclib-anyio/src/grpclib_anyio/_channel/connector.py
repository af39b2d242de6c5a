"""The connection of a channel: made on first use, shared by all calls, replaced after a loss.

Nothing is attempted without a call. After an attempt that failed, the next one starts no sooner
than the backoff from the start of that one. A loss after a success is not followed by a pause. For
example, calls to a server that is down, with a backoff of 1 s::

    0.0 s   a call: an attempt starts, and fails. The call fails with UNAVAILABLE
    0.3 s   a call fails with UNAVAILABLE at once, for the same reason; with ``wait_for_ready``
            it waits
    1.0 s   the next call may start an attempt; one that waits does
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from types import TracebackType
from typing import Self

import anyio
from anyio.abc import ByteStream, TaskGroup

from grpclib_anyio._base.config import Configuration
from grpclib_anyio._base.errors import TerminatedError, unavailable
from grpclib_anyio._base.headers import Headers
from grpclib_anyio._base.notify import Notify
from grpclib_anyio._channel.backoff import Backoff
from grpclib_anyio._channel.timers import Timers
from grpclib_anyio._connection.connection import Connection
from grpclib_anyio._connection.http2 import check_h2_version
from grpclib_anyio._stream.stream import MessageStream

__all__ = ["Connector"]

_LEFT = "The channel is closed"


class _Attempt:
    """One attempt to connect, and the calls that wait for it."""

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.connection: Connection | None = None
        self.problem = _LEFT
        #: Ended by us, so its end says nothing about the server.
        self.is_abandoned = False


class Connector:
    """Owns the task group of the connections, and the timers of their calls' deadlines.

    An async context manager. Leaving it closes every connection; see ``Connection`` for how.
    """

    def __init__(
        self,
        config: Configuration,
        connect: Callable[[], Awaitable[ByteStream]],
        name: str,
        backoff: Backoff | None = None,
    ) -> None:
        """Prepare to ``connect`` to the server that is called ``name`` in messages.

        ``backoff`` is used instead of the configured one if given.

        Raises:
            RuntimeError: this version of h2 has not been looked at.

        """
        check_h2_version()
        self.config = config
        self._connect = connect
        self._name = name
        self._tasks: TaskGroup | None = None
        self._backoff = backoff or Backoff(config.initial_backoff, config.max_backoff)
        self._begin()

    def _begin(self) -> None:
        """Know nothing of any event loop: its clock, its events and its connections."""
        #: The deadlines of the channel's calls; they ring while it is entered.
        self.timers = Timers()
        self._current: Connection | None = None
        self._connections: set[Connection] = set()
        self._attempt: _Attempt | None = None
        #: When the next attempt may start, on the loop's clock, and why the last one failed.
        self._pause_ends = float("-inf")
        self._problem = _LEFT
        #: Wakes the calls that wait for the next attempt.
        self._left = Notify()
        self._backoff.reset()

    async def __aenter__(self) -> Self:
        """Open the task group; connects to nothing yet."""
        tasks = anyio.create_task_group()
        await tasks.__aenter__()
        self._tasks = tasks
        self._begin()
        tasks.start_soon(self.timers.run, name="deadlines of calls")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Close what is open; takes ``close_timeout`` at most, cancelled or not."""
        tasks = self.tasks
        self._tasks = None
        self._left.notify()
        self.close()
        tasks.cancel_scope.cancel()
        tasks.cancel_scope.shield = True  # bounded: what is left are connections that close
        # Not told of the body's exception, the task group does not wrap it in a group.
        await tasks.__aexit__(None, None, None)  # noqa: ASYNC102 - connections that close take close_timeout at most

    @property
    def tasks(self) -> TaskGroup:
        """The task group.

        Raises:
            RuntimeError: not entered, or left.

        """
        if self._tasks is None:
            text = "Use the channel within `async with channel:`, which owns its tasks"
            raise RuntimeError(text)
        return self._tasks

    @property
    def is_entered(self) -> bool:
        """Whether there is a task group."""
        return self._tasks is not None

    @property
    def connections(self) -> frozenset[Connection]:
        """The connections that have calls or can take them."""
        return frozenset(self._connections)

    def close(self) -> None:
        """Close every connection: its calls fail, new calls open another."""
        if self._attempt is not None:
            self._attempt.is_abandoned = True
        for connection in self._connections:
            connection.close()

    def open_stream_nowait(
        self, headers: Callable[[], Headers]
    ) -> tuple[Connection, MessageStream] | None:
        """Open a stream if there is a connection with a free slot; None if not."""
        connection = self._current
        if connection is None or not connection.is_open:
            return None
        stream = connection.open_stream_nowait(headers)
        return None if stream is None else (connection, stream)

    async def open_stream(self, headers: Callable[[], Headers]) -> tuple[Connection, MessageStream]:
        """Open a stream on the shared connection, once there is one and it has a free slot.

        A caller that is cancelled leaves the attempt to connect to the other waiting callers.

        Raises:
            TerminatedError: UNAVAILABLE, the server cannot be reached, and the channel's calls do
                not ``wait_for_ready``.

        """
        while True:
            connection = self._current
            if connection is None or not connection.is_open:
                await self._connect_once()
            elif stream := await connection.open_stream(headers):
                return connection, stream

    async def _connect_once(self) -> None:
        """Wait for the end of an attempt, or of the pause before it."""
        tasks = self.tasks
        if self._attempt is None:
            if anyio.current_time() < self._pause_ends:
                return await self._wait_for_pause()
            self._attempt = _Attempt()
            tasks.start_soon(self._run, self._attempt, name=f"connection to {self._name}")
        attempt = self._attempt
        await attempt.done.wait()
        if attempt.connection is None:
            self._give_up_unless_waiting(attempt.problem)
        return None

    async def _wait_for_pause(self) -> None:
        self._give_up_unless_waiting(self._problem)
        with anyio.CancelScope(deadline=self._pause_ends):
            await self._left.wait()
            raise unavailable(_LEFT)

    def _give_up_unless_waiting(self, problem: str) -> None:
        if self._tasks is None or not self.config.wait_for_ready:
            raise unavailable(problem)

    async def _run(self, attempt: _Attempt) -> None:
        start = anyio.current_time()
        try:
            transport = await self._open_transport()
            await self._run_connection(transport, attempt)
        except (OSError, TerminatedError) as error:
            attempt.problem = f"Cannot connect to {self._name}: {_reason(error)}"
            if not attempt.is_abandoned:
                self._problem = attempt.problem
                self._pause_ends = start + self._backoff.next()
        finally:
            self._finish(attempt)

    async def _open_transport(self) -> ByteStream:
        try:
            with anyio.fail_after(self.config.connect_timeout):
                return await self._connect()
        except OSError:
            raise
        except Exception as error:
            # An address that cannot be, such as port 70000, is found out by the libraries below,
            # each in its own way. It fails the calls: the channel's task group is not theirs.
            raise OSError(f"{type(error).__name__}: {error}") from error

    async def _run_connection(self, transport: ByteStream, attempt: _Attempt) -> None:
        # A call of theirs that is made again comes before they have closed.
        for other in self._connections:
            self._adjust_keepalive(other)
        # Shielded, because a connection must outlive its calls, and they are cancelled with the
        # scope around the channel. __aexit__ closes it, and that ends both waits below.
        with anyio.CancelScope(shield=True):
            async with Connection(transport, self.config, client_side=True) as connection:
                self._connections.add(connection)
                try:
                    await self._make_ready(connection, attempt)
                    await connection.wait_closed()
                finally:
                    self._connections.discard(connection)
                    self._adjust_keepalive(connection)

    async def _make_ready(self, connection: Connection, attempt: _Attempt) -> None:
        if self._tasks is None:  # closed while connecting
            connection.close()
        with anyio.move_on_after(self.config.connect_timeout) as scope:
            await connection.wait_ready()
        if scope.cancelled_caught:
            raise unavailable("the peer sends no SETTINGS")
        self._current = attempt.connection = connection
        self._backoff.reset()
        self._finish(attempt)

    def _finish(self, attempt: _Attempt) -> None:
        if self._attempt is attempt:
            self._attempt = None
        attempt.done.set()

    def _adjust_keepalive(self, connection: Connection) -> None:
        time = self.config.keepalive_time
        if connection.got_too_many_pings and time is not None:
            connection.got_too_many_pings = False
            self.config = replace(self.config, keepalive_time=2 * time)


def _reason(error: OSError | TerminatedError) -> str:
    if isinstance(error, TimeoutError):
        return "it does not answer"
    if isinstance(error, TerminatedError):
        return error.message or ""
    return str(error) or type(error).__name__
