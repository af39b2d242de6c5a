# prints: the call ended as DEADLINE_EXCEEDED
import asyncio
import time


def server(reset):
    time.sleep(0.7)  # the loop is busy: when it goes on, the deadline has passed as well
    reset.set()


async def main():
    loop, reset = asyncio.get_running_loop(), asyncio.Event()
    loop.call_soon(server, reset)
    deadline, is_late = loop.time() + 0.5, False
    try:
        async with asyncio.timeout_at(deadline):
            await reset.wait()
            is_late = loop.time() >= deadline
    except TimeoutError:
        is_late = True
    print("the call ended as", "DEADLINE_EXCEEDED" if is_late else "CANCELLED")


asyncio.run(main())
