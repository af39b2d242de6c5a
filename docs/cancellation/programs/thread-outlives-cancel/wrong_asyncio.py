# prints: the thread went on after the cancellation
import asyncio
import threading

resume = threading.Event()


def export():
    resume.wait(5)
    print("the thread went on after the cancellation")


async def main():
    try:
        async with asyncio.timeout(0.1):
            await asyncio.to_thread(export)
    except TimeoutError:
        resume.set()


asyncio.run(main())
