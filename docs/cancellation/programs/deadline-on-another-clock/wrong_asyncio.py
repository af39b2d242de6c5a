# prints: still waiting after a second
import asyncio
import time


async def main():
    deadline = time.time() + 0.1
    try:
        async with asyncio.timeout_at(deadline):  # on the loop's clock this is another moment
            await asyncio.sleep(1)
            print("still waiting after a second")
    except TimeoutError:
        print("the deadline passed")


asyncio.run(main())
