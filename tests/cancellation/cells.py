"""One cell of the matrix: a request is brought into a phase, and ends there in one way or two."""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, count, repeat

import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from hyperframe.frame import RstStreamFrame
from trio.testing import MockClock, wait_all_tasks_blocked

from grpclib_anyio.config import Configuration
from harness.scheduling import run_seeded
from relay_proto.ai import AiServiceStub, GenerateRequest
from tests.cancellation.browsers import Browser, Exchange, Http2
from tests.cancellation.forms import FORMS, GET, Form, Piece
from tests.cancellation.journal import Entry
from tests.cancellation.leftovers import leftovers
from tests.cancellation.models import Step
from tests.cancellation.world import World, open_world
from tests.support.models import SECRET

#: Before anything else that is bounded in time, where the deadline is the ending, and after.
DEADLINE, LATER = 10.0, 180.0
#: For how long headers wait for the first token: for longer than anything is waited for in a phase
#: of waiting; or for so short that it is over by then.
HOLD, SHORT_HOLD = 60.0, 0.5
#: Seconds that a model which is drained gives its calls.
GRACE = 5.0
SESSION, HOLDER, PROBE = "s", "holder", "probe"
KIB = 1024
#: More than what fits between the gateway's reader and the browser, and less than what fits
#: between the model and the reader.
BACKLOG = 100
#: Long after anything can still happen.
IN_THE_END = 1000.0


@dataclass(frozen=True)
class Outcome:
    """What is seen of a request that ended; times in seconds from the ending."""

    #: The status of what is no GET, and the pieces that the browser got, a flood as ``x*``.
    browser: str
    #: What the model's connection was told of the stream.
    wire: str
    #: When the generator's ``finally`` ran.
    freed: str
    #: The one cause that was recorded, and when.
    cause: str
    at: str


