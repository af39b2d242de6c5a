# prints: readers that still wait: 0
import asyncio


async def read_model(queue):
    while True:
        await queue.put("token")  # waits for somebody to get it


async def handle_request():
    queue = asyncio.Queue(1)
    async with asyncio.TaskGroup() as request:
        reader = request.create_task(read_model(queue))
        await queue.get()  # and then the browser leaves
        reader.cancel()


async def main():
    for _ in range(3):
        await handle_request()
    count = len(asyncio.all_tasks()) - 1  # without this one
    print(f"readers that still wait: {count}")


asyncio.run(main())
