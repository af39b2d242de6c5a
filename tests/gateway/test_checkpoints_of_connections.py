"""A request behind hypercorn's connections that is ended at each of its checkpoints.

See the transport's `harness/every_checkpoint.py`. Over HTTP/1.1 and over HTTP/2, on a socket pair:
the browser closes the connection, the server stops, and over HTTP/2 the browser resets the stream
alone. After each checkpoint one more request is made: on the same connection if a stream was all
that was ended, and always on a new one.
"""

from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, cast

import h11
import pytest
import trio
from hypercorn.config import Config
from hypercorn.utils import wrap_app  # pyright: ignore[reportUnknownVariableType] - has a bare `dict`
from structlog.testing import capture_logs

from harness.clock import on_mock_clock
from harness.every_checkpoint import AtEachCheckpoint, Checkpoint, settled
from harness.leaks.tasks import all_tasks
from relay_gateway.relay.outcome import Cause
from relay_gateway.server.tcp import BoundedTCPServer
from relay_gateway.server.worker import DrainingContext
from tests.support.asgi import Client
from tests.support.browsers import SMALL_BUFFER, Http1, Http2
from tests.support.event_stream import DONE, Event
from tests.support.gateways import ASK, gateway_to
from tests.support.scripts import PHASES, WHOLE, Script, causes_in

pytestmark = pytest.mark.trio(run=on_mock_clock)

#: What ends a connection ends its browser, in one of these ways.
LOSSES = (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError)


ANSWER = [*WHOLE, DONE.data]


def data_of(events: list[Event]) -> list[str]:
    return [event.data for event in events]


class Visit:
    """A request on a connection of its own: a socket pair."""

    http: str

    def __init__(self, client: Client, script: Script) -> None:
        near, self.far = trio.socket.socketpair()
        for socket in (near, self.far):
            socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_SNDBUF, SMALL_BUFFER)
        self.scope = trio.CancelScope()
        self.causes: list[Cause] = []
        self.events: list[Event] = []
        #: The connection has ended before the browser had read all that it wanted to.
        self.is_lost = False
        self.script = script
        self.browsers_stream = trio.SocketStream(self.far)
        app = wrap_app(cast("Any", client.application), 0, "asgi")
        self._stream = trio.SocketStream(near)
        self._server = BoundedTCPServer(app, Config(), DrainingContext(None), {}, self._stream)

    async def run(self, pause: float = 0.0) -> None:
        """Ask, wait before reading, and read to the end of the answer or of the connection."""
        with capture_logs() as logs:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._browse, pause)
                with self.scope:
                    await self._server.run()
        assert self._stream.socket.fileno() < 0  # nobody else closes it
        self.causes = causes_in(logs)

    async def _browse(self, pause: float) -> None:
        async with self.browsers_stream:
            try:
                await self.ask_and_read(pause)
            except LOSSES:
                self.is_lost = True

    @abstractmethod
    async def ask_and_read(self, pause: float) -> None:
        """Do what the browser does."""


class Http1Visit(Visit):
    """A request by HTTP/1.1."""

    http = "HTTP/1.1"

    async def ask_and_read(self, pause: float) -> None:
        browser = Http1(self.browsers_stream)
        await browser.send(ASK)
        await browser.headers()
        await trio.sleep(pause)
        while event := await browser.event():
            self.events.append(event)


class Http2Visit(Visit):
    """A request by HTTP/2, and another on the same connection if the browser resets the first."""

    http = "HTTP/2"

    def __init__(self, client: Client, script: Script) -> None:
        super().__init__(client, script)
        self.browser = Http2(self.browsers_stream)

    async def ask_and_read(self, pause: float) -> None:
        await self.browser.start()
        number = await self.browser.send(ASK)
        self.events = self.browser.events[number]
        await trio.sleep(pause)
        await self.browser.until_end(number)
        if number in self.browser.left:
            await settled()
            self.script.check()
            again = await self.browser.send(ASK)
            assert data_of(await self.browser.until_end(again)) == ANSWER


def browser_closes(visit: Visit) -> None:
    with suppress(OSError):  # it has left already
        visit.far.shutdown(trio.socket.SHUT_RDWR)


def browser_resets(visit: Visit) -> None:
    assert isinstance(visit, Http2Visit)
    if visit.far.fileno() >= 0:  # it has not left already
        visit.browser.disconnect()


def server_stops(visit: Visit) -> None:
    visit.scope.cancel()


End = Callable[[Visit], None]
#: With the cause that is recorded, unless the answer was over, or the browser's leaving seen first.
ENDS: dict[End, Cause] = {
    browser_closes: Cause.CLIENT_DISCONNECT,
    browser_resets: Cause.CLIENT_DISCONNECT,
    server_stops: Cause.SHUTDOWN,
}
VISITS = [
    (Http1Visit, browser_closes),
    (Http1Visit, server_stops),
    (Http2Visit, browser_closes),
    (Http2Visit, browser_resets),
    (Http2Visit, server_stops),
]


async def _visit_is_ended(
    visit_of: type[Visit], end: End, script: Script, client: Client, point: Checkpoint
) -> None:
    tasks = len(all_tasks())
    script.begin()
    visit = visit_of(client, script)
    with point.watched(lambda: end(visit)):
        await visit.run(script.phase.pause)
    await settled()
    script.check()
    tokens = [event.data for event in visit.events if event.type == "message"]
    assert tokens == script.tokens[: len(tokens)]
    assert not (visit.is_lost and end is browser_resets)
    assert len(visit.causes) <= 1 + (end is browser_resets)
    assert set(visit.causes) <= {ENDS[end], Cause.CLIENT_DISCONNECT, Cause.DONE}
    again = visit_of(client, script)
    await again.run()
    assert data_of(again.events) == ANSWER
    assert again.causes == [Cause.DONE]
    await settled()
    assert len(all_tasks()) == tasks


@pytest.mark.parametrize(("visit_of", "end"), VISITS)
@pytest.mark.parametrize("phase", ["thinking", "mid-stream", "backpressured", "done"])
async def test_visit_is_ended(
    phase: str, visit_of: type[Visit], end: End, at_each_checkpoint: AtEachCheckpoint
) -> None:
    script = Script(PHASES[phase])
    async with gateway_to(script.model, script.wire) as client:
        await client.send(ASK)
        await settled()
        scenario = partial(_visit_is_ended, visit_of, end, script, client)
        name = f"request ended, behind hypercorn, {visit_of.http}"
        await at_each_checkpoint(name, scenario, seeds=script.phase.seeds)
