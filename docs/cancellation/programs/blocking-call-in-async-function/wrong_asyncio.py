# prints: stopped at the deadline: False
import asyncio
import time


async def main():
    is_stopped = False
    try:
        async with asyncio.timeout(0.1):
            time.sleep(0.5)  # for example, requests.get() or a query of a synchronous driver
    except TimeoutError:
        is_stopped = True
    print("stopped at the deadline:", is_stopped)


asyncio.run(main())
