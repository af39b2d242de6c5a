"""The model service: a real server on a network in memory, which dies, drains and comes back."""

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

import trio
from anyio.abc import ByteStream
from grpclib.exceptions import GRPCError

from grpclib_anyio.config import Configuration
from grpclib_anyio.server import Server
from relay_proto.ai import (
    AiServiceBase,
    GenerateRequest,
    GenerateResponse,
    ListModelsRequest,
    ListModelsResponse,
)
from relay_proto.ai import Model as ModelOfService
from tests.cancellation.journal import Journal, WatchedStream
from tests.cancellation.network import AnyioEnd, Link

#: A token, seconds to think, something to wait for, or the status that ends the answer.
Step = str | float | trio.Event | GRPCError


@dataclass
class Call:
    """What the model did for one request."""

    session: str
    #: When it must be over: the caller's time is up, or at once for one that was reset as it came.
    deadline: float
    #: Tokens that the transport has taken.
    tokens: list[str] = field(default_factory=list[str])
    #: When the generator's `finally` ran.
    ended: float | None = None


class Model(AiServiceBase):
    """Answers each session as its script says."""

    def __init__(self, journal: Journal) -> None:
        """Begin without scripts."""
        self.scripts: dict[str, Callable[[], Iterable[Step]]] = {}
        self.calls: list[Call] = []
        #: Waited for before the models are listed.
        self.may_list = trio.Event()
        self.may_list.set()
        self._journal = journal

    async def generate(  # noqa: ASYNC900 - the transport closes it
        self, generate_request: GenerateRequest
    ) -> AsyncIterator[GenerateResponse]:
        """Follow the script."""
        session = generate_request.session_id
        call = Call(session, max(trio.current_effective_deadline(), trio.current_time()))
        self.calls.append(call)
        self._journal.note("model", f"{session} begins")
        try:
            for step in self.scripts[session]():
                if isinstance(step, str):
                    call.tokens.append(step)
                    yield GenerateResponse(token=step)
                elif isinstance(step, GRPCError):
                    raise step
                elif isinstance(step, trio.Event):
                    await step.wait()
                else:
                    await trio.sleep(step)
            yield GenerateResponse(done=True)
        finally:
            call.ended = trio.current_time()
            self._journal.note("model", f"{session} finally")

    async def list_models(self, list_models_request: ListModelsRequest) -> ListModelsResponse:
        """List one model, once it may."""
        del list_models_request
        await self.may_list.wait()
        return ListModelsResponse([ModelOfService("m")])

    def calls_of(self, session: str) -> list[Call]:
        """Give what was done for a session: one call, or none, or more if it was made again."""
        return [call for call in self.calls if call.session == session]


class Host(Server):
    """One process of the model service."""

    def __init__(self, model: Model, config: Configuration) -> None:
        """Start it."""
        super().__init__([model], config=config)
        self.links: list[Link] = []


class Models:
    """Where the gateway connects to."""

    def __init__(
        self,
        journal: Journal,
        nursery: trio.Nursery,
        make_link: Callable[[str], Link],
        config: Configuration,
    ) -> None:
        """Start the first process."""
        self.model = Model(journal)
        #: All connections that were made.
        self.links: list[Link] = []
        #: Waited for before a connection is made.
        self.open = trio.Event()
        self.open.set()
        self._journal = journal
        self._nursery = nursery
        self._make_link = make_link
        self._config = config
        self.is_up = True
        #: The process that takes the next connection.
        self.host = self._new_host()

    def _new_host(self) -> Host:
        return Host(self.model, self._config)

    async def connect(self) -> ByteStream:
        """Connect to the process that is up."""
        await trio.lowlevel.checkpoint()
        await self.open.wait()
        if not self.is_up:
            raise ConnectionRefusedError("nobody listens")
        where = f"model:{len(self.links)}"
        link = self._make_link(where)
        self.links.append(link)
        self._nursery.start_soon(partial(self._serve, self.host, link, where))
        return AnyioEnd(link.near)

    async def _serve(self, host: Host, link: Link, where: str) -> None:
        host.links.append(link)
        stream = WatchedStream(AnyioEnd(link.far), self._journal, where)
        try:
            await host.serve_connection(stream)
        finally:
            host.links.remove(link)
            self._journal.note(where, "is over")

    def kill(self) -> None:
        """End the process as SIGKILL does: its connections are reset, new ones are refused."""
        self._journal.note("model", "is killed")
        self.is_up = False
        for link in self.host.links:
            link.reset()

    def start(self) -> None:
        """Start another process."""
        self._journal.note("model", "is started")
        self.is_up = True
        self.host = self._new_host()

    def drain(self, grace: float) -> None:
        """Replace the process by another one: GOAWAY, and at most ``grace`` seconds for calls."""
        self._journal.note("model", f"is drained within {grace:g} s")
        self.host.drain(grace)
        self.host = self._new_host()

    def cut(self) -> None:
        """Lose all that is sent on the connections there are."""
        self._journal.note("model", "is cut off")
        for link in self.host.links:
            link.cut()
