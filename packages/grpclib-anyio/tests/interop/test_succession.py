"""Connections that a server ends gracefully while calls keep coming."""

# pyright: reportPossiblyUnboundVariable=false
# In a type checker's eyes a task group may swallow what its body raises; a test would have failed.

import anyio
import pytest

from interop.contract import PATIENCE, Failure, Witness, tokens
from interop.grpcio_peers import grpcio_server
from interop.grpclib_peers import our_client
from interop.peer import Client, Endpoint

pytestmark = pytest.mark.anyio

CALLERS = 8
SUCCESSIONS = 5
#: Calls that have to be answered before the next succession.
CALLS_BETWEEN = 100
#: Milliseconds after which the server lets go of a connection, give or take a tenth; enough for a
#: busy machine to have begun a call on it.
CONNECTION_AGE = {"grpc.max_connection_age_ms": 300}


class Callers:
    """Make calls without a pause, unary and streaming."""

    def __init__(self, client: Client) -> None:
        self.answered = 0
        self.failures: list[Failure] = []
        self._client = client
        self._goal = 0
        self._reached = anyio.Event()

    async def run(self, name: str) -> None:
        while True:  # noqa: ASYNC913 - as often as calls are answered
            try:
                await self._call(f"{name} {self.answered}")
            except Failure as failure:
                self.failures.append(failure)
            if self.answered >= self._goal:
                self._reached.set()

    async def _call(self, text: str) -> None:
        assert (await self._client.unary("Echo", text, within=PATIENCE)).text == text
        assert await self._client.generate("count 2", within=PATIENCE) == tokens(2)
        self.answered += 2

    async def more(self) -> None:
        """Wait until ``CALLS_BETWEEN`` more calls have been answered."""
        self._goal = self.answered + CALLS_BETWEEN
        self._reached = anyio.Event()
        with anyio.fail_after(PATIENCE):
            await self._reached.wait()


async def test_connections_grow_old_while_calls_keep_coming() -> None:
    """Calls in progress end on the old connection, new ones begin on the next; none fails."""
    witness = Witness()
    async with (
        grpcio_server(Endpoint(), witness, CONNECTION_AGE) as endpoint,
        our_client(endpoint) as client,
        anyio.create_task_group() as tasks,
    ):
        callers = Callers(client)
        for number in range(CALLERS):
            tasks.start_soon(callers.run, f"caller {number}")
        while len(witness.peers) <= SUCCESSIONS:
            await callers.more()
        tasks.cancel_scope.cancel()
    assert callers.failures == []
