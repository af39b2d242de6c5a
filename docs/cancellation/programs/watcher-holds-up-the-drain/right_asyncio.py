# prints: the drain ended in time
import asyncio


async def watch(draining):
    print("status: SERVING")
    await draining.wait()  # or the client leaves
    print("status: NOT_SERVING")


async def main():
    draining = asyncio.Event()
    try:
        async with asyncio.timeout(2), asyncio.TaskGroup() as calls:
            calls.create_task(watch(draining))  # its client stays as long as it is answered
            calls.create_task(asyncio.sleep(0))  # a call that is nearly complete
            draining.set()  # no new calls, and wait for those in progress
        print("the drain ended in time")
    except TimeoutError:
        print("the drain ended by force")


asyncio.run(main())
