"""The order of a batch is the one that was asked for: what trio offers for it is no public API."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from harness.scheduling import ORDERS, Order, in_order, shuffled_by

TASKS = range(5)


async def order_of_a_batch(order: Order) -> list[int]:
    seen: list[int] = []
    go = trio.Event()

    async def run(number: int) -> None:
        await go.wait()
        seen.append(number)

    async with trio.open_nursery() as nursery:
        for number in TASKS:
            nursery.start_soon(run, number)
        await wait_all_tasks_blocked()
        with in_order(order):
            go.set()
            await wait_all_tasks_blocked()
    return seen


@pytest.mark.trio
async def test_the_orders_by_age() -> None:
    assert await order_of_a_batch(ORDERS["oldest first"]) == list(TASKS)
    assert await order_of_a_batch(ORDERS["youngest first"]) == list(reversed(TASKS))


@pytest.mark.trio
async def test_the_orders_of_seeds() -> None:
    orders = [await order_of_a_batch(shuffled_by(seed)) for seed in (1, 2, 1)]
    assert orders[0] == orders[2] != orders[1]
