# prints: the deadline passed
import asyncio
import time


async def main():
    deadline = time.time() + 0.1
    try:
        async with asyncio.timeout(deadline - time.time()):  # seconds are the same everywhere
            await asyncio.sleep(1)
            print("still waiting after a second")
    except TimeoutError:
        print("the deadline passed")


asyncio.run(main())
