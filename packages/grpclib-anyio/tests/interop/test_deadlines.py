"""Deadlines: told to the server, kept at both ends."""

import anyio
import pytest
from grpclib.const import Status

from interop.conftest import Pair
from interop.contract import Failure, tokens

pytestmark = pytest.mark.anyio

#: Seconds; long enough for a call to reach its handler on a busy machine.
SHORT = 0.3


@pytest.mark.parametrize("seconds", [0.75, 5, 99.5, 86_400])
async def test_server_is_told_what_is_left(pair: Pair, seconds: float) -> None:
    async with pair.connected() as client:
        reply = await client.unary("Remaining", "", within=seconds)
    # grpclib's client drops the fraction of a second, and grpcio rounds long timeouts up.
    assert seconds - 2 < float(reply.text) <= seconds * 1.01


@pytest.mark.parametrize("count", [0, 3])
async def test_deadline_ends_both_sides(pair: Pair, count: int) -> None:
    async with pair.connected() as client:
        await client.generate("count 1")  # connects: the deadline is for a call alone
        start = anyio.current_time()
        async with client.open(f"hang {count}", "s", within=SHORT) as call:
            assert [await call.receive() for _ in range(count)] == tokens(count)
            with pytest.raises(Failure) as caught:
                await call.receive()
            assert caught.value.status is Status.DEADLINE_EXCEEDED
            assert SHORT * 0.9 < anyio.current_time() - start < SHORT + 1
            await pair.witness.see_ended("s")
        assert await client.generate("count 3") == tokens(3)


async def test_deadline_that_is_kept_does_no_harm(pair: Pair) -> None:
    async with pair.connected() as client:
        for _ in range(3):
            assert await client.generate("count 3", within=5) == tokens(3)


async def test_deadline_passes_while_answer_is_not_read(pair: Pair) -> None:
    async with pair.connected() as client:
        await client.generate("count 1")  # connects: the deadline is for a call alone
        async with client.open("flood 1000000", "s", within=SHORT):
            await pair.witness.see_ended("s", within=SHORT + 2)
        assert await client.generate("count 3") == tokens(3)
