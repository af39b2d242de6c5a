"""Browsers on a network in memory, which leave in every way there is, each in one plain call.

What they send goes out at once; what comes is read by :meth:`Browser.run`, a task of the browser's
own, unless it is paused.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import h2.connection
import h2.events
import h2.settings
import h11
import trio
from h2.errors import ErrorCodes

from tests.cancellation.forms import GET, Form, Piece, pieces_of
from tests.cancellation.journal import Journal
from tests.cancellation.network import Link
from tests.support.event_stream import Event, Parser


class Exchange:
    """One request and its response."""

    def __init__(self, session: str, form: Form) -> None:
        """Begin."""
        self.session = session
        self.form = form
        self.started = trio.current_time()
        self.status: int | None = None
        self.content_type = ""
        #: Of a response that is a stream of events.
        self.events: list[Event] = []
        #: The response has come to its end as HTTP has it.
        self.is_complete = False
        #: The server has reset it (HTTP/2).
        self.is_reset = False
        #: The browser has left it.
        self.is_left = False
        self._parser = Parser()
        #: Of a response that is no stream of events.
        self._whole = b""
        self._changed = trio.lowlevel.ParkingLot()

    @property
    def is_torn(self) -> bool:
        """Whether the last event lacks a part, or a response that is none."""
        return self._parser.is_torn or bool(self._whole and not self.is_complete)

    @property
    def pieces(self) -> list[Piece]:
        """What the response says so far; nothing while one that is no stream is not complete."""
        return pieces_of(self.events, self._whole if self.is_complete else b"")

    @property
    def pings(self) -> int:
        """Heartbeats so far."""
        return len(self._parser.comments)

    async def until(self, events: int) -> None:
        """Wait for so many events."""
        while len(self.events) < events and not self.is_complete:
            await self._changed.park()

    async def until_complete(self) -> None:
        """Wait for the end of the response."""
        while not self.is_complete:
            await self._changed.park()

    def begin(self, status: int, content_type: str) -> None:
        """Take note of the headers."""
        self.status, self.content_type = status, content_type

    def take(self, data: bytes) -> None:
        """Add a piece of the body."""
        if self.content_type == "text/event-stream":
            self.events += self._parser.feed(data)
        else:
            self._whole += data
        self._changed.unpark_all()

    def end(self) -> None:
        """Take note of the end of the body."""
        self.is_complete = True
        self._changed.unpark_all()


class Peer(ABC):
    """One connection, of somebody who may leave in every way there is."""

    def __init__(self, link: Link, journal: Journal, name: str) -> None:
        """Use the near end of ``link``."""
        self.link = link
        self.name = name
        #: How the server ended the connection.
        self.end: str | None = None
        #: This side has given it up.
        self.is_left = False
        self._journal = journal
        self._stream = link.near
        self._may_read = trio.Event()
        self._may_read.set()
        self._reading = trio.CancelScope()

    @property
    def is_reading(self) -> bool:
        """Whether it is not paused."""
        return self._may_read.is_set()

    # -- what it does ---------------------------------------------------------------------------

    def close(self) -> None:
        """Close the connection."""
        self._leave("closes")
        self._stream.close()

    def half_close(self) -> None:
        """Send nothing more, and go on reading."""
        self._journal.note(self.name, "half-closes")
        self._leave_exchanges()
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # or said so before
            self._stream.send_eof_nowait()

    def reset(self) -> None:
        """Break the connection."""
        self._leave("resets")
        self._stream.close()
        self.link.reset()

    def cut(self) -> None:
        """Lose the network."""
        self._leave("loses the network")
        self.link.cut()

    def pause(self) -> None:
        """Stop reading, until :meth:`resume`."""
        self._journal.note(self.name, "stops reading")
        if self._may_read.is_set():
            self._may_read = trio.Event()
            self._reading.cancel()

    def resume(self) -> None:
        """Go on reading."""
        self._journal.note(self.name, "reads again")
        self._may_read.set()

    # -- what comes -----------------------------------------------------------------------------

    async def run(self) -> None:
        """Read until the connection is over."""
        while self.end is None and not self.is_left:
            await self._may_read.wait()
            with trio.CancelScope() as self._reading:
                await self._read_once()

    async def _read_once(self, max_bytes: int | None = None) -> None:
        try:
            data = await self._stream.receive_some(max_bytes)
        except trio.BrokenResourceError:
            self._end("reset")
        except trio.ClosedResourceError:
            pass
        else:
            if data:
                self._receive(data)
            else:
                self._end("closed")

    async def read_bytewise(self, until: bytes) -> None:
        """Read as little as makes the gateway wait in the midst of writing ``until``."""
        while until not in self.link.far.sending:
            await self._read_once(1)
            await trio.testing.wait_all_tasks_blocked()

    @abstractmethod
    def _receive(self, data: bytes) -> None:
        """Interpret what has come."""

    @abstractmethod
    def _leave_exchanges(self) -> None:
        """Take note that it has left what it asked for."""

    def _end(self, how: str) -> None:
        self._journal.note(self.name, f"sees its connection {how}")
        self.end = how

    def _leave(self, how: str) -> None:
        self._journal.note(self.name, how)
        self.is_left = True
        self._leave_exchanges()

    def _send(self, data: bytes) -> None:
        try:
            self._stream.send_nowait(data)
        except trio.BrokenResourceError:
            self._end("broken")
        except trio.ClosedResourceError:
            pass  # it has said that it sends nothing more, and may read on


class Browser(Peer):
    """One connection to the gateway."""

    @abstractmethod
    def ask(self, session: str, form: Form = GET) -> Exchange:
        """Send a request."""


class Http1(Browser):
    """HTTP/1.1: one request at a time."""

    def __init__(self, link: Link, journal: Journal, name: str) -> None:
        """Connect."""
        super().__init__(link, journal, name)
        self._http = h11.Connection(h11.CLIENT)
        self._exchange: Exchange | None = None

    def ask(self, session: str, form: Form = GET) -> Exchange:
        """Send a request."""
        self._journal.note(self.name, f"asks {session} by {form.name}")
        self._exchange = Exchange(session, form)
        method, target, body = form.request(session)
        headers = [("host", "gateway"), ("content-length", str(len(body)))]
        request = h11.Request(method=method, target=target, headers=headers)
        parts = [request, h11.Data(body), h11.EndOfMessage()]
        self._send(b"".join(self._http.send(part) or b"" for part in parts))
        return self._exchange

    def _receive(self, data: bytes) -> None:
        self._http.receive_data(data)
        while not isinstance(event := self._http.next_event(), type):  # NEED_DATA and PAUSED
            self._take(event)

    def _take(self, event: object) -> None:
        exchange = self._exchange
        assert exchange is not None
        if isinstance(event, h11.Response):
            exchange.begin(event.status_code, dict(event.headers)[b"content-type"].decode())
        elif isinstance(event, h11.Data):
            exchange.take(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            exchange.end()
            if self._http.their_state is h11.DONE:
                self._http.start_next_cycle()

    def _leave_exchanges(self) -> None:
        if self._exchange is not None:
            self._exchange.is_left = True


class Http2(Browser):
    """HTTP/2: many requests at once."""

    def __init__(
        self, link: Link, journal: Journal, name: str, *, window: int | None = None
    ) -> None:
        """Connect, with prior knowledge; each stream may send ``window`` bytes ahead."""
        super().__init__(link, journal, name)
        self._h2 = h2.connection.H2Connection()
        self._exchanges: dict[int, Exchange] = {}
        if window is not None:
            self._h2.local_settings = h2.settings.Settings(
                initial_values={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window}
            )
        self._h2.initiate_connection()
        self._flush()

    def ask(self, session: str, form: Form = GET) -> Exchange:
        """Send a request."""
        self._journal.note(self.name, f"asks {session} by {form.name}")
        exchange = Exchange(session, form)
        number = self._h2.get_next_available_stream_id()
        self._exchanges[number] = exchange
        method, target, body = form.request(session)
        headers = [(":method", method), (":scheme", "http"), (":authority", "gateway")]
        self._h2.send_headers(number, [*headers, (":path", target)], end_stream=not body)
        if body:
            self._h2.send_data(number, body, end_stream=True)
        self._flush()
        return exchange

    def cancel(self, exchange: Exchange) -> None:
        """Reset a request's stream."""
        self._journal.note(self.name, f"resets {exchange.session}")
        exchange.is_left = True
        number = next(n for n, candidate in self._exchanges.items() if candidate is exchange)
        self._h2.reset_stream(number, ErrorCodes.CANCEL)
        self._flush()

    def _receive(self, data: bytes) -> None:
        for event in self._h2.receive_data(data):
            self._take(event)
        self._flush()

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ConnectionTerminated):
            self._journal.note(self.name, "is told GOAWAY")
            return
        exchange = self._exchanges.get(getattr(event, "stream_id", None) or 0)
        if exchange is None:
            return
        if isinstance(event, h2.events.ResponseReceived):
            headers: dict[Any, Any] = dict(event.headers or ())
            exchange.begin(int(headers[b":status"]), headers[b"content-type"].decode())
        elif isinstance(event, h2.events.DataReceived):
            exchange.take(event.data or b"")
            self._h2.acknowledge_received_data(
                event.flow_controlled_length or 0, event.stream_id or 0
            )
        elif isinstance(event, h2.events.StreamEnded):
            exchange.end()
        elif isinstance(event, h2.events.StreamReset):
            exchange.is_reset = True

    def _leave_exchanges(self) -> None:
        for exchange in self._exchanges.values():
            exchange.is_left = True

    def _flush(self) -> None:
        self._send(self._h2.data_to_send())


