"""What a browser's HTTP/2 connection brings: each frame in its turn, and no flood.

hypercorn handles all that a read has brought before anything else may run, starts the application
for each request in it, also for one that its client has already reset, and bears any flood. Here::

    HEADERS, RST_STREAM, HEADERS, …      no application is started, and each counts as a reset
    HEADERS, HEADERS, …                  four applications start, then the others have their turn
    PING, PING, …                        GOAWAY(ENHANCE_YOUR_CALM), and the connection ends

What is counted is what the transport counts, see ``grpclib_anyio.config.Configuration``. A request
whose application has begun may be reset at no cost: a proxy has the browsers of many people on one
connection, and they may all leave at once. It still takes its place until its application is over.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, ClassVar, cast

import trio
from h2 import events as h2_events
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.events import Body, EndBody
from hypercorn.protocol.h2 import H2Protocol
from hyperframe.frame import WindowUpdateFrame

from grpclib_anyio.http2 import (
    Budgets,
    Credit,
    FrameIgnored,
    Holding,
    MemoryBudget,
    Share,
    without_values,
)
from relay_gateway.server.http2_state import HeadersTooLarge, Http2State, memory_of

if TYPE_CHECKING:
    from relay_gateway.server.requests import RequestTasks

__all__ = ["BrokenOffError", "H2Receiver"]

#: What one connection handles before the others have their turn, in units of about 25 µs (see
#: ``Http2.cost``): a few milliseconds.
_COST_OF_TURN = 100
#: Applications that one connection starts in a turn: each works for a millisecond or two before it
#: waits for something.
_STARTS_PER_TURN = 4
#: Tasks of applications for each stream that a client may have open: one that is over may still
#: clean up.
_TASKS_PER_STREAM = 2
#: Bytes of a DATA frame that bring a body further.
_LITTLE = 64
#: Smaller DATA frames that each request pays for: a body may be short, or end with a short piece.
_LITTLE_PER_REQUEST = 4
#: RFC 9113 § 8.3.1 and RFC 8441: these come first.
_MAX_PSEUDO_HEADERS = 5
#: Bytes of memory for the headers of all requests that are open, on all connections.
_MAX_HELD_HEADERS = 64 * 1024 * 1024
#: Answered without an application, to a request that names no resource (RFC 9110 § 15.6.2), and to
#: one whose headers are too large (RFC 6585 § 5).
_NOT_IMPLEMENTED, _HEADERS_TOO_LARGE = 501, 431


class FloodError(Exception):
    """A client has done too often what no honest one does."""

    def __init__(self, name: bytes) -> None:
        """Tell the client ``name``."""
        super().__init__(name.decode())
        self.name = name


class BrokenOffError(Exception):
    """A connection cannot go on, because of what came; its client has been sent the reason."""


def _end_flood(name: bytes) -> None:
    raise FloodError(name)


class H2Receiver(H2Protocol):
    """hypercorn's HTTP/2, as far as what it receives is concerned."""

    #: The headers that this process holds.
    held_headers = MemoryBudget(_MAX_HELD_HEADERS)

    def __init__(self, *args: Any) -> None:
        """Begin as hypercorn does."""
        super().__init__(*args)
        self.connection: Http2State = Http2State(self.config)
        self._budgets = Budgets(
            self.connection.limits, clock=trio.current_time, on_flood=_end_flood
        )
        #: Requests of the read that is being handled, each with the events that followed it.
        self._new: dict[int, list[h2_events.Event]] = {}
        self._share = Share(self.held_headers)
        self._held: dict[int, Holding] = {}
        self._requests = 0
        self._little = Credit(_LITTLE_PER_REQUEST)
        #: What has been sent that pays for WINDOW_UPDATE frames.
        self.frames_sent = 0

    @property
    def idle(self) -> bool:
        """Whether no request is open, nor about to be started."""
        return not self._new and super().idle

    async def handle(self, event: Event) -> None:
        """Handle what came from the client, with a checkpoint every few milliseconds.

        Raises:
            BrokenOffError: the connection has to be closed.

        """
        if not isinstance(event, RawData):
            for number in list(self._new):
                self._drop(number)
            await super().handle(event)
            return
        try:
            await self._receive(event.data)
        except FloodError as error:
            self.connection.goaway(ErrorCodes.ENHANCE_YOUR_CALM, error.name)
            await self._break_off(f"a flood: {error}")
        except ProtocolError as error:  # a GOAWAY that says what it was is queued
            await self._break_off(without_values(error))

    async def _break_off(self, reason: str) -> None:
        await self._flush()
        await self.handle(Closed())
        raise BrokenOffError(reason)

    async def _receive(self, data: bytes) -> None:
        for event in self.connection.receive(data):
            handle = self._handlers.get(type(event))
            if handle is not None:
                await handle(self, event)
            if self.connection.cost >= _COST_OF_TURN:
                await self._end_turn()
        await self._start_requests()
        await self._flush()

    async def _end_turn(self) -> None:
        self.connection.cost = 0
        await self._flush()
        await trio.lowlevel.checkpoint()

    # -- requests -------------------------------------------------------------------------------

    async def _request_received(self, event: h2_events.RequestReceived) -> None:
        self._requests += 1
        number = event.stream_id
        pseudo_headers = dict(event.headers[:_MAX_PSEUDO_HEADERS])
        method, path = pseudo_headers[b":method"], pseudo_headers.get(b":path", b"")
        if self._is_full:
            self._refuse(number, ErrorCodes.REFUSED_STREAM)
        elif not (method.isascii() and path.isascii()):
            self._refuse(number, ErrorCodes.PROTOCOL_ERROR)
        elif method.upper() == b"CONNECT":
            self._answer(number, _NOT_IMPLEMENTED)
        elif not self._hold(event):
            # It may be the doing of other clients, so it does not count.
            self.connection.reset_stream(number, ErrorCodes.REFUSED_STREAM)
        else:
            self._new[number] = [event]

    @property
    def _is_full(self) -> bool:
        """Whether a client has as many streams as it may have, or their applications still run."""
        limit = self.config.h2_max_concurrent_streams
        tasks = cast("RequestTasks", self.task_group).running
        return len(self.streams) + len(self._new) >= limit or tasks >= _TASKS_PER_STREAM * limit

    def _refuse(self, number: int, code: ErrorCodes) -> None:
        self._budgets.call_made_in_vain()
        self.connection.reset_stream(number, code)

    async def _headers_too_large(self, event: HeadersTooLarge) -> None:
        self._answer(event.stream_id, _HEADERS_TOO_LARGE)

    def _answer(self, number: int, status: int) -> None:
        """Answer a request that has no application."""
        self._budgets.call_made_in_vain()
        headers = [(b":status", b"%d" % status), (b"content-length", b"0")]
        headers += self.config.response_headers("h2")
        self.connection.send_headers(number, headers, end_stream=True)
        self.connection.end_early(number)

    async def _start_requests(self) -> None:
        """Start the applications of a read's requests, a few in each turn of the event loop."""
        started = 0
        while self._new:
            number = next(iter(self._new))
            request, *more = self._new.pop(number)
            await self._handle_events([request])
            if number not in self.streams:  # it was refused, because the worker stops
                self._release(number)
            for event in more:
                await self._handlers[type(event)](self, event)
            started += 1
            if started % _STARTS_PER_TURN == 0:
                await self._end_turn()

    # -- headers that are held ------------------------------------------------------------------

    def _hold(self, request: h2_events.RequestReceived) -> bool:
        """Count the headers of a request, if there is room for them."""
        holding, size = Holding(self._share), memory_of(request)
        if size > holding.room:
            return False
        holding.add(size)
        self._held[request.stream_id] = holding
        return True

    def _release(self, number: int) -> None:
        holding = self._held.pop(number, None)
        if holding is not None:
            holding.give_back_all()

    def _drop(self, number: int) -> bool:
        """Forget a request that has not been started; returns whether it was one."""
        events = self._new.pop(number, [])
        for event in events:
            if isinstance(event, h2_events.DataReceived):
                self._give_back(event)
        self._release(number)
        return bool(events)

    async def _close_stream(self, stream_id: int) -> None:
        self._release(stream_id)
        await super()._close_stream(stream_id)

    # -- bodies ---------------------------------------------------------------------------------

    async def _data_received(self, event: h2_events.DataReceived) -> None:
        number, data = event.stream_id, event.data or b""
        if number in self._new:
            self._new[number].append(event)
            return
        is_late = number not in self.streams  # its data has been dropped
        size = event.flow_controlled_length if is_late else len(data)
        if size < _LITTLE and event.stream_ended is None and not self._is_paid(is_late=is_late):
            self._budgets.little_received()
        if data:
            await self.streams[number].handle(Body(stream_id=number, data=data))
        self._give_back(event)

    def _give_back(self, event: h2_events.DataReceived) -> None:
        """Give a frame's bytes back to the windows, those of its stream if that is open."""
        if size := event.flow_controlled_length:
            self.connection.acknowledge_received_data(size, event.stream_id)

    def _is_paid(self, *, is_late: bool) -> bool:
        return not is_late and self._little.pays(self._requests)

    async def _stream_ended(self, event: h2_events.StreamEnded) -> None:
        if event.stream_id in self._new:
            self._new[event.stream_id].append(event)
        else:
            await self.streams[event.stream_id].handle(EndBody(stream_id=event.stream_id))

    # -- the end of a stream --------------------------------------------------------------------

    async def _stream_reset(self, event: h2_events.StreamReset) -> None:
        if self._drop(event.stream_id) or not event.remote_reset:
            self._budgets.call_made_in_vain()
        await self._close_stream(event.stream_id)
        await self._window_updated(event.stream_id)  # has the sending task drop the buffer

    # -- frames that mean little ----------------------------------------------------------------

    async def _frame_ignored(self, event: FrameIgnored) -> None:
        if isinstance(event.frame, WindowUpdateFrame):
            self._budgets.window_updated(frames_sent=self.frames_sent)
        else:
            self._budgets.frame_ignored(event, resets_sent=self.connection.resets_sent)

    async def _window_update_received(self, event: h2_events.WindowUpdated) -> None:
        self._budgets.window_updated(frames_sent=self.frames_sent)
        await self._window_updated(event.stream_id)

    async def _window_updated(self, stream_id: int | None) -> None:
        """Wake the sending task for streams that have something to send, or have been reset."""
        buffers = self.stream_buffers
        if stream_id:
            numbers = [stream_id] if stream_id in buffers else []
        else:
            numbers = [number for number, buffer in buffers.items() if buffer.buffer]
        for number in numbers:
            self.priority.unblock(number)
        if numbers:
            await self.has_data.set()

    async def _settings_changed(self, event: h2_events.RemoteSettingsChanged) -> None:
        self._budgets.settings_received()
        if SettingCodes.INITIAL_WINDOW_SIZE in event.changed_settings:
            await self._window_updated(None)

    async def _settings_acknowledged(self, _event: h2_events.SettingsAcknowledged) -> None:
        self._budgets.settings_received()

    async def _pinged(self, _event: h2_events.PingReceived | h2_events.PingAckReceived) -> None:
        self._budgets.pinged()

    async def _meaningless(self, _event: h2_events.Event) -> None:
        """Count a frame that means nothing here: a client's GOAWAY lets its streams go on."""
        self._budgets.little_received()

    #: What each event means; a trailer means nothing, nor that a stream has a priority.
    _handlers: ClassVar[dict[type[Any], Callable[["H2Receiver", Any], Awaitable[None]]]] = {
        h2_events.RequestReceived: _request_received,
        HeadersTooLarge: _headers_too_large,
        h2_events.DataReceived: _data_received,
        h2_events.StreamEnded: _stream_ended,
        h2_events.StreamReset: _stream_reset,
        h2_events.WindowUpdated: _window_update_received,
        h2_events.RemoteSettingsChanged: _settings_changed,
        h2_events.SettingsAcknowledged: _settings_acknowledged,
        h2_events.PingReceived: _pinged,
        h2_events.PingAckReceived: _pinged,
        h2_events.UnknownFrameReceived: _meaningless,
        h2_events.ConnectionTerminated: _meaningless,
        FrameIgnored: _frame_ignored,
    }
