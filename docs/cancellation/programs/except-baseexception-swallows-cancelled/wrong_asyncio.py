# prints: the worker still runs
import asyncio


async def work():
    for _attempt in range(2):
        try:
            await asyncio.Event().wait()
        except BaseException as error:  # CancelledError is caught as well
            print("failed, trying again:", type(error).__name__)


async def main():
    worker = asyncio.create_task(work())
    await asyncio.sleep(0)
    worker.cancel()
    _done, pending = await asyncio.wait([worker], timeout=0.5)
    print("the worker", "still runs" if pending else "has ended")


asyncio.run(main())
