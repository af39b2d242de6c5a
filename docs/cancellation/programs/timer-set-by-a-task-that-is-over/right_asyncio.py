# prints: closed, because it was idle
import asyncio


def restart(close):
    asyncio.get_running_loop().call_later(0.1, close)


async def request(close):
    asyncio.current_task().cancel()  # the answer is complete, so the framework ends this task
    restart(close)
    await asyncio.sleep(0)


async def main():
    closed = asyncio.Event()
    await asyncio.wait([asyncio.create_task(request(closed.set))])
    await asyncio.wait([asyncio.create_task(closed.wait())], timeout=2)
    print("closed, because it was idle" if closed.is_set() else "still open")


asyncio.run(main())
