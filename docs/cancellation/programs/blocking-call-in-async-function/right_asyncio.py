# prints: stopped at the deadline: True
import asyncio
import time


async def main():
    is_stopped = False
    try:
        async with asyncio.timeout(0.1):
            await asyncio.to_thread(time.sleep, 1)
    except TimeoutError:
        is_stopped = True
    print("stopped at the deadline:", is_stopped)


asyncio.run(main())
