# prints: call 2 is still waiting
import asyncio

FRAMES = [(1, "a"), (1, "b"), (2, "c")]


async def read_connection(calls):
    for number, data in FRAMES:
        await calls[number].put(data)  # waits for call 1, which reads nothing


async def main():
    calls = {number: asyncio.Queue(1) for number in (1, 2)}
    async with asyncio.TaskGroup() as tasks:
        reader = tasks.create_task(read_connection(calls))
        try:
            async with asyncio.timeout(0.5):
                print("call 2 received", await calls[2].get())
        except TimeoutError:
            print("call 2 is still waiting")
        reader.cancel()


asyncio.run(main())
