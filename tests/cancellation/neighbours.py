"""Healthy calls among neighbours that do what no peer should, and all of it decided by a seed.

One seed is one run: the gateway, the model, and people who ask, read and stay. Beside them, on
connections of their own and on the same ones, are others: browsers past any browser, clients of the
model that speak to it directly, and a model that answers some calls with nonsense. ``offences`` is
what they do. An offence of a stream must not be noticed by the other streams of its connection,
and one of a connection by no other connection.

Every healthy call has exactly its tokens, in bounded time, and afterwards nothing is left.
"""

# The windows' insides are the product's own: nothing else tells.
# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001

import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from itertools import count
from random import Random

import trio
from anyio.abc import ByteStream
from grpclib.exceptions import GRPCError

from grpclib_anyio._connection.connection import Connection
from grpclib_anyio.config import Configuration, Rate
from grpclib_anyio.testing import ChannelOver
from relay_proto.ai import AiServiceStub, GenerateRequest, GenerateResponse
from tests.cancellation import offences
from tests.cancellation.forms import GET
from tests.cancellation.journal import WatchedStream
from tests.cancellation.leftovers import leftovers
from tests.cancellation.models import Host, Step
from tests.cancellation.network import AnyioEnd, End, Link, Storm
from tests.cancellation.offences import Request
from tests.cancellation.raw_peer import Fields, RawHttp2, RawPeer, RawStream
from tests.cancellation.simulation import Run, run_seed
from tests.cancellation.world import World, open_world
from tests.support.event_stream import Event, Parser

__all__ = ["simulate"]

#: Seconds in which everything begins, what a request may take, and until all is over.
_SPAN, _DEADLINE, _LONG = 10.0, 60.0, 400.0
#: Beside the model's own time: what the network may take.
_PATIENCE = 20.0
_END = "done"
#: Small, so that a flood need not be long; but the gateway resets what browsers leave.
_BUDGETS = Configuration(
    max_pings=Rate(per_second=50, burst=200),
    max_settings=Rate(per_second=10, burst=100),
    max_empty_frames=Rate(per_second=50, burst=200),
    http2_min_recv_ping_interval_without_data=0.0,
    # A neighbour whose network is lost is noticed by nothing else.
    keepalive_time=20.0,
    keepalive_timeout=10.0,
    keepalive_permit_without_calls=True,
)
_GRPC_FIELDS: Fields = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/ai.AIService/Generate"),
    (":authority", "model"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
)
_RESPONSE_FIELDS: Fields = ((":status", "200"), ("content-type", "application/grpc"))
_FIRST_WINDOW, _TOO_LONG = 65_535, 500

Answer = Callable[[], Awaitable[list[str]]]


def simulate(seed: int) -> Run:
    """Run one seed."""
    return run_seed(seed, lambda run: _Neighbourhood(run).main())