class Direct(Browser):
    """No HTTP at all: calls the application as a server does (ASGI), one request at a time."""

    def __init__(
        self, link: Link, journal: Journal, name: str, start: Callable[[Exchange], None]
    ) -> None:
        """Prepare; ``start`` begins a task that runs :meth:`serve`."""
        super().__init__(link, journal, name)
        self._start = start
        self._left = trio.Event()

    def ask(self, session: str, form: Form = GET) -> Exchange:
        """Send a request."""
        self._journal.note(self.name, f"asks {session} by {form.name}")
        self._exchange = Exchange(session, form)
        self._start(self._exchange)
        return self._exchange

    async def run(self) -> None:
        """Have nothing to read."""

    async def serve(self, application: Any, exchange: Exchange) -> None:
        """Run the application for a request."""
        method, target, body = exchange.form.request(exchange.session)
        path, _, query = target.partition("?")
        requests = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            await trio.lowlevel.checkpoint()
            if requests:
                return requests.pop()
            await self._left.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            await trio.lowlevel.checkpoint()
            await self._may_read.wait()
            if self.is_left:
                return
            if message["type"] == "http.response.start":
                headers = dict(message["headers"])
                exchange.begin(message["status"], headers[b"content-type"].decode())
                return
            exchange.take(message["body"])
            if not message["more_body"]:
                exchange.end()

        scope = {
            "type": "http",
            "asgi": {"spec_version": "2.1", "version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(b"host", b"gateway")],
            "client": ("192.0.2.1", 50_000),
            "server": ("192.0.2.2", 80),
            "state": {},
            "extensions": {},
        }
        await application(scope, receive, send)

    def half_close(self) -> None:
        """Leave: there is no half of this."""
        self.close()

    def close(self) -> None:
        """Leave."""
        super().close()
        self._left.set()

    def reset(self) -> None:
        """Leave."""
        self.close()

    def _receive(self, data: bytes) -> None:
        raise NotImplementedError

    def _leave_exchanges(self) -> None:
        self._exchange.is_left = True
