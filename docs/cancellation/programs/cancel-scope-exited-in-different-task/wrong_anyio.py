# prints: Attempted to exit cancel scope in a different task than it was entered in
import asyncio

import anyio


async def database():  # for example, a pytest fixture
    async with anyio.create_task_group():
        yield "database"


with asyncio.Runner() as runner:  # a plugin that runs each step as a task of its own
    fixture = database()
    runner.run(anext(fixture))
    try:
        runner.run(anext(fixture, None))
    except RuntimeError as error:
        print("RuntimeError:", error)