class Scene:
    """A request on its way into a phase."""

    def __init__(self, world: World, clock: MockClock, form: Form, *, http2: bool) -> None:
        """Begin with a browser that is not connected yet."""
        self.world = world
        self.form = form
        self.go = trio.Event()
        #: What the model does once told to go on.
        self.then: Iterable[Step] = ["b"]
        #: In a phase of backpressure, the model says something for as long as it is let.
        self.is_endless = True
        #: The first call of the model is another one: it has the slot, or lists the models.
        self.is_second = False
        #: The call that has the slot may end.
        self.released = trio.Event()
        self.exchange: Exchange
        self.browser: Browser
        self._clock = clock
        self._http2 = http2

    # -- phases ---------------------------------------------------------------------------------

    async def listing(self) -> None:
        """The gateway has asked for the models, because not each takes what is asked."""
        self.is_second = True
        self.world.models.model.may_list = self.go
        self.form = self.form.with_more()
        self._ask(["a"])

    async def connecting(self) -> None:
        """The channel's connection is not made yet."""
        self.world.models.open = trio.Event()
        self._ask(["a"])

    async def slot(self) -> None:
        """The model takes one call at a time, and has one."""
        self.is_second = True
        self.world.models.model.scripts[HOLDER] = lambda: [self.released]
        self.world.start_soon(self._hold_the_slot)
        await wait_all_tasks_blocked()
        self._ask(["a"])

    async def _hold_the_slot(self) -> None:
        request = GenerateRequest(prompt="hi", session_id=HOLDER)
        with suppress(GRPCError):
            await anext(AiServiceStub(self.world.channel).generate(request))

    async def thinking(self) -> None:
        """The model has the prompt and says nothing yet."""
        self._ask([self.go])

    async def mid_stream(self) -> None:
        """The browser has a token, and the model thinks about the next."""
        self._ask(["a", self.go])
        if self.form.is_streamed:
            await self.exchange.until(1)

    async def backpressured(self) -> None:
        """The browser does not read, and every buffer up to the model is full."""
        self.world.buffer_size = 4 * KIB
        self._ask(self._flood())
        self.browser.pause()

    async def last_event(self) -> None:
        """The model has finished, and the gateway waits in the midst of writing the last event."""
        if self._http2:
            # Takes the token, and a part of what follows; a chunk of a chat is longer.
            self.world.window = 240 if self.form.is_chat and self.form.is_streamed else 24
        else:
            self.world.buffer_size = 16
        self._ask(["a"], then=())
        self.browser.pause()
        if not self._http2:
            await self.browser.read_bytewise(self.form.last)

    async def just_done(self) -> None:
        """The browser has all of it; its connection, and that to the model, are open."""
        self._ask(["a"], then=())
        await self.exchange.until_complete()

    def _ask(self, steps: Iterable[Step], then: Iterable[Step] | None = None) -> None:
        if then is not None:
            self.then = then
        if self._http2:  # the socket takes everything, and it is the window that is full
            self.world.buffer_size = 1024 * KIB
        self.world.models.model.scripts[SESSION] = lambda: chain(steps, self._rest())
        self.browser = self.world.browse(http2=self._http2)
        self.exchange = self.browser.ask(SESSION, self.form)

    def _rest(self) -> Iterator[Step]:
        yield from self.then

    def _flood(self) -> Iterator[Step]:
        yield from repeat("x" * KIB, BACKLOG)
        tokens = _endless()
        while self.is_endless:
            yield next(tokens)
        yield self.go

    # -- endings, each in one plain call ----------------------------------------------------------

    def closes(self) -> None:
        self.browser.close()

    def half_closes(self) -> None:
        self.browser.half_close()

    def resets(self) -> None:
        self.browser.reset()

    def rst_stream(self) -> None:
        assert isinstance(self.browser, Http2)
        self.browser.cancel(self.exchange)

    def stops_reading(self) -> None:
        """Whatever the model says from now on, and it says a lot."""
        self.then = _endless()
        self.browser.pause()
        self.go.set()
        self.world.models.open.set()
        self.released.set()

    def deadline(self) -> None:
        self._jump_to(DEADLINE)

    def hold_ends(self) -> None:
        """At the instant of the deadline, where that is the other ending."""
        self._jump_to(DEADLINE)

    def _jump_to(self, seconds: float) -> None:
        """Let time pass since the request, in which nothing happens."""
        self._clock.jump(max(0.0, self.exchange.started + seconds - trio.current_time()))

    def model_error(self) -> None:
        self.then = [GRPC_ERROR]
        self.go.set()

    def finishes(self) -> None:
        self.then = ()
        self.go.set()

    def killed(self) -> None:
        self.world.models.kill()
        self.world.models.open.set()

    def black_hole(self) -> None:
        self.world.models.cut()

    def goaway(self) -> None:
        self.world.models.drain(GRACE)
        self.world.models.open.set()

    def goaway_in_time(self) -> None:
        """The model finishes what it has begun."""
        self.goaway()
        self.is_endless = False
        self.go.set()

    def sigterm(self) -> None:
        self.world.terminate()


def _endless() -> Iterator[Step]:
    """Give tokens for ever, but not in no time: as many as fill every buffer, and then a few."""
    for number in count():
        yield "x" * KIB
        yield 1e-5 if number < 4 * BACKLOG else 0.1


GRPC_ERROR = GRPCError(Status.INTERNAL, SECRET)

PHASES: dict[str, Callable[[Scene], Awaitable[None]]] = {
    "listing": Scene.listing,
    "connecting": Scene.connecting,
    "waiting for a slot": Scene.slot,
    "held": Scene.thinking,
    "thinking": Scene.thinking,
    "mid-stream": Scene.mid_stream,
    "backpressured": Scene.backpressured,
    "last event": Scene.last_event,
    "just done": Scene.just_done,
}

#: Which there are for each form. The headers of a GET wait for nothing, and an answer that is not
#: streamed waits for its end. Once its headers are out, a POST is like a GET.
PHASES_OF = {
    "GET": [phase for phase in PHASES if phase not in {"listing", "held"}],
    "POST": ["listing", "connecting", "waiting for a slot", "held", "thinking"],
    "chat, streamed": list(PHASES),
    "chat, whole": [phase for phase in PHASES if phase not in {"thinking", "backpressured"}],
}