class _Neighbourhood:
    def __init__(self, run: Run) -> None:
        self._run = run
        self._chance = Random(run.seed)  # noqa: S311 - repeatable, no secret
        self._numbers = count()
        #: The model is one of the tests' own, which answers some calls with nonsense.
        self._is_odd = self._chance.random() < 0.4

    async def main(self) -> None:
        chance = self._chance
        async with open_world(
            weather=lambda: Storm(chance), model=_BUDGETS, deadline_seconds=_DEADLINE
        ) as world:
            self._world = world
            # What is asked for by nonsense has an answer without tokens.
            world.models.model.scripts = defaultdict(lambda: list)
            if self._is_odd:
                world.models.host = _OddHost(world, chance)
            try:
                async with trio.open_nursery() as nursery:
                    self._start(nursery)
                await self._end()
            finally:
                self._run.schedule = str(world.journal)

    def _start(self, nursery: trio.Nursery) -> None:
        chance = self._chance
        kinds = [self._noise, self._browse_rudely, self._browse_rudely, self._fail_as_a_model]
        kinds += [self._ask_the_odd_model] * 3 if self._is_odd else [self._call_rudely] * 3
        for _ in range(3):
            nursery.start_soon(self._at_some_time, self._browse)
        for _ in range(chance.randint(2, 4)):
            nursery.start_soon(self._at_some_time, chance.choice(kinds))

    async def _at_some_time(self, happen: Callable[[], Awaitable[None]]) -> None:
        await trio.sleep(self._chance.uniform(0, _SPAN))
        await happen()

    # -- healthy calls --------------------------------------------------------------------------

    async def _browse(self) -> None:
        name, browser = self._new_session(), self._world.browse(http2=self._chance.random() < 0.5)

        async def answer() -> list[str]:
            exchange = browser.ask(name)
            await exchange.until_complete()
            return _told(exchange.events)

        await self._check(name, answer)

    async def _check(self, name: str, answer: Answer) -> None:
        """See that a call has exactly its tokens, in time."""
        script = list(self._world.models.model.scripts[name]())
        told: list[str] | str = "no end in time"
        with trio.move_on_after(_duration(script) + _PATIENCE):  # noqa: ASYNC912 - waits in answer()
            try:
                told = await answer()
            except GRPCError as error:
                told = repr(error)
        if told != [*(step for step in script if isinstance(step, str)), _END]:
            self._run.failures.append(f"{name}, a healthy call: {told}")
        self._run.sessions += 1

    def _new_session(self, *, rude: bool = False) -> str:
        chance, name = self._chance, f"{'rude' if rude else 'good'}{next(self._numbers)}"
        steps: list[Step] = []
        for number in range(chance.choice([1, 3, 6])):
            steps.append(chance.choice([0.0, 0.5, 2.0]))
            steps += (f"{name}.{number}.{more} " for more in range(chance.choice([1, 2, 20])))
        if rude:
            flood: list[Step] = ["x" * 1024] * 300
            steps += chance.choice([[], [2 * _DEADLINE], flood])
        self._world.models.model.scripts[name] = lambda: steps
        return name

    # -- rude browsers --------------------------------------------------------------------------

    async def _noise(self) -> None:
        """Send what is no HTTP/2, or no HTTP at all, to the gateway or to the model."""
        chance = self._chance
        if self._is_odd or chance.random() < 0.6:
            link, data = self._world.connect(), chance.choice(offences.HTTP1_BYTES)
        else:
            link, data = await self._connect_to_model(), chance.choice(offences.NOISE)
        peer = RawPeer(link, self._world.journal, self._name(), chance)
        self._world.models.model.scripts["rude"] = lambda: ["x" * 1024] * 100
        self._join(peer)
        peer.note(f"sends {data[:60]!r}, {len(data)} bytes")
        peer.put(data)
        if chance.random() < 0.3:
            peer.pause()
        await self._leave(peer)

    async def _browse_rudely(self) -> None:
        peer = self._raw(self._world.connect())
        await self._offend(
            peer,
            self._http_request,
            _events_on,
            ending=(*offences.ENDING_REQUESTS, *offences.MALFORMED_REQUESTS),
        )

    def _http_request(self, *, rude: bool = False) -> tuple[str, Request]:
        name = self._new_session(rude=rude)
        method, target, _ = GET.request(name)
        fields = ((":method", method), (":scheme", "http"), (":authority", "gateway"))
        return name, Request((*fields, (":path", target)))

    # -- rude clients of the model --------------------------------------------------------------

    async def _call_rudely(self) -> None:
        peer = self._raw(await self._connect_to_model())
        more = (*offences.GRPC_OFFENCES, *offences.MALFORMED_REQUESTS)
        await self._offend(
            peer, self._grpc_request, _messages_on, more, ending=offences.ENDING_REQUESTS
        )

    def _grpc_request(self, *, rude: bool = False) -> tuple[str, Request]:
        name = self._new_session(rude=rude)
        message = GenerateRequest(prompt="hi", session_id=name)
        return name, Request(_GRPC_FIELDS, _framed(message))

    async def _connect_to_model(self) -> Link:
        await self._world.models.connect()
        return self._world.models.links[-1]

    async def _offend(
        self,
        peer: RawHttp2,
        make_request: Callable[..., tuple[str, Request]],
        told_on: Callable[[RawStream], list[str]],
        more: tuple[offences.RequestOffence, ...] = (),
        *,
        ending: tuple[offences.RequestOffence, ...],
    ) -> None:
        """Commit offences of a stream among healthy calls, or one of the connection."""
        chance = self._chance
        peer.begin()
        if chance.random() < 0.4:
            offence = chance.choice((*offences.CONNECTION_OFFENCES, *ending))
            peer.note(f"offends by {offence.__name__}")
            offence(peer, make_request(rude=True)[1], chance)
            await self._leave(peer)
            return
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                name, request = make_request()
                nursery.start_soon(self._check, name, partial(_ask, peer, request, told_on))
            for _ in range(chance.randint(1, 4)):
                await trio.sleep(chance.choice([0.0, 0.01, 1.0]))
                offence = chance.choice((*offences.STREAM_OFFENCES, *more, *more))
                peer.note(f"offends by {offence.__name__}")
                offence(peer, make_request(rude=True)[1], chance)

    async def _leave(self, peer: RawPeer) -> None:
        """Leave in any way, or stay."""
        await trio.sleep(self._chance.choice([0.0, 0.01, 1.0, 10.0]))
        stay: Callable[[], None] = partial(peer.note, "stays")
        ways = [peer.close, peer.reset, peer.half_close, peer.cut, stay, stay]
        self._chance.choice(ways)()

    # -- models that answer with nonsense -------------------------------------------------------

    async def _ask_the_odd_model(self) -> None:
        """Have answers spoilt on the connection that all others share."""
        for _ in range(self._chance.randint(1, 3)):
            name = self._new_session(rude=True).replace("rude", "odd")
            exchange = self._world.browse(http2=self._chance.random() < 0.5).ask(name)
            with trio.move_on_after(_DEADLINE + _PATIENCE):
                await exchange.until_complete()
            if not exchange.is_complete:
                self._run.failures.append(f"{name}, whose answer is spoilt, does not end")

    async def _fail_as_a_model(self) -> None:
        """Lose the connection of another channel; that has nothing to do with the gateway's."""
        chance, start_soon = self._chance, self._world.start_soon

        async def connect() -> AnyioEnd:
            await trio.lowlevel.checkpoint()
            link = Link(Storm(chance))
            start_soon(partial(self._offend_as_a_model, link))
            return AnyioEnd(link.near)

        async with ChannelOver(connect) as channel:
            for _ in range(2):
                await self._call(AiServiceStub(channel))

    async def _call(self, stub: AiServiceStub) -> None:
        try:
            async for _ in stub.generate(GenerateRequest(prompt="hi"), timeout=5.0):
                pass
        except GRPCError as error:
            self._world.journal.note("another", f"is told {error!r}")

    async def _offend_as_a_model(self, link: Link) -> None:
        chance = self._chance
        server = RawHttp2(link, self._world.journal, self._name(), chance, accepts=True)
        self._join(server)
        if chance.random() < 0.3:
            server.put(chance.choice(offences.NOISE))
        else:
            server.begin()
            await trio.sleep(chance.choice([0.0, 1.0]))
            offence = chance.choice((*offences.CONNECTION_OFFENCES, _spoil_an_answer))
            server.note(f"offends by {offence.__name__}")
            offence(server, Request(_RESPONSE_FIELDS), chance)
        await self._leave(server)

    # -- those that are connected ---------------------------------------------------------------

    def _name(self) -> str:
        return f"rude:{len(self._world.strangers)}"

    def _raw(self, link: Link) -> RawHttp2:
        peer = RawHttp2(link, self._world.journal, self._name(), self._chance)
        self._join(peer)
        return peer

    def _join(self, peer: RawPeer) -> None:
        self._world.strangers.append(peer)
        self._world.start_soon(peer.run)

    # -- what must be true ------------------------------------------------------------------------

    async def _end(self) -> None:
        world, failures = self._world, self._run.failures
        await trio.sleep(_LONG)
        failures += self._failures_in_windows()
        for peer in (*world.browsers, *world.strangers):
            peer.close()
        await trio.sleep(_LONG)
        failures += leftovers(world)
        world.terminate()
        with trio.move_on_after(_LONG):
            await world.gateway_stopped.wait()
        if not world.gateway_stopped.is_set():
            failures.append("the gateway does not stop")
        # A line about a neighbour is fine. A traceback is a surprise, and so a mistake of ours.
        failures += (f"logged: {line}" for line in world.complaints if "Traceback" in line)

    def _failures_in_windows(self) -> Iterator[str]:
        """See that what was sent in vain has been given back to the connection's window."""
        served = {_end_of(c): c for c in self._world.served}
        called = {_end_of(c): c for c in self._world.channel._connector.connections}
        for peer in self._world.strangers:
            ours = served.get(peer.link.far) or called.get(peer.link.near)
            if ours is None or not isinstance(peer, RawHttp2):
                continue
            is_quiet = peer.is_reading and peer.has_sent_all and not peer.link.is_cut
            if is_quiet and peer.is_connected and ours.is_open:
                yield from _failures_in_window(peer, ours)


