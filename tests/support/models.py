"""A model service in the test's own process that does as it is told, and what its wire saw."""

from collections.abc import AsyncIterator, Callable, Iterable

import trio
from anyio.abc import ByteStream
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from hyperframe.frame import Frame, RstStreamFrame

from grpclib_anyio.testing import FrameRecorder
from relay_proto.ai import (
    AiServiceBase,
    GenerateRequest,
    GenerateResponse,
    ListModelsRequest,
    ListModelsResponse,
)

#: A token or another piece, the seconds that pass before the next step, an event that it waits for,
#: or the status that ends the answer.
Step = str | GenerateResponse | float | trio.Event | GRPCError
Script = Callable[[], Iterable[Step]]

#: What no answer to a browser may contain.
SECRET = "secret: layer 7 of 10.0.0.7 is out of memory"


def fails(status: Status) -> GRPCError:
    """Make the step that ends an answer with a status."""
    return GRPCError(status, SECRET)


class Model(AiServiceBase):
    """Follows one script for each call, the last of them for all that come after."""

    def __init__(
        self,
        *scripts: Iterable[Step] | Script,
        says_done: bool = True,
        last: GenerateResponse | None = None,
        models: ListModelsResponse | None = None,
    ) -> None:
        self._scripts = list(scripts)
        self._last = GenerateResponse(done=True) if last is None else last
        self._says_done = says_done
        #: None for a service that knows nothing but prompts.
        self.models = models
        self.requests: list[GenerateRequest] = []
        #: What each call named as its trace.
        self.traceparents: list[str | None] = []
        #: When each call had to end, on trio's clock.
        self.deadlines: list[float] = []
        #: Tokens that the transport has asked for.
        self.pulled = 0
        #: When the clean-up of each call has run.
        self.ended: list[float] = []
        self.reached_end = 0
        self._changed = trio.lowlevel.ParkingLot()

    async def generate(  # noqa: ASYNC900 - the transport closes it
        self, generate_request: GenerateRequest
    ) -> AsyncIterator[GenerateResponse]:
        self.requests.append(generate_request)
        self.deadlines.append(trio.current_effective_deadline())
        self._changed.unpark_all()
        try:
            for step in self._next_script():
                if isinstance(step, str):
                    self.pulled += 1
                    self._changed.unpark_all()
                    yield GenerateResponse(token=step)
                elif isinstance(step, GenerateResponse):
                    yield step
                else:
                    await _follow(step)
            if self._says_done:
                yield self._last
            self.reached_end += 1
        finally:
            self.ended.append(trio.current_time())
            self._changed.unpark_all()

    async def list_models(self, list_models_request: ListModelsRequest) -> ListModelsResponse:
        if self.models is None:
            return await super().list_models(list_models_request)
        return self.models

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something holds that a call changes."""
        while not condition():
            await self._changed.park()

    async def until_stalled(self, seconds: float) -> None:
        """Wait until the transport has asked for no token for so long."""
        is_stalled = False
        while not is_stalled:
            with trio.move_on_after(seconds) as scope:
                await self._changed.park()
            is_stalled = scope.cancelled_caught

    def _next_script(self) -> Iterable[Step]:
        script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
        return script() if callable(script) else script


async def _follow(step: float | trio.Event | GRPCError) -> None:
    if isinstance(step, GRPCError):
        raise step
    if isinstance(step, trio.Event):
        await step.wait()
    else:
        await trio.sleep(step)


class Wire:
    """The frames that a channel sent, on all of its connections, and when."""

    def __init__(self) -> None:
        self.connections: list[_TimedRecorder] = []

    def wrap(self, stream: ByteStream) -> ByteStream:
        """Note a new connection; see `ChannelFor`."""
        recorder = _TimedRecorder(stream)
        self.connections.append(recorder)
        return recorder

    @property
    def resets(self) -> list[tuple[float, int]]:
        """When each RST_STREAM was sent, and its code."""
        return [
            (time, frame.error_code)
            for connection in self.connections
            for time, frame in connection.timed
            if isinstance(frame, RstStreamFrame)
        ]

    @property
    def after_resets(self) -> list[Frame]:
        """The frames that were sent on a stream after it had been reset."""
        return [
            frame
            for connection in self.connections
            for number, (_, reset) in enumerate(connection.timed)
            if isinstance(reset, RstStreamFrame)
            for _, frame in connection.timed[number + 1 :]
            if frame.stream_id == reset.stream_id
        ]


class _TimedRecorder(FrameRecorder):
    def __init__(self, stream: ByteStream) -> None:
        super().__init__(stream)
        self.stream = stream
        self.timed: list[tuple[float, Frame]] = []

    async def send(self, item: bytes) -> None:
        await super().send(item)
        new = self.sent[len(self.timed) :]
        self.timed += [(trio.current_time(), frame) for frame in new]
