# prints: the slot is free
import asyncio


async def request(slots, connect):
    async with slots:  # nothing is awaited between the slot and the block that gives it back
        await connect()
        print("connected")


async def main():
    slots = asyncio.Semaphore(1)
    server_is_up = asyncio.Event()
    try:
        await asyncio.wait_for(request(slots, server_is_up.wait), timeout=0.1)
    except TimeoutError:
        print("the slot is lost" if slots.locked() else "the slot is free")


asyncio.run(main())
