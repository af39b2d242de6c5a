# prints: the deadline stopped the write
import asyncio
import os
import threading


async def main():
    read_end, write_end = os.pipe()  # what reads it has stopped, and goes on after a second
    threading.Timer(1, os.read, [read_end, 1_000_000]).start()
    try:
        async with asyncio.timeout(0.1):
            await asyncio.to_thread(os.write, write_end, bytes(100_000))
        print("the deadline did not stop the write")
    except TimeoutError:
        print("the deadline stopped the write")


asyncio.run(main())
