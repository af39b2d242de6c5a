# prints: the next call waits for the window
import asyncio


async def call(window, busy):
    for _ in range(4):  # the peer sends four messages
        await window.acquire()
    await asyncio.sleep(busy)  # cancelled here, the messages are unread, and count
    for _ in range(4):  # each message that is read makes room
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
