# prints: the application knows that the browser has left
import asyncio


async def read(application_ends, disconnected):
    try:
        await application_ends.wait()
    finally:
        disconnected.set()  # a plain call


async def main():
    disconnected = asyncio.Event()
    reading = asyncio.create_task(read(asyncio.Event(), disconnected))
    await asyncio.sleep(0)
    reading.cancel()  # a write has failed: there is nothing more to read
    await asyncio.wait([asyncio.create_task(disconnected.wait())], timeout=2)
    knows = disconnected.is_set()
    print("the application", "knows that the browser has left" if knows else "still waits")


asyncio.run(main())
