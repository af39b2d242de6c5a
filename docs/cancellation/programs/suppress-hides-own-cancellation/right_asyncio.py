# prints: ended at the deadline
import asyncio


async def work():
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(1)  # a clean-up that takes long


async def main():
    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    try:
        async with asyncio.timeout(0.1):
            await asyncio.wait([task])  # does not raise what the task raises
    except TimeoutError:
        print("ended at the deadline")


asyncio.run(main())
