# prints: the thread stopped
import asyncio
import threading


def export(stop):
    for _part in range(100):
        if stop.wait(0.05):  # one part of the work, and then a look
            print("the thread stopped")
            return


async def main():
    stop = threading.Event()
    try:
        async with asyncio.timeout(0.1):
            await asyncio.to_thread(export, stop)
    except TimeoutError:
        print("too late")
    finally:
        stop.set()  # a plain call: it works in a task that is being cancelled


asyncio.run(main())
