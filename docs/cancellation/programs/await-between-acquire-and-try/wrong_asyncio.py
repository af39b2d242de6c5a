# prints: the slot is lost
import asyncio


async def request(slots, connect):
    await slots.acquire()
    await connect()  # cancelled here, the slot is lost
    try:
        print("connected")
    finally:
        slots.release()


async def main():
    slots = asyncio.Semaphore(1)
    server_is_up = asyncio.Event()
    try:
        await asyncio.wait_for(request(slots, server_is_up.wait), timeout=0.1)
    except TimeoutError:
        print("the slot is lost" if slots.locked() else "the slot is free")


asyncio.run(main())