class _OddHost(Host):
    """A model that answers the sessions named `odd` with nonsense, and the others as scripted."""

    def __init__(self, world: World, chance: Random) -> None:
        super().__init__(world.models.model, Configuration())
        self._world = world
        self._chance = chance

    async def serve_connection(self, transport: ByteStream) -> None:  # noqa: ARG002 - it speaks by itself
        server = _OddServer(self.links[-1], self._world, self._chance)
        self._world.strangers.append(server)
        await server.run()


class _OddServer(RawHttp2):
    def __init__(self, link: Link, world: World, chance: Random) -> None:
        name = f"rude:{len(world.strangers)}"
        super().__init__(link, world.journal, name, chance, accepts=True)
        self._model = world.models.model
        self._nursery: trio.Nursery

    async def run(self) -> None:
        self.begin()
        async with trio.open_nursery() as self._nursery:
            await super().run()
            self._nursery.cancel_scope.cancel()

    def _take_end(self, stream_id: int) -> None:
        super()._take_end(stream_id)
        session = GenerateRequest().parse(self.streams[stream_id].data[5:]).session_id
        if session.startswith("odd"):
            offence = self._chance.choice(offences.RESPONSE_OFFENCES)
            self.note(f"offends on {stream_id} by {offence.__name__}")
            offence(self, stream_id, self._chance)
        else:
            self._nursery.start_soon(self._answer, stream_id, session)

    async def _answer(self, stream_id: int, session: str) -> None:
        """Follow the script, as far as the window reaches."""
        self.send_headers(stream_id, _RESPONSE_FIELDS)
        for step in self._model.scripts[session]():
            if self.streams[stream_id].reset is not None:
                return
            if isinstance(step, float):
                await trio.sleep(step)
            elif isinstance(step, str) and len(step) < _TOO_LONG:
                self.send_data(stream_id, _framed(GenerateResponse(token=step)))
        self.send_data(stream_id, _framed(GenerateResponse(done=True)))
        self.send_headers(stream_id, (("grpc-status", "0"),), end=True)