ENDINGS: dict[str, Callable[[Scene], None]] = {
    "browser closes": Scene.closes,
    "browser half-closes": Scene.half_closes,
    "browser resets": Scene.resets,
    "RST_STREAM": Scene.rst_stream,
    "browser stops reading": Scene.stops_reading,
    "deadline": Scene.deadline,
    "model error": Scene.model_error,
    "model finishes": Scene.finishes,
    "model killed": Scene.killed,
    "black hole": Scene.black_hole,
    "GOAWAY": Scene.goaway,
    "GOAWAY, in time": Scene.goaway_in_time,
    "SIGTERM": Scene.sigterm,
    "hold ends": Scene.hold_ends,
}


def run_cell(form: str, phase: str, endings: tuple[str, ...], http: str, *, seed: int) -> Outcome:
    """Run one cell on the schedule of ``seed``, and return what was seen."""
    clock = MockClock(autojump_threshold=0)

    async def main() -> Outcome:
        slots = 1 if phase == "waiting for a slot" else 1000
        # As the model service has it.
        model = Configuration(
            max_concurrent_streams=slots, http2_min_recv_ping_interval_without_data=15.0
        )
        deadline = DEADLINE if "deadline" in endings else LATER
        hold = DEADLINE if "hold ends" in endings else SHORT_HOLD if phase == "thinking" else HOLD
        async with open_world(model=model, deadline_seconds=deadline, hold_seconds=hold) as world:
            scene = Scene(world, clock, FORMS[form], http2=http == "HTTP/2")
            # A model says how it ends after what it has said, and so it has to have said it.
            scene.is_endless = not {"model error", "model finishes"} & {*endings}
            await PHASES[phase](scene)
            await trio.sleep(1.0)
            return await _end(scene, endings)

    return run_seeded(main, seed=seed, clock=clock)


async def _end(scene: Scene, endings: tuple[str, ...]) -> Outcome:
    exchange = scene.exchange
    if {"deadline", "hold ends"} & {*endings}:
        await trio.sleep_until(exchange.started + DEADLINE - 0.5)
    for ending in endings:
        ENDINGS[ending](scene)
    start = trio.current_time()
    await wait_all_tasks_blocked()
    if "GOAWAY" in endings:
        await trio.sleep(GRACE)
    if "browser stops reading" not in endings:
        scene.browser.resume()
    await trio.sleep(IN_THE_END)
    outcome = _outcome(scene, start)
    scene.released.set()
    scene.world.models.open.set()
    await _assert_clean(scene)
    return outcome


def _outcome(scene: Scene, start: float) -> Outcome:
    world = scene.world
    calls = world.models.model.calls_of(SESSION)
    recorded = world.recorded(SESSION)
    assert len(calls) <= 1, "the model is asked once"
    assert len(recorded) <= 1, "one cause is recorded"
    return Outcome(
        browser=_seen(scene.exchange),
        wire=_on_the_wire(scene, start),
        freed=_time(calls[0].ended if calls else None, start),
        cause=", ".join(world.causes(SESSION)) or "-",
        at=_time(recorded[0] if recorded else None, start),
    )


def _time(time: float | None, start: float) -> str:
    if time is None:
        return "-"
    return "before" if time < start else f"{round(time - start, 1):g}"


def _seen(exchange: Exchange) -> str:
    pieces = exchange.pieces
    words = [_word(piece) for piece in pieces]
    if exchange.form is not GET and exchange.status is not None:
        words.insert(0, str(exchange.status))
    words = [word for number, word in enumerate(words) if word not in words[:number]]
    if exchange.is_torn:
        words.append("(torn)")
    if pieces and pieces[-1][0] in {"done", "error"} and not exchange.is_complete:
        words.append("(no end)")
    if exchange.is_reset:
        words.append("reset")
    return " ".join(words) or "-"


