# prints: the consumer took its time
import asyncio


async def chunks():
    async with asyncio.timeout(0.5):
        await asyncio.sleep(0)  # for example, reads from a socket
        chunk = "first"
    yield chunk  # with no timeout running


async def main():
    async for _chunk in chunks():
        await asyncio.sleep(0.7)  # the consumer's own code
    print("the consumer took its time")


asyncio.run(main())