def _end_of(connection: Connection) -> End:
    transport = connection.transport
    if isinstance(transport, WatchedStream):
        transport = transport._stream
    assert isinstance(transport, AnyioEnd)
    return transport.end


def _failures_in_window(peer: RawHttp2, ours: Connection) -> Iterator[str]:
    enlarged = max(0, ours._config.http2_connection_window_size - _FIRST_WINDOW)
    owed = ours._receiver.window.owed
    if peer.unreturned + enlarged != owed:
        yield f"{peer.name} is owed {owed} bytes of window, and misses {peer.unreturned + enlarged}"


def _framed(message: GenerateRequest | GenerateResponse) -> bytes:
    data = bytes(message)
    return b"\0" + len(data).to_bytes(4) + data


def _spoil_an_answer(server: RawHttp2, _request: Request, chance: Random) -> None:
    spoil = chance.choice(offences.ENDING_RESPONSES)
    server.note(f"offends by {spoil.__name__}")
    spoil(server, 1, chance)


def _duration(script: list[Step]) -> float:
    return sum(step for step in script if isinstance(step, float))


async def _ask(
    peer: RawHttp2, request: Request, told_on: Callable[[RawStream], list[str]]
) -> list[str]:
    number = peer.next_stream()
    peer.send_headers(number, request.fields, end=not request.body)
    if request.body:
        peer.send_data(number, request.body, end=True)
    await peer.streams[number].until_over()
    return told_on(peer.streams[number])


def _told(events: list[Event]) -> list[str]:
    return [
        json.loads(event.data)["token"] if event.type == "message" else event.type
        for event in events
    ]


def _events_on(stream: RawStream) -> list[str]:
    return _told(Parser().feed(stream.data))


def _messages_on(stream: RawStream) -> list[str]:
    """Read a gRPC response: its end counts only with status 0."""
    told: list[str] = []
    data = stream.data
    while len(data) > 4:
        size = int.from_bytes(data[1:5])
        message = GenerateResponse().parse(data[5 : 5 + size])
        told.append(_END if message.done else message.token)
        data = data[5 + size :]
    status = stream.headers[-1].get("grpc-status") if stream.headers else None
    return told if status == "0" else [*told, f"grpc-status {status}, reset {stream.reset}"]