def _word(piece: Piece) -> str:
    kind, text = piece
    if kind == "error":
        return f"error:{text}"
    return "x*" if kind == "token" and set(text) == {"x"} else text


def _on_the_wire(scene: Scene, start: float) -> str:
    """Name the resets that the model's connections were sent, but not of the call with the slot."""
    resets = [
        (entry.time, entry.frame.error_code)
        for entry in scene.world.journal.entries
        if isinstance(entry.frame, RstStreamFrame)
        and entry.what.startswith("<-")
        and not (HOLDER in scene.world.models.model.scripts and _is_of_another(scene, entry))
    ]
    names = [f"RST {code} at {_time(time, start)}" for time, code in resets]
    return ", ".join(names) or "-"


async def _assert_clean(scene: Scene) -> None:
    """See that the model was freed in order, and that nothing is left; then ask once more."""
    world = scene.world
    _assert_order(scene)
    assert scene.browser.is_left or scene.browser.link.far.is_closed, (
        "the gateway closes what idles"
    )
    assert not world.complaints
    if not world.gateway_stopped.is_set() and not world.sigterm.is_set():
        await _assert_serves(scene)
        world.terminate()
    with trio.fail_after(IN_THE_END):
        await world.gateway_stopped.wait()


async def _assert_serves(scene: Scene) -> None:
    world = scene.world
    if not scene.world.models.is_up:
        world.models.start()
    for browser in world.browsers:
        browser.close()
    if any(link.is_cut for link in world.models.links):
        # The gateway may not have needed the connection since it was lost.
        world.models.model.scripts["first"] = lambda: ["whole"]
        lost = world.browse()
        await _complete(lost.ask("first"))
        lost.close()
    world.models.model.scripts[PROBE] = lambda: ["whole"]
    world.buffer_size = 65_536
    probe = world.browse()
    exchange = probe.ask(PROBE)
    await _complete(exchange)
    assert exchange.pieces == [("token", "whole"), ("done", "done")]
    probe.close()
    await wait_all_tasks_blocked()
    await trio.sleep(IN_THE_END)
    assert leftovers(world) == []
    # One for each request for an answer; while the models are listed, it is none yet.
    begun = [relay for relay in world.relays if relay.request.session_id == SESSION]
    assert len(world.causes(SESSION)) == len(begun) <= 1


async def _complete(exchange: Exchange) -> None:
    with trio.fail_after(IN_THE_END):
        await exchange.until_complete()


def _assert_order(scene: Scene) -> None:
    """See that nothing happened on the model's connection between a call's end and its clean-up."""
    entries = [e for e in scene.world.journal.entries if not _is_of_another(scene, e)]
    cleaned = [n for n, entry in enumerate(entries) if entry.what == f"{SESSION} finally"]
    for number, entry in enumerate(entries):
        if isinstance(entry.frame, RstStreamFrame) and entry.what.startswith("<-"):
            following = [e for e in entries[number + 1 :] if e.where.startswith("model")]
            same = [e for e in following if e.frame and e.frame.stream_id == entry.frame.stream_id]
            if cleaned and cleaned[0] < number:  # it had ended by itself, and all that was queued
                same = [e for e in same if e.time > entry.time]
            assert same == [], "nothing follows a reset"
            if cleaned and cleaned[0] > number:
                assert following[0].what == f"{SESSION} finally", following[0]
        if _is_end(entry) and cleaned and entry.where.startswith("model"):
            assert cleaned[0] < number, "the clean-up goes before the status"


def _is_of_another(scene: Scene, entry: Entry) -> bool:
    """Whether it is a frame of the call that came before the one under test."""
    is_first = entry.where == "model:0" and entry.frame is not None and entry.frame.stream_id == 1
    return scene.is_second and is_first


def _is_end(entry: Entry) -> bool:
    """Whether the model's side ends a stream with this."""
    return (
        entry.frame is not None
        and entry.what.startswith("->")
        and "END_STREAM" in entry.frame.flags
    )
