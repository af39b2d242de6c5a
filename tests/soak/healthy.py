"""Clients that a flood should not touch: answers that are read, and health checks.

For example, the longest wait for a token and for a check in ten seconds::

    async with trio.open_nursery() as nursery:
        healthy = await nursery.start(watch, "gateway", port)
        healthy.forget()
        await trio.sleep(10)
        print(await healthy.longest_gap(), healthy.longest_check)
        nursery.cancel_scope.cancel()
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

import trio
from grpclib.const import Cardinality
from trio.testing import wait_all_tasks_blocked

from grpclib_anyio.client import Channel
from grpclib_anyio.health import HealthCheckRequest, HealthCheckResponse, ServingStatus
from relay_proto.ai import AiServiceStub, GenerateRequest
from tests.support.browsers import http1, http2

__all__ = ["Healthy", "Read", "read_over_http1", "read_over_http2", "watch"]

#: Words of an answer: more than a measurement takes at 20 ms each.
_WORDS = 3_000
_PROMPT = "w " * _WORDS
_PATH = f"/api/ai/stream?prompt={'w+' * _WORDS}&session_id=healthy"
#: Seconds between two health checks.
_CHECK_EVERY = 0.05
#: Seconds after which a token that does not come has failed.
_PATIENCE = 60.0


@dataclass
class Gap:
    """The waits for the tokens of one answer."""

    longest: float = 0.0
    since: float = field(default_factory=trio.current_time)
    came: trio.Event = field(default_factory=trio.Event)

    def token(self) -> None:
        """Count the wait for a token that has come."""
        now = trio.current_time()
        self.longest, self.since = max(self.longest, now - self.since), now
        self.came.set()
        self.came = trio.Event()


class Healthy:
    """What clients see that do nothing wrong; seconds."""

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self.gaps: list[Gap] = []
        self.longest_check = 0.0
        #: What became of answers and checks that did not end well.
        self.failures: list[str] = []

    def forget(self) -> None:
        """Count from here on; a wait that has begun counts as a whole."""
        self.longest_check = 0.0
        for gap in self.gaps:
            gap.longest = 0.0

    async def longest_gap(self) -> float:
        """Wait for one more token of each answer, and return the longest wait of all."""
        with trio.move_on_after(_PATIENCE):  # noqa: ASYNC912 - there may be nothing to wait for
            for gap in self.gaps:
                await gap.came.wait()
        return max(max(gap.longest, trio.current_time() - gap.since) for gap in self.gaps)

    async def begin(self, nursery: trio.Nursery, readers: Sequence["Read"], port: int) -> None:
        """Begin to read answers, and wait until each has a token."""
        for reader in readers:
            nursery.start_soon(self.read, reader, port)
        await wait_all_tasks_blocked()
        await self.longest_gap()

    async def read(self, read: "Read", port: int) -> None:
        """Read answers, one after the other."""
        gap = Gap()
        self.gaps.append(gap)
        while True:
            try:
                await read(port, gap.token)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a failure
                self.failures.append(repr(error))
                await trio.sleep(_CHECK_EVERY)

    async def check(self, check: Callable[[int], Awaitable[None]], port: int) -> None:
        """Check health again and again."""
        while True:
            began = trio.current_time()
            try:
                await check(port)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a failure
                self.failures.append(repr(error))
            self.longest_check = max(self.longest_check, trio.current_time() - began)
            await trio.sleep(_CHECK_EVERY)


async def watch(
    kind: str, port: int, *, task_status: trio.TaskStatus[Healthy] = trio.TASK_STATUS_IGNORED
) -> None:
    """Read answers and check health until cancelled; starts once every answer has a token."""
    healthy = Healthy()
    readers, check = _CLIENTS[kind]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(healthy.check, check, port)
        await healthy.begin(nursery, readers, port)
        task_status.started(healthy)


def _origin(port: int) -> str:
    return f"http://127.0.0.1:{port}"


async def read_over_http1(port: int, token: Callable[[], None], path: str = _PATH) -> None:
    """Read one answer, and report each token."""
    async with http1(_origin(port)) as browser:
        await browser.send(path)
        await browser.headers()
        while event := await browser.event():
            assert event.type != "error", event
            token()


async def read_over_http2(port: int, token: Callable[[], None], path: str = _PATH) -> None:
    """Read one answer, and report each token."""
    async with http2(_origin(port)) as browser:
        number = await browser.send(path)
        while number not in browser.ended:
            browser.events[number].clear()
            for event in await browser.until_events(number, 1):
                assert event.type != "error", event
                token()


async def _healthz(port: int) -> None:
    async with http1(_origin(port)) as browser:
        response = await browser.get("/healthz")
        assert response.status_code == HTTPStatus.OK, response


async def _read_over_grpc(port: int, token: Callable[[], None]) -> None:
    async with Channel("127.0.0.1", port) as channel:
        async for _ in AiServiceStub(channel).generate(GenerateRequest(prompt=_PROMPT)):
            token()


async def _check_over_grpc(port: int) -> None:
    async with (
        Channel("127.0.0.1", port) as channel,
        channel.request(
            "/grpc.health.v1.Health/Check",
            Cardinality.UNARY_UNARY,
            HealthCheckRequest,
            HealthCheckResponse,
        ) as call,
    ):
        await call.send_message(HealthCheckRequest(), end=True)
        response = await call.recv_message()
        assert response is not None, "no answer"
        assert response.status == ServingStatus.SERVING, response


Read = Callable[[int, Callable[[], None]], Awaitable[None]]

_CLIENTS: Mapping[str, tuple[tuple[Read, ...], Callable[[int], Awaitable[None]]]] = {
    "gateway": ((read_over_http1, read_over_http2), _healthz),
    "model": ((_read_over_grpc,), _check_over_grpc),
}
