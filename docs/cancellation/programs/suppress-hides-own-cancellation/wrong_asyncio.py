# prints: went on after the deadline
import asyncio
from contextlib import suppress


async def work():
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(1)  # a clean-up that takes long


async def main():
    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    async with asyncio.timeout(0.1):
        with suppress(asyncio.CancelledError):  # the task's, or our own?
            await task
        print("went on after the deadline")


asyncio.run(main())
