# prints: entered and left in one task
import asyncio
from contextlib import asynccontextmanager

import anyio


@asynccontextmanager
async def open_database():
    async with anyio.create_task_group():
        yield "database"


async def test_with_database():  # the test itself enters it, and so leaves it in the same task
    async with open_database():
        pass
    print("entered and left in one task")


with asyncio.Runner() as runner:
    runner.run(test_with_database())
