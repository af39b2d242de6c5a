# prints: the worker has ended
import asyncio


async def work():
    for _attempt in range(2):
        try:
            await asyncio.Event().wait()
        except Exception as error:  # CancelledError passes
            print("failed, trying again:", type(error).__name__)


async def main():
    worker = asyncio.create_task(work())
    await asyncio.sleep(0)
    worker.cancel()
    _done, pending = await asyncio.wait([worker], timeout=5)
    print("the worker", "still runs" if pending else "has ended")


asyncio.run(main())
