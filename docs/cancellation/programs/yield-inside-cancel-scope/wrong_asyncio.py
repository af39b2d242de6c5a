# prints: the consumer's own sleep was cancelled
import asyncio


async def chunks():
    async with asyncio.timeout(0.1):
        yield "first"  # suspended here, with the timeout running


async def main():
    async for _chunk in chunks():
        try:
            await asyncio.sleep(1)  # the consumer's own code
        except asyncio.CancelledError:
            print("the consumer's own sleep was cancelled")
            raise


asyncio.run(main())
