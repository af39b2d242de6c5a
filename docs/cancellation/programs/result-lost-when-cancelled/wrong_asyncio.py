# prints: connections in the pool: 0
import asyncio

free, waiting = [], []


async def take():
    waiting.append(asyncio.get_running_loop().create_future())
    return await waiting[-1]  # the connection is only in this future


def put(connection):
    waiting.pop().set_result(connection) if waiting else free.append(connection)


async def main():
    taker = asyncio.create_task(take())
    await asyncio.sleep(0)
    put("connection 1")
    taker.cancel()  # in the same moment, for example by a timeout
    await asyncio.wait([taker])
    print("connections in the pool:", len(free))


asyncio.run(main())
