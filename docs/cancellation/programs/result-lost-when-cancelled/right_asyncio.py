# prints: connections in the pool: 1
import asyncio

free, has_one = [], asyncio.Condition()


async def take():
    async with has_one:
        await has_one.wait_for(lambda: free)
        return free.pop()  # taken by a plain call, after the wait


async def main():
    taker = asyncio.create_task(take())
    await asyncio.sleep(0)
    async with has_one:
        free.append("connection 1")
        has_one.notify()
    taker.cancel()  # in the same moment, for example by a timeout
    await asyncio.wait([taker])
    print("connections in the pool:", len(free))


asyncio.run(main())
