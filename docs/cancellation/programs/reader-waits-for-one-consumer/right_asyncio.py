# prints: call 2 received c
import asyncio

FRAMES = [(1, "a"), (1, "b"), (2, "c")]


async def read_connection(calls):
    for number, data in FRAMES:
        try:
            calls[number].put_nowait(data)
        except asyncio.QueueFull:  # it was granted a window of one, and there is a second
            print(f"call {number} is reset: flow control error")


async def main():
    calls = {number: asyncio.Queue(1) for number in (1, 2)}
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(read_connection(calls))
        print("call 2 received", await calls[2].get())


asyncio.run(main())
