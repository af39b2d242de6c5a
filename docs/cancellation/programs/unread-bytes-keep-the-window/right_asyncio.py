# prints: the next call goes on
import asyncio


async def call(window, busy):
    try:
        for unread in range(1, 5):  # the peer sends four messages
            await window.acquire()
        await asyncio.sleep(busy)
    finally:
        for _ in range(unread):  # plain calls: a task that is cancelled can make them
            window.release()


async def main():
    window = asyncio.Semaphore(4)  # how many messages may be on their way, to all calls
    task = asyncio.create_task(call(window, busy=60))
    await asyncio.wait([task], timeout=1)
    task.cancel()
    task = asyncio.create_task(call(window, busy=0))
    await asyncio.wait([task], timeout=2)
    print("the next call", "goes on" if task.done() else "waits for the window")


asyncio.run(main())
